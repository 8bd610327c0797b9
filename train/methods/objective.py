"""The training objective of the gradient-based methods: L = L^St_Cont + L^S_Cont + w · L_FSSD (method §5)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stpr.train.learning.fit import Criterion, Rows
from stpr.train.learning.stage_clips import StageClips
from stpr.train.losses.contrast import contrast
from stpr.train.losses.preservation import importance, preservation
from stpr.train.model.directions import unit
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import Memory, StPR
from stpr.train.settings.learning import ContrastSettings, PreservationSettings


class ClassContrast(nn.Module):
    """L_Cont against the class vectors `(C, D)` of all classes seen, or only of those from `offset` on.

    Random unit vectors among the negatives stand for classes of later stages, so that an expert's outputs point at the
    class vectors, and are not only separated from each other.
    """

    def __init__(self, class_vectors: Tensor, settings: ContrastSettings, *, offset: int) -> None:
        super().__init__()
        self.settings = settings
        self.first_class = 0 if settings.negatives == "seen" else offset
        self.candidates: Tensor
        negatives = unit(torch.randn(settings.random_negatives, class_vectors.shape[1]))
        candidates = torch.cat([class_vectors[self.first_class :], negatives.to(class_vectors)])
        self.register_buffer("candidates", candidates, persistent=False)

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The loss of clips' vectors `(B, D)` with labels `(B,)` in learning order."""
        places = labels - self.first_class
        return contrast(vectors, places, self.candidates, temperature=self.settings.temperature)


class Teacher:
    """The encoder before this stage, and the weight that preserves each channel per clip (method §3)."""

    def __init__(self, encoder: FrameEncoder, weights: Tensor, settings: PreservationSettings, *, offset: int) -> None:
        """`weights` `(rows, D)`: one row per class from `offset` on, or a single row for all clips."""
        shared = {id(value): value for value in encoder.parameters() if not value.requires_grad}
        self.encoder = copy.deepcopy(encoder, shared).eval().requires_grad_(requires_grad=False)
        self.weights, self.settings, self.offset = weights, settings, offset

    def hold(self, inputs: Tensor, static: Tensor, labels: Tensor) -> Tensor:
        """W · L_FSSD per clip `(B,)`, given the current mean frame features `(B, D)`."""
        with torch.no_grad():
            old = self.encoder.appearance(inputs).mean(dim=1)
        rows = labels - self.offset if len(self.weights) > 1 else torch.zeros_like(labels)
        weights = self.weights[rows].to(static)
        return self.settings.weight * preservation(static, old, weights, normalise=self.settings.normalise)


class Objective(Criterion):
    """The paper's objective; without an expert, the contrastive loss uses the mean frame feature only."""

    def __init__(
        self, encoder: FrameEncoder, expert: nn.Module | None, contrast: ClassContrast, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.expert = expert
        self.contrast = contrast
        self.teacher = [teacher]  # in a list, so that its frozen copy is no part of this module

    def forward(self, inputs: Tensor, labels: Tensor) -> Rows:
        """Rows for clips `(B, T, …)` with labels `(B,)`: vectors for the contrastive loss, preservation losses."""
        features = self.encoder.appearance(inputs)
        rows = self.contrasted(features)
        if (teacher := self.teacher[0]) is not None:
            rows["preservation"] = teacher.hold(inputs, features.mean(dim=1), labels)
        return rows

    def contrasted(self, features: Tensor) -> Rows:
        """Vectors to compare with class vectors, from appearance `(B, T, D)`: V^st and, if used, V̄, each `(B, D)`."""
        rows: Rows = {} if self.expert is None else {"contrast_st": self.expert(features)}
        if self.expert is None or self.contrast.settings.spatial:
            rows["contrast_s"] = features.mean(dim=1)
        return rows

    def terms(self, rows: Rows, labels: Tensor) -> Rows:
        """L_Cont of vector rows `(B, D)`, the mean of scalar rows `(B,)`."""
        return {name: self.contrast(row, labels) if row.ndim == 2 else row.mean() for name, row in rows.items()}


class ImportanceMemory(Memory):
    """Channel importance `(C, D)` of old classes, stored if [preservation] classes = "old" (method §3.3 (1) B)."""

    def __init__(self, settings: PreservationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.importance: Tensor
        self.register_buffer("importance", torch.zeros(0, 0))

    def resize(self, model: StPR) -> None:
        """One row per class."""
        if self.settings.classes == "old":
            self.importance = torch.zeros(model.head.classes, model.head.columns.appearance)

    def teacher(self, clips: StageClips, vectors: Tensor, *, offset: int) -> Teacher | None:
        """The teacher for a stage with these class vectors `(c, D)`; None if there is nothing to preserve."""
        settings, encoder = self.settings, clips.encoder
        if offset == 0 or settings.weight == 0 or not encoder.adapter_parameters():
            return None
        if settings.classes == "old":
            return Teacher(encoder, self.importance.mean(dim=0, keepdim=True), settings, offset=offset)
        return Teacher(encoder, self._of(clips, vectors, offset), settings, offset=offset)

    def update(self, clips: StageClips, vectors: Tensor, *, offset: int) -> None:
        """Store the channel importance of a stage's classes, if later stages use it."""
        if self.settings.classes == "old":
            new = self._of(clips, vectors, offset)
            self.importance = torch.cat([self.importance, new]) if len(self.importance) else new

    @torch.no_grad()
    def _of(self, clips: StageClips, vectors: Tensor, offset: int) -> Tensor:
        features = clips.encoder.columns.appearance_of(clips.centre.features())
        return importance(features, clips.labels_from(offset), vectors.to(features.device), self.settings)
