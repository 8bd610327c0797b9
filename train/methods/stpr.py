"""StPR (method §6): adapters under FSSD, one new expert, then anchors and statistics; nothing else is kept."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.learning.fit import Criterion, Fit, Rows, Terms, fit
from stpr.train.learning.inputs import StageInputs
from stpr.train.losses.contrast import contrast
from stpr.train.losses.preservation import importance, preservation
from stpr.train.methods.stage_start import class_vectors_of, encode_centre, fit_projection
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit) -> list[Terms]:
    """Learn one stage in place; `inputs.labels` continue the learning order. Returns the loss curves."""
    head, first = model.head, len(model.head.experts) == 0
    if first:
        fit_projection(model.encoder, inputs)
    offset = len(head.class_vectors)
    vectors = class_vectors_of(classes, inputs, model.encoder, recipe)
    teacher = teacher_of(model, inputs, vectors, recipe)
    expert = head.add_stage(vectors)
    objective = Objective(model.encoder, expert, head.class_vectors, recipe, offset=offset, teacher=teacher)
    curves = fit(objective, inputs, how)
    remember(model, inputs, offset)
    remember_importance(model, inputs, offset, recipe)
    return curves


@torch.no_grad()
def remember_importance(model: StPR, inputs: StageInputs, offset: int, recipe: Recipe) -> None:
    """Channel importance of the classes from `offset` on, where later stages are to weigh by it (method §3.3 (1) B)."""
    if recipe.preservation.classes == "old":
        features = encode_centre(model.encoder, inputs)
        new = importance(features, inputs.labels - offset, model.head.class_vectors[offset:], recipe.preservation)
        model.importance = torch.cat([model.importance, new])


@torch.no_grad()
def remember(model: StPR, inputs: StageInputs, offset: int) -> None:
    """Anchors and statistics of the newest expert's classes, from the centre views (method §4.2, §12.1)."""
    head = model.head
    features = encode_centre(model.encoder, inputs)  # (n, T, D)
    labels = inputs.labels.to(features.device) - offset
    expert = head.experts[-1]
    temporal = torch.cat([expert(part) - part.mean(dim=1) for part in torch.split(features, 256)])
    for index in range(len(head.anchors) - offset):
        head.anchors[offset + index] = temporal[labels == index].mean(dim=0)
    if head.settings.router.keeps_keys:
        seen = encode_centre(model.encoder, inputs, adapted=False) if model.reads_unadapted else features
        for index in range(len(head.keys) - offset):
            head.keys[offset + index] = seen[labels == index].mean(dim=(0, 1))
    if head.statistics is not None:
        head.statistics.observe(head.statistics.describe(features), labels, len(head.anchors) - offset)


def teacher_of(model: StPR, inputs: StageInputs, vectors: Tensor, recipe: Recipe) -> _Teacher | None:
    """Who holds the adapters of a stage that has yet to give the head its classes; None in the first stage."""
    first = len(model.head.experts) == 0
    return None if first or not model.encoder.adapter_parameters() else _Teacher.of(model, inputs, vectors, recipe)


class _Teacher:
    """The encoder before this stage, and how much each channel of each clip is to be held (method §3)."""

    def __init__(self, encoder: FrameEncoder, weights: Tensor) -> None:
        self.encoder = encoder
        self.weights = weights  # (rows, D): one per new class, or a single one for every clip

    @staticmethod
    @torch.no_grad()
    def of(model: StPR, inputs: StageInputs, vectors: Tensor, recipe: Recipe) -> _Teacher | None:
        settings = recipe.preservation
        if settings.weight == 0:
            return None
        shared = {id(value): value for value in model.encoder.parameters() if not value.requires_grad}
        encoder = copy.deepcopy(model.encoder, shared).eval().requires_grad_(requires_grad=False)
        if settings.classes == "old":
            return _Teacher(encoder, model.importance.mean(dim=0, keepdim=True))
        features = encode_centre(encoder, inputs)
        labels = inputs.labels.to(features.device) - len(model.head.class_vectors)
        return _Teacher(encoder, importance(features, labels, vectors.to(features.device), settings))

    def weights_of(self, labels: Tensor) -> Tensor:
        """Channel weights for clips with these labels within the stage: `(B, D)`."""
        return self.weights[labels if len(self.weights) > 1 else torch.zeros_like(labels)]


class Objective(Criterion):
    """L = L^St_Cont + L^S_Cont + w · L_FSSD (method §5)."""

    def __init__(
        self,
        encoder: FrameEncoder,
        expert: nn.Module,
        class_vectors: Tensor,
        recipe: Recipe,
        *,
        offset: int,
        teacher: _Teacher | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.expert = expert
        self.recipe = recipe
        self.offset = offset
        self.teacher = [teacher]  # in a list, so that its frozen copy is no part of this module
        self.first_class = 0 if recipe.contrast.negatives == "seen" else offset
        self.class_vectors: Tensor
        negatives = F.normalize(torch.randn(recipe.contrast.random_negatives, class_vectors.shape[1]), dim=-1)
        candidates = torch.cat([class_vectors[self.first_class :], negatives.to(class_vectors)])
        self.register_buffer("class_vectors", candidates, persistent=False)

    def forward(self, inputs: Tensor, labels: Tensor) -> Rows:
        """For clips `(B, T, …)` and labels `(B,)` in learning order: what is contrasted, what is held."""
        features = self.encoder(inputs)
        rows = self.contrasted(features)
        teacher = self.teacher[0]
        if teacher is not None:
            with torch.no_grad():
                old = teacher.encoder(inputs).mean(dim=1)
            static, settings = features.mean(dim=1), self.recipe.preservation
            held = preservation(
                static, old, teacher.weights_of(labels - self.offset).to(static), normalise=settings.normalise
            )
            rows["preservation"] = settings.weight * held
        return rows

    def contrasted(self, features: Tensor) -> Rows:
        """What of frame features `(B, T, D)` is compared with class vectors: V^st and, where used, V̄, `(B, D)`."""
        rows: Rows = {"contrast_st": self.expert(features)}
        if self.recipe.contrast.spatial:
            rows["contrast_s"] = features.mean(dim=1)
        return rows

    def terms(self, rows: Rows, labels: Tensor) -> Rows:
        """L_Cont of rows that are vectors `(B, D)`, the mean of rows that are numbers `(B,)`."""
        places, temperature = labels - self.first_class, self.recipe.contrast.temperature
        return {
            name: contrast(row, places, self.class_vectors, temperature=temperature) if row.ndim == 2 else row.mean()
            for name, row in rows.items()
        }
