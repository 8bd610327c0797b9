"""Frames to frame features: normalisation, frozen backbone, projection, adapters (method §2.1)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.motion import MotionSpec
from stpr.train.data.pixels import PixelSpec
from stpr.train.model.adapters import Adapter, insert_adapters, without_adapters
from stpr.train.model.backbone import Backbone
from stpr.train.model.columns import Columns
from stpr.train.model.motion import Motion
from stpr.train.settings.learning import Flow
from stpr.train.settings.model import AdapterSettings

FRAMES_AT_ONCE: Final = 4  # on a CPU, so that activations fit its caches; 72 took 2.6 times as long


class Projection(nn.Module):
    """PCA whitening `(N, W) -> (N, D)`, fitted on the frame features of stage 1, then frozen."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.basis: Tensor
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("basis", torch.eye(width_in, width_out))

    def fit(self, features: Tensor) -> None:
        """Fit mean and whitening on frames `(N, W)`; directions that the sample does not determine stay small."""
        mean = features.mean(dim=0)
        _, deviation, directions = torch.linalg.svd(
            (features - mean).double() / max(1, len(features) - 1) ** 0.5, full_matrices=False
        )
        kept = min(self.basis.shape[1], len(deviation))
        scaled = directions[:kept].T / deviation[:kept].clamp_min(1e-3 * float(deviation[0]))
        # The sign of a principal direction is arbitrary; fix it, so that linear-algebra libraries agree.
        scaled = scaled * torch.sign(scaled.gather(0, scaled.abs().argmax(dim=0, keepdim=True)))
        self.mean.copy_(mean)
        self.basis.zero_()[:, :kept] = scaled.float()

    def forward(self, features: Tensor) -> Tensor:
        """`(…, W)` -> `(…, D)`."""
        return (features - self.mean) @ self.basis


class FrameEncoder(nn.Module):
    """Pixels of frames `(…, *pixels.shape)` uint8, or their frozen features `(…, F)`, to frame features `(…, D)`.

    picture ─▶ normalise ─▶ backbone (adapters in its blocks) ─┬─▶ projection ─▶ adapter on the feature ─▶ appearance
    uint8                                                      └─▶ inner layers ─────────────────────────▶ inner
    greys ─▶ motion ─────────────────────────────────────────────────────────────────────────────────────▶ motion
             └────────────────────── frozen() ─────────────────┘
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        adapter: AdapterSettings,
        projection: int,
        motion: MotionSpec | None = None,
        flow: Flow = "coarse",
    ) -> None:
        super().__init__()
        assert adapter.place != "auto"
        self.backbone = backbone
        if projection > backbone.width:
            raise RecipeError(
                f"[backbone] projection: {projection} is wider than the {backbone.width} features of"
                f" {backbone.source}; use at most that many, or 0 to keep them all."
            )
        width = projection or backbone.width
        pairs = motion.pairs if motion else 0
        self.columns = Columns(width, backbone.layer_widths, pairs, backbone.correlated_widths)
        self.pixels = PixelSpec(backbone.spec, motion)
        self.motion = Motion(motion, flow) if motion else None
        self.projection = Projection(backbone.width, projection) if projection else nn.Identity()
        self.adapter = Adapter(width, adapter) if adapter.place == "feature" else None
        if adapter.place == "blocks":
            insert_adapters(backbone, adapter)
        self.upstream_trains = adapter.place == "blocks"
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(backbone.spec.mean), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.spec.std), persistent=False)

    @property
    def frozen_width(self) -> int:
        """F: the width of backbone features, inner layers and motion."""
        return self.columns.width - self.columns.appearance + self.backbone.width

    def frozen(self, pixels: Tensor) -> Tensor:
        """Pixels of frames -> frozen features `(…, F)`; constant over a run unless adapters are inside the backbone."""
        lead = pixels.shape[: pixels.ndim - len(self.pixels.shape)]
        rows = pixels.flatten(0, len(lead) - 1)
        # Exported graphs use the batch as given, and TensorRT can't reshape uint8.
        whole = torch.compiler.is_exporting() or torch.is_grad_enabled() or rows.device.type != "cpu"
        parts = [rows] if whole else torch.split(rows, FRAMES_AT_ONCE)
        seen = [self.see(*self.pixels.split(part)) for part in parts]
        return (seen[0] if whole else torch.cat(seen)).reshape(*lead, -1)

    def see(self, frames: Tensor, greys: Tensor | None) -> Tensor:
        """Pictures `(N, H, W, 3)` uint8 and, with motion, pairs `(N, K, 2, s, s)` uint8 -> frozen features `(N, F)`."""
        features: Tensor = self.backbone(self.normalised(frames))
        return features if self.motion is None else torch.cat([features, self.motion(greys)], dim=1)

    def normalised(self, frames: Tensor) -> Tensor:
        """Pictures `(N, H, W, 3)` uint8 as the backbone takes them: `(N, 3, H, W)`."""
        return ((frames.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)

    def forward(self, inputs: Tensor, greys: Tensor | None = None) -> Tensor:
        """Pixels of frames or frozen features -> frame features `(…, D)`; with `greys`, inputs of `see` -> `(N, D)`."""
        if greys is not None:
            frozen = self.see(inputs, greys)
        else:
            frozen = self.frozen(inputs) if inputs.dtype == torch.uint8 else inputs
        projected = self.project(frozen)
        return self._with_rest(projected if self.adapter is None else projected + self.adapter(projected), frozen)

    def appearance(self, inputs: Tensor) -> Tensor:
        """The appearance columns of the frame features, which experts read: `(…, appearance)`."""
        return self.columns.appearance_of(self(inputs))

    def unadapted(self, inputs: Tensor) -> Tensor:
        """Frame features without adapters; needs a second backbone pass if adapters are inside it."""
        if inputs.dtype == torch.uint8:
            with without_adapters(self.backbone):
                inputs = self.frozen(inputs)
        return self._with_rest(self.project(inputs), inputs)

    def project(self, frozen: Tensor) -> Tensor:
        """Frozen features `(…, F)` -> projected backbone features `(…, appearance)`, before the feature adapter."""
        projected: Tensor = self.projection(self.backbone_of(frozen))
        return projected

    def backbone_of(self, frozen: Tensor) -> Tensor:
        """The backbone's columns `(…, W)` of frozen features `(…, F)`."""
        return frozen if self.frozen_width == self.backbone.width else frozen[..., : self.backbone.width]

    def _with_rest(self, appearance: Tensor, frozen: Tensor) -> Tensor:
        """Concatenate appearance, inner layers and motion to frame features."""
        if self.frozen_width == self.backbone.width:
            return appearance
        return torch.cat([appearance, frozen[..., self.backbone.width :]], dim=-1)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """The trained parameters of the encoder."""
        return [value for name, value in self.named_parameters() if "adapter" in name]
