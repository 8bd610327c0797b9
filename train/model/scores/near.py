"""A say for the training clips alone, about clips that are like them.

Draws widen the covariance by what another person or place would change. That helps with those, and costs a little with
the people who were filmed. So one view gets a second covariance, of the centre views only. The largest cosine that it
gives a clip is high for people who were filmed and low for others, and tells how much it has to say.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from stpr.train.model.scores.halves import halved_by_clip
from stpr.train.model.scores.reliability import weigh
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.view import View

# Below the first cosine a clip is not near, from the second on it is. In between it is partly, so that no rounding
# error decides.
RAMP: Final = (0.4, 0.5)


class Near(nn.Module):
    """Descriptions `(B, S)` of one view, and the scores of all views `(B, C)` -> scores `(B, C)`.

    Those of a near clip are the mean of both: ln p = (κ cos + the views' scores) / 2.
    """

    def __init__(self, size: int, shrinkage: float) -> None:
        super().__init__()
        self.view = View(size, shrinkage, in_halves=True)
        self.clips: Tensor
        self.concentration: Tensor
        self.register_buffer("clips", torch.zeros(0, 2))  # in each half of each class
        self.register_buffer("concentration", torch.zeros(1))  # κ

    def update(self, described: Tensor, samples: Samples, classes: int) -> None:
        """Add the `classes` classes of a stage; `described` `(m, S)` are of all samples, draws included."""
        own = samples.of(samples.centre)
        halves = halved_by_clip(own, classes)
        self.view.update(described[samples.centre], own, halves.half, classes)
        self.clips = torch.cat([self.clips, halves.units.to(self.clips)])
        self.concentration = weigh([self.view.halved(self.clips)], self.clips).to(self.concentration)

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        self.view.resize(classes, triangular=True)
        self.clips = self.clips.new_zeros(classes, 2)

    def refresh(self) -> None:
        """Derive what clips are read by."""
        self.view.refresh_triangular(self.view.covariance(self.clips))

    def forward(self, described: Tensor, scores: Tensor) -> Tensor:
        """See the class."""
        cosines = self.view.pointed(described) @ self.view.directions.T
        far, close = RAMP
        near = ((cosines.amax(dim=1, keepdim=True) - far) / (close - far)).clamp(0, 1)
        found: Tensor = scores + near * 0.5 * (self.concentration * cosines - scores)
        return found
