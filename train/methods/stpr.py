"""StPR (method §6): train the adapters with FSSD and one new expert, then compute anchors and statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import routed_experts
from stpr.train.methods.method import Method
from stpr.train.methods.objective import ClassContrast, ImportanceMemory, Objective
from stpr.train.methods.stage_start import begin, class_vectors_of
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.rounding import rounded
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, recipe: Recipe, trainer: Trainer) -> list[Terms]:
    """Train one stage in place; returns the loss curves."""
    memory, combiner = model.memory, model.head.combiner
    assert isinstance(memory, ImportanceMemory)
    assert isinstance(combiner, Fusion | Mixture)
    offset = begin(model, clips)
    vectors = rounded(class_vectors_of(clips, recipe))
    teacher = memory.teacher(clips, vectors, offset=offset)
    model.head.add_stage(len(vectors), vectors)
    expert = model.head.experts[-1] if model.head.form else None
    curves: list[Terms] = []
    if expert is not None or (recipe.contrast.spatial and model.encoder.adapter_parameters()):
        contrast = ClassContrast(combiner.class_vectors, recipe.contrast, offset=offset)
        curves = trainer.fit(Objective(model.encoder, expert, contrast, teacher), clips)
        _round([*model.encoder.adapter_parameters(), *(expert.parameters() if expert else ())])
    remember(model, clips, offset)
    memory.update(clips, combiner.class_vectors[offset:], offset=offset)
    return curves


@torch.no_grad()
def _round(parameters: Iterable[Tensor]) -> None:
    """Round trained matrices, which are most of an update beside the statistics."""
    for parameter in parameters:
        if parameter.ndim > 1:
            parameter.copy_(rounded(parameter))


@torch.no_grad()
def remember(model: StPR, clips: StageClips, offset: int) -> None:
    """Compute anchors and statistics of the newest expert's classes from the centre views (method §4.2, §12.1)."""
    combiner = model.head.combiner
    if isinstance(combiner, Fusion):
        _remember_routes(model, combiner, clips, offset)
    if combiner.statistics is not None:
        samples = clips.samples(offset, draws=combiner.statistics.settings.draws)
        combiner.statistics.update(samples, len(clips.classes))


def _remember_routes(model: StPR, combiner: Fusion, clips: StageClips, offset: int) -> None:
    """Compute the anchors or keys that the router compares clips with."""
    expert, features, labels = model.head.experts[-1], clips.centre.features(), clips.labels_from(offset)
    if combiner.router.keeps_anchors:
        parts = torch.split(model.encoder.columns.appearance_of(features), 256)
        temporal = torch.cat([expert(part) - part.mean(dim=1) for part in parts])
        for index in range(len(clips.classes)):
            combiner.anchors[offset + index] = temporal[labels == index].mean(dim=0)
    if combiner.router.keeps_keys:
        seen = clips.centre.unadapted() if model.reads_unadapted else features
        seen = model.encoder.columns.appearance_of(seen)
        for index in range(len(clips.classes)):
            combiner.keys[offset + index] = seen[labels == index].mean(dim=(0, 1))


METHOD = Method(
    learn=learn,
    head=routed_experts,
    memory=lambda recipe: ImportanceMemory(recipe.preservation),
    by_stage=True,
)
