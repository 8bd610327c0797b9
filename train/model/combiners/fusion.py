"""The combiner of TD-MoE (method §4.3): route, fuse, and compare with the class vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.directions import unit
from stpr.train.model.routing import RouterInputs, router_of
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.reading import Reading
from stpr.train.settings.model import FusionSettings, RouterSettings


class Fusion(Combiner):
    """V = V̄ + Σ r_k V^st_k, logits = cos(V, T_c).

    Stores class vectors, and anchors and keys if the router needs them, each `(C, D)`. Raises RecipeError for an
    unknown router.
    """

    def __init__(
        self, columns: Columns, *, router: RouterSettings, fusion: FusionSettings, statistics: ClipScores | None
    ) -> None:
        super().__init__(statistics)
        self.columns, width = columns, columns.appearance
        self.router, self.temperature, self.fusion = router_of(router), router.temperature, fusion
        self.reads_unadapted = self.router.reads_unadapted
        self.class_vectors: Tensor
        self.anchors: Tensor
        self.keys: Tensor
        self.register_buffer("class_vectors", torch.zeros(0, width))
        self.register_buffer("anchors", torch.zeros(0, width))
        self.register_buffer("keys", torch.zeros(0, width))

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """See `Combiner`; anchors and keys are zero until they are computed."""
        super().add_classes(count, owner=owner)
        blank = self.anchors.new_zeros(count, self.anchors.shape[1])
        self.class_vectors = torch.cat([self.class_vectors, blank if vectors is None else vectors.to(blank)])
        if self.router.keeps_anchors:
            self.anchors = torch.cat([self.anchors, blank])
        if self.router.keeps_keys:
            self.keys = torch.cat([self.keys, blank])

    def combine(
        self, clips: Reading, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` (cosines) and routing `(B, E)`."""
        static = self.columns.appearance_of(clips.features).mean(dim=1)
        posterior = None if self.statistics is None else torch.softmax(self.statistics.log_likelihoods(clips), dim=-1)
        inputs = RouterInputs(
            temporal=outputs - static[:, None],
            anchors=self.anchors,
            static=static if unadapted is None else self.columns.appearance_of(unadapted).mean(dim=1),
            keys=self.keys,
            membership=self.membership,
            posterior=posterior,
            temperature=self.temperature,
        )
        routing = self.router.weigh(inputs) if given is None else given
        if self.fusion.normalise:
            static, outputs = unit(static), unit(outputs)
        fused = self.fusion.static * static + (routing[:, None] @ outputs)[:, 0]  # (B, D)
        if self.fusion.evidence > 0 and posterior is not None:
            fused = fused + self.fusion.evidence * (posterior @ self.class_vectors)
        return unit(fused) @ unit(self.class_vectors).T, routing
