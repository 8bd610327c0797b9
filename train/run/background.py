"""Videos of the user's own in which nobody does anything that is to be learnt: what must not become an event.

They are as long as they like and have no labels. What a live window sees of them stands among the fragments that tell
a whole action from what is none (`run/events.py`); the five weights fitted there are all that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.data.clips import load_ahead, load_windows
from stpr.train.datasets.folder import class_videos
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.progress import Progress
from stpr.train.settings.learning import SamplingSettings
from stpr.train.settings.recipe import Recipe


@dataclass(slots=True)
class Background:
    """The videos, and how many seconds a window looks at; encoded once a run."""

    videos: Sequence[Path]
    span: float
    _frozen: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def encoded(self, encoder: FrameEncoder, sampling: SamplingSettings, progress: Progress) -> Tensor:
        """Frozen features `(m, T, F)` of all windows. Raises DataError for a video that is damaged or cut off."""
        if not self._frozen:
            windows = load_ahead(
                self.videos,
                lambda video: load_windows(video, span=self.span, spec=encoder.pixels, sampling=sampling),
                workers=1,
            )
            for done, pixels in enumerate(windows, start=1):
                clips = torch.split(torch.from_numpy(pixels), 1)
                self._frozen += [encoder.frozen(clip.to(encoder.mean.device)).cpu() for clip in clips]
                progress.encoding("background", done, len(self.videos))
        return torch.cat(self._frozen)


def background_of(recipe: Recipe, span: float) -> Background | None:
    """What the recipe names, None for nothing. Raises RecipeError or DataError for what can't be used."""
    if not recipe.data.background:
        return None
    folder = recipe.data.path(recipe.data.background)
    if not recipe.statistics.events:
        raise RecipeError("[data] background teaches what is no event; set [statistics] events = true or leave it out.")
    if not folder.is_dir():
        raise DataError(f"[data] background: there is no folder {folder}; name another, or set data.background='' .")
    return Background(class_videos(folder), span)
