"""The combiner without experts that compares the mean frame feature with class vectors (nearest mean, spatial)."""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.directions import unit
from stpr.train.model.scores.reading import Reading


class MeanFrame(Combiner):
    """logits = cos(V̄, T_c); routing is 1, since there are no experts."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(None)
        self.columns = columns
        self.class_vectors: Tensor
        self.register_buffer("class_vectors", torch.zeros(0, columns.appearance))

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """See `Combiner`."""
        super().add_classes(count, owner=owner)
        blank = self.class_vectors.new_zeros(count, self.class_vectors.shape[1])
        self.class_vectors = torch.cat([self.class_vectors, blank if vectors is None else vectors.to(blank)])

    def combine(
        self, clips: Reading, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` (cosines) and routing `(B, 1)`."""
        del outputs, unadapted, given
        static = self.columns.appearance_of(clips.features).mean(dim=1)
        logits = unit(static) @ unit(self.class_vectors).T
        return logits, torch.ones_like(logits[:, :1])
