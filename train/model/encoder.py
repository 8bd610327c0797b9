"""Frames to frame features: normalisation, frozen backbone, projection, adapters (method §2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.adapters import Adapter, insert_adapters, without_adapters
from stpr.train.model.backbone import Backbone
from stpr.train.settings.model import AdapterSettings


class Projection(nn.Module):
    """Whitened principal components of stage 1's frame features `(N, W) -> (N, D)`: fitted once, then frozen."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.basis: Tensor
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("basis", torch.eye(width_in, width_out))

    def fit(self, features: Tensor) -> None:
        """Take mean and whitening from frames `(N, W)`; directions the sample can't tell stay small."""
        mean = features.mean(dim=0)
        _, deviation, directions = torch.linalg.svd(
            (features - mean).double() / max(1, len(features) - 1) ** 0.5, full_matrices=False
        )
        kept = min(self.basis.shape[1], len(deviation))
        scaled = directions[:kept].T / deviation[:kept].clamp_min(1e-3 * float(deviation[0]))
        # A principal direction has no sign of its own; fixing one keeps runs alike across linear-algebra libraries.
        scaled = scaled * torch.sign(scaled.gather(0, scaled.abs().argmax(dim=0, keepdim=True)))
        self.mean.copy_(mean)
        self.basis.zero_()[:, :kept] = scaled.float()

    def forward(self, features: Tensor) -> Tensor:
        """`(…, W)` -> `(…, D)`."""
        return (features - self.mean) @ self.basis


class FrameEncoder(nn.Module):
    """Frames `(…, H, W, 3)` uint8, or their frozen features `(…, W)`, to frame features `(…, D)`.

    uint8 ─▶ normalise ─▶ backbone (adapters in its blocks) ─▶ projection ─▶ adapter on the feature
             └────────────── frozen() ──────────────────┘
    """

    def __init__(self, *, backbone: Backbone, adapter: AdapterSettings, projection: int) -> None:
        super().__init__()
        self.backbone = backbone
        if projection > backbone.width:
            raise RecipeError(
                f"[backbone] projection: {projection} is wider than the {backbone.width} features of"
                f" {backbone.source}; use at most that many, or 0 to keep them all."
            )
        self.width = projection or backbone.width
        self.projection = Projection(backbone.width, projection) if projection else nn.Identity()
        self.adapter = Adapter(self.width, adapter) if adapter.place == "feature" else None
        if adapter.place == "blocks":
            insert_adapters(backbone, adapter)
        self.upstream_trains = adapter.place == "blocks"
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(backbone.spec.mean), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.spec.std), persistent=False)

    def frozen(self, frames: Tensor) -> Tensor:
        """Frames `(…, H, W, 3)` uint8 -> backbone features `(…, W)`; constant over a run unless adapters sit inside."""
        lead = frames.shape[:-3]
        pixels = (frames.flatten(0, -4).float() / 255 - self.mean) / self.std
        features: Tensor = self.backbone(pixels.permute(0, 3, 1, 2))  # (N, W)
        return features.reshape(*lead, -1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Frames or their frozen features -> frame features `(…, D)`."""
        frozen = self.frozen(inputs) if inputs.dtype == torch.uint8 else inputs
        projected: Tensor = self.projection(frozen)
        return projected if self.adapter is None else projected + self.adapter(projected)

    def unadapted(self, inputs: Tensor) -> Tensor:
        """Frame features as they would be without adapters; a pass of its own where these sit inside the network."""
        if inputs.dtype == torch.uint8:
            with without_adapters(self.backbone):
                inputs = self.frozen(inputs)
        projected: Tensor = self.projection(inputs)
        return projected

    def adapter_parameters(self) -> list[nn.Parameter]:
        """The parameters that are tuned from stage to stage."""
        return [value for name, value in self.named_parameters() if "adapter" in name]
