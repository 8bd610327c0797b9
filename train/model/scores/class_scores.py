"""The base class of class scores: clips are described, and every class gets a score of the description."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stpr.train.model.columns import Columns
from stpr.train.model.scores.description import Description
from stpr.train.model.scores.reading import Reading
from stpr.train.model.scores.samples import Samples
from stpr.train.model.threads import one_thread
from stpr.train.settings.model import StatisticsSettings


class ClipScores(nn.Module):
    """Describes clips `(B, T, D)` by vectors `(B, S)` and scores every class seen so far by an affine map of them.

    The map is relative to `centre`, since cancellation of large numbers would cost three digits of float32.
    """

    def __init__(self, frames: int, columns: Columns, settings: StatisticsSettings) -> None:
        super().__init__()
        self.settings = settings
        self.describe = Description(frames, columns, settings)
        self.size = self.describe.size
        self.centre: Tensor
        self.weight: Tensor
        self.bias: Tensor
        # Derived by `refresh` from the stored statistics.
        self.register_buffer("centre", torch.zeros(self.size), persistent=False)
        self.register_buffer("weight", torch.zeros(0, self.size), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def transform(self, described: Tensor) -> Tensor:
        """The input of the affine map for descriptions `(B, S)`; here the descriptions themselves."""
        return described

    def read(self, features: Tensor) -> Reading:
        """What the methods below share of clips `(B, T, D)`, so that nothing is computed twice for a decision."""
        return Reading(features, self.describe)

    def log_likelihoods(self, clips: Reading) -> Tensor:
        """Log p(clip | class) up to a constant per clip: `(B, C)`."""
        return (self.transform(clips.described) - self.centre) @ self.weight.T + self.bias

    @property
    def decision_weights(self) -> dict[str, float]:
        """The learnt weight of each view by name; none here."""
        return {}

    def update(self, samples: Samples, classes: int) -> None:
        """Add the `classes` new classes of a stage."""
        raise NotImplementedError

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        read = self.transform(self.weight.new_zeros(1, self.size)).shape[1]
        self.centre, self.bias = self.weight.new_zeros(read), self.weight.new_zeros(classes)
        self.weight = self.weight.new_zeros(classes, read)

    def refresh(self) -> None:
        """Derive the affine map from the stored statistics; bit-identical for any number of threads."""
        with one_thread():
            self._derive()

    def _derive(self) -> None:
        """Derive the map; called by `refresh`."""
        raise NotImplementedError
