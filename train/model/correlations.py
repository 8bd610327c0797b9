"""Which channels of a hidden state are active in the same places of a picture (second-order pooling)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Correlations(nn.Module):
    """A hidden state `(N, C, h, w)` or `(N, t, C)` -> correlations of K axes over the picture: `(N, K (K - 1) / 2)`.

    The axes are the principal directions in which channels vary over a picture, learnt from frames of stage 1 and then
    frozen. A correlation does not depend on how strongly two channels react, which light and contrast change.
    """

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.axes: Tensor
        self.pairs: Tensor
        kept = min(axes, channels)
        self.register_buffer("axes", torch.zeros(channels, kept))
        first, second = torch.tril_indices(kept, kept, -1)
        self.register_buffer("pairs", first * kept + second, persistent=False)

    @property
    def width(self) -> int:
        """The number of correlations."""
        return len(self.pairs)

    def covariance(self, state: Tensor) -> Tensor:
        """The channels' covariance over the picture, averaged over pictures: `(C, C)` float64."""
        varied = self._varied(state).double()
        return (varied.transpose(1, 2) @ varied).mean(dim=0) / varied.shape[1]

    def fit(self, covariance: Tensor) -> None:
        """Take the directions of the largest variation as axes."""
        _, directions = torch.linalg.eigh(covariance)  # in ascending order
        largest = directions[:, -self.axes.shape[1] :].flip(1)
        # The sign of a direction is arbitrary; fix it, so that linear-algebra libraries agree.
        signs = torch.sign(largest.gather(0, largest.abs().argmax(dim=0, keepdim=True)))
        self.axes.copy_(largest * signs)

    def forward(self, state: Tensor) -> Tensor:
        """See the class; an axis that does not vary over the picture correlates with none."""
        varied = self._varied(state) @ self.axes  # (N, P, K)
        scaled = varied / (varied.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
        matrix = scaled.transpose(1, 2) @ scaled / scaled.shape[1]
        return matrix.flatten(1).index_select(1, self.pairs)

    @staticmethod
    def _varied(state: Tensor) -> Tensor:
        """The state minus its mean over the picture's P positions: `(N, P, C)`."""
        places = state.flatten(2).transpose(1, 2) if state.ndim == 4 else state
        return places - places.mean(dim=1, keepdim=True)
