"""Adapters A_b: the only part of the encoder that is tuned, one set handed from stage to stage (method §2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.backbone import Backbone
from stpr.train.settings.model import AdapterSettings


class Adapter(nn.Module):
    """Down-projection, ReLU, up-projection; zero at the start, so stage 1 begins at the frozen network."""

    def __init__(self, width: int, settings: AdapterSettings) -> None:
        super().__init__()
        self.down = nn.Linear(width, settings.bottleneck)
        self.up = nn.Linear(settings.bottleneck, width)
        self.scale = settings.scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What is to be added to the residual branch: same shape as `x`."""
        out: Tensor = self.scale * self.up(F.relu(self.down(x)))
        return out


class AdaptedBranch(nn.Module):
    """A frozen residual branch with an adapter in parallel: it reads the same normalised input."""

    def __init__(self, frozen: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter
        self.adapts = True

    def forward(self, x: Tensor) -> Tensor:
        """The branch's output plus the adapter's."""
        out: Tensor = self.frozen(x)
        return out + self.adapter(x) if self.adapts else out


@contextmanager
def without_adapters(backbone: Backbone) -> Iterator[None]:
    """Switch the adapters inside the network off for the length of a `with` block."""
    branches = [module for module in backbone.modules() if isinstance(module, AdaptedBranch)]
    for branch in branches:
        branch.adapts = False
    try:
        yield
    finally:
        for branch in branches:
            branch.adapts = True


def insert_adapters(backbone: Backbone, settings: AdapterSettings) -> None:
    """Put an adapter beside the MLP of every transformer block; raises RecipeError if the network has none."""
    blocks = backbone.transformer_blocks()
    if not blocks:
        raise RecipeError(
            f'[adapter] place = "blocks": {backbone.source} has no transformer blocks; use place = "feature".'
        )
    for block in blocks:
        mlp: nn.Module = block.mlp  # type: ignore[assignment]
        width = int(next(mlp.parameters()).shape[-1])
        block.mlp = AdaptedBranch(mlp, Adapter(width, settings))
