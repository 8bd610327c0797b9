"""The work of a run before its first stage: measuring the length of clips, encoding the background videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stpr.train.data.clips import MEASURED, announced_span
from stpr.train.datasets.annotations import Video
from stpr.train.estimate.work import Work
from stpr.train.run.background import background_of
from stpr.train.run.resume import History
from stpr.train.settings.recipe import Recipe

UNWRITTEN: Final = 2.0  # assumed length in seconds of clips that are not written yet


@dataclass(frozen=True, slots=True)
class Preparation:
    """Counts: training videos decoded only to measure their length, background videos, frames of their windows."""

    measured: int = 0
    background: int = 0
    frames: int = 0

    @property
    def work(self) -> Work:
        """The same as units of work."""
        # Background videos are opened twice: all are checked before the first is decoded.
        return Work(decoded=self.measured + 2 * self.background, encoded=self.frames)


def preparation_work(recipe: Recipe, videos: Sequence[Video], past: History | None, *, written: bool) -> Preparation:
    """Count the work before the first stage from the files' headers, without decoding. `written`: the files exist.

    Raises RecipeError or DataError for an unusable background, DataError for a video that can't be opened.
    """
    own = [video.path for video in videos if video.split == "train"]
    measured = 0 if past else min(MEASURED, len(own))
    if not recipe.data.background:
        return Preparation(measured)
    span = past.record.clip.span_seconds if past else announced_span(own) if written else UNWRITTEN
    background = background_of(recipe, span)
    assert background is not None
    frames = background.windows(recipe.sampling) * recipe.sampling.frames
    return Preparation(measured, len(background.videos), frames)
