"""The work of a run beside its stages: what is measured and encoded once, before the first of them is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stpr.train.data.clips import MEASURED, announced_span
from stpr.train.datasets.annotations import Video
from stpr.train.estimate.work import Work
from stpr.train.run.background import background_of
from stpr.train.run.resume import Past
from stpr.train.settings.recipe import Recipe

UNWRITTEN: Final = 2.0  # seconds of a typical clip where there are none yet


@dataclass(frozen=True, slots=True)
class Beside:
    """Training videos decoded for their length alone; background videos, and the frames of their windows."""

    measured: int = 0
    background: int = 0
    frames: int = 0

    @property
    def work(self) -> Work:
        """All of it."""
        return Work(decoded=self.measured + self.background, encoded=self.frames)


def work_beside(recipe: Recipe, videos: Sequence[Video], past: Past | None, *, written: bool) -> Beside:
    """What a run does beside its stages, by what its files announce: nothing is decoded. `written`: they are there.

    Raises RecipeError or DataError for a background that can't be used, DataError for a video that can't be opened.
    """
    own = [video.path for video in videos if video.split == "train"]
    measured = 0 if past else min(MEASURED, len(own))
    if not recipe.data.background:
        return Beside(measured)
    span = past.record.clip.span_seconds if past else announced_span(own) if written else UNWRITTEN
    background = background_of(recipe, span)
    assert background is not None
    frames = background.windows(recipe.sampling) * recipe.sampling.frames
    return Beside(measured, len(background.videos), frames)
