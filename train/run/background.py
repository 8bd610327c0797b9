"""Background videos: the user's recordings without any of the actions, used to prevent false events.

They need no labels and may have any length. Their windows are negative examples when the evidence for a whole action is
fitted (`run/events.py`); stored are the weights fitted there and a few means of windows that move.
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
    """The background videos, encoded once per run; `span` is the length of a window in seconds."""

    videos: Sequence[Path]
    span: float
    cache: FeatureCache | None = None
    _frozen: Tensor | None = None

    @torch.no_grad()
    def encoded(self, encoder: FrameEncoder, sampling: SamplingSettings, progress: Progress) -> Tensor:
        """Frozen features `(m, T, F)` of all windows. Raises DataError for damaged or truncated videos."""
        if self._frozen is None:

            def decode(video: Path) -> Clip:
                return load_windows(video, span=self.span, spec=encoder.pixels, sampling=sampling)

            how, found = encoding(encoder, sampling, windows=self.span), []
            work = VideoEncoder(encoder, how, decode, self.cache)
            try:  # one worker, since all windows of a video are in memory at once
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
        """Count the windows from the files' headers. Raises DataError for a video that can't be opened."""
        return sum(count_windows(video, span=self.span, frames=sampling.frames) for video in self.videos)

    def check(self, sampling: SamplingSettings) -> None:
        """Open every video. Raises DataError that lists all that can't be, which is better known before the work."""
        faults = []
        for video in self.videos:
            try:
                count_windows(video, span=self.span, frames=sampling.frames)
            except DataError as error:
                faults.append(error)
        check_all(faults)


def background_of(recipe: Recipe, span: float, cache: FeatureCache | None = None) -> Background | None:
    """The recipe's background, None without one. Raises RecipeError or DataError if it can't be used."""
    if not recipe.data.background:
        return None
    folder = recipe.data.path(recipe.data.background)
    if not recipe.statistics.events:
        raise RecipeError("[data] background is used to learn events; set [statistics] events = true or leave it out.")
    if recipe.adapter.place == "blocks":
        raise RecipeError(
            '[data] background needs features that are encoded once, but with [adapter] place = "blocks" each epoch'
            ' encodes new ones; leave background out, or set place = "feature".'
        )
    if not folder.is_dir():
        raise DataError(f"[data] background: there is no folder {folder}; name another, or set data.background='' .")
    background = Background(class_videos(folder), span, cache)
    background.check(recipe.sampling)
    return background
