"""Videos of the user's own in which nobody does anything that is to be learnt: what must not become an event.

They are as long as they like and have no labels. What a live window sees of them stands among the fragments that tell
a whole action from what is none (`run/events.py`); the five weights fitted there are all that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.clips import Clip, count_windows, load_windows
from stpr.train.data.videos import check_all
from stpr.train.datasets.folder import class_videos
from stpr.train.learning.encode import VideoEncoder, encoding
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.progress import Progress
from stpr.train.settings.learning import SamplingSettings
from stpr.train.settings.recipe import Recipe


@dataclass(slots=True)
class Background:
    """The videos, and how many seconds a window looks at; encoded once a run."""

    videos: Sequence[Path]
    span: float
    cache: FeatureCache | None = None
    _frozen: Tensor | None = None

    @torch.no_grad()
    def encoded(self, encoder: FrameEncoder, sampling: SamplingSettings, progress: Progress) -> Tensor:
        """Frozen features `(m, T, F)` of all windows. Raises DataError for videos that are damaged or cut off."""
        if self._frozen is None:

            def decode(video: Path) -> Clip:
                return load_windows(video, span=self.span, spec=encoder.pixels, sampling=sampling)

            how, found = encoding(encoder, sampling, windows=self.span), []
            work = VideoEncoder(encoder, how, decode, self.cache)
            try:  # all windows of a video are in memory together: one worker
                for done, features in enumerate(work.encoded(self.videos, workers=1), start=1):
                    found.append(features)
                    progress.encoding("background", done, len(self.videos))
                check_all(work.faults)
            finally:
                if self.cache:
                    self.cache.remember()
            self._frozen = torch.cat([features for features in found if features is not None])
        return self._frozen

    def windows(self, sampling: SamplingSettings) -> int:
        """How many windows there will be, by what the files announce. Raises DataError for one that can't be opened."""
        return sum(count_windows(video, span=self.span, frames=sampling.frames) for video in self.videos)


def background_of(recipe: Recipe, span: float, cache: FeatureCache | None = None) -> Background | None:
    """What the recipe names, None for nothing. Raises RecipeError or DataError for what can't be used."""
    if not recipe.data.background:
        return None
    folder = recipe.data.path(recipe.data.background)
    if not recipe.statistics.events:
        raise RecipeError("[data] background teaches what is no event; set [statistics] events = true or leave it out.")
    if recipe.adapter.place == "blocks":
        raise RecipeError(
            '[data] background needs features that are encoded once, but with [adapter] place = "blocks" each epoch'
            ' encodes its own; leave background out, or set place = "feature".'
        )
    if not folder.is_dir():
        raise DataError(f"[data] background: there is no folder {folder}; name another, or set data.background='' .")
    return Background(class_videos(folder), span, cache)
