"""The clips of a stage that a method receives; centre views are encoded once per state of the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from stpr.train.learning.inputs import StageInputs
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.scores.samples import Samples

BATCH = 32


class CentreViews:
    """Cached features of the centre views of a stage's clips.

    Backbone features are computed once, and again only after `encoder_changed`, if adapters inside the backbone were
    trained. The layers after the backbone are cheap and not cached.
    """

    def __init__(self, inputs: StageInputs, encoder: FrameEncoder) -> None:
        self._inputs, self._encoder = inputs, encoder
        self._frozen: Tensor | None = None
        self._unadapted: Tensor | None = None

    def encoder_changed(self) -> None:
        """Drop cached features that are outdated because adapters inside the backbone were trained."""
        if self._encoder.upstream_trains:
            self._frozen = None

    @torch.no_grad()
    def frozen(self) -> Tensor:
        """Frozen features `(n, T, F)`, before projection and adapter."""
        if self._frozen is None:
            self._frozen = self._joined([self._encoded(part) for part in self._batches()])
        return self._frozen

    @torch.no_grad()
    def features(self) -> Tensor:
        """Frame features `(n, T, D)`."""
        return torch.cat([self._encoder(part) for part in torch.split(self.frozen(), BATCH)])

    @torch.no_grad()
    def unadapted(self) -> Tensor:
        """Frame features `(n, T, D)` computed without adapters; independent of the encoder's training."""
        if not self._encoder.upstream_trains:
            return torch.cat([self._encoder.unadapted(part) for part in torch.split(self.frozen(), BATCH)])
        if self._unadapted is None:
            self._unadapted = self._joined([self._encoder.unadapted(part) for part in self._batches()])
        return self._unadapted

    def _batches(self) -> Iterator[Tensor]:
        device = self._encoder.mean.device
        return (part.to(device) for part in self._inputs.centre(batch=BATCH))

    def _encoded(self, part: Tensor) -> Tensor:
        return self._encoder.frozen(part) if part.dtype == torch.uint8 else part

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return self._inputs.processes.join(torch.cat(parts), len(self._inputs.labels))


@dataclass(frozen=True, slots=True)
class StageClips:
    """The training data of a stage; `inputs.labels` `(n,)` continue the learning order of the classes."""

    classes: tuple[str, ...]
    inputs: StageInputs
    encoder: FrameEncoder
    centre: CentreViews = field(init=False)

    def __post_init__(self) -> None:
        """Create the feature cache, without encoding yet."""
        object.__setattr__(self, "centre", CentreViews(self.inputs, self.encoder))

    @torch.no_grad()
    def samples(self, offset: int, *, draws: bool | Literal["together"]) -> Samples:
        """Samples to fit statistics on: the centre views, with labels counted from `offset`.

        With `draws` also the random draws, each weighted like a centre view, or ("together") all of a clip like one.
        Raises RecipeError if draws are not kept.
        """
        features, labels = self.centre.features(), self.labels_from(offset)
        drawn = [self.encoder(part.to(features.device)) for part in self.inputs.draws()] if draws else []
        rows, views = torch.arange(len(labels), device=labels.device), 1 + len(drawn)
        weights = None
        if draws == "together" and drawn:
            weights = torch.full((len(labels) * views,), 1 / len(drawn), device=labels.device)
            weights[: len(labels)] = 1
        random = rows.new_ones(len(rows) * views, dtype=torch.bool)
        random[: len(rows)] = False
        recordings = self.inputs.recordings.to(labels.device).repeat(views)
        clips = rows.repeat(views)
        return Samples(torch.cat([features, *drawn]), labels.repeat(views), clips, weights, random, recordings)

    def labels_from(self, offset: int) -> Tensor:
        """Labels `(n,)` counted from `offset`, on the encoder's device."""
        return self.inputs.labels.to(self.encoder.mean.device) - offset
