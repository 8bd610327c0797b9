"""Adapters A_b: the only trained part of the encoder, one set for all stages (method §2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.backbone import Backbone
from stpr.train.settings.model import AdapterSettings


class Adapter(nn.Module):
    """Down-projection, ReLU, up-projection; initialised to output zero, so stage 1 starts at the frozen network."""

    def __init__(self, width: int, settings: AdapterSettings) -> None:
        super().__init__()
        self.down = nn.Linear(width, settings.bottleneck)
        self.up = nn.Linear(settings.bottleneck, width)
        self.scale = settings.scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The value to add to the residual branch: same shape as `x`."""
        out: Tensor = self.scale * self.up(F.relu(self.down(x)))
        return out


class AdaptedBranch(nn.Module):
    """A frozen residual branch with a parallel adapter on the same normalised input."""

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
    """Disable the adapters inside the network within a `with` block."""
    branches = [module for module in backbone.modules() if isinstance(module, AdaptedBranch)]
    for branch in branches:
        branch.adapts = False
    try:
        yield
    finally:
        for branch in branches:
            branch.adapts = True


def insert_adapters(backbone: Backbone, settings: AdapterSettings) -> None:
    """Insert an adapter parallel to the MLP of every transformer block; raises RecipeError if there are none."""
    blocks = backbone.transformer_blocks()
    if not blocks:
        raise RecipeError(
            f'[adapter] place = "blocks": {backbone.source} has no transformer blocks; use place = "feature".'
        )
    for block in blocks:
        mlp: nn.Module = block.mlp  # type: ignore[assignment]
        width = int(next(mlp.parameters()).shape[-1])
        block.mlp = AdaptedBranch(mlp, Adapter(width, settings))
