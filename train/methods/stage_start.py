"""Steps at the start of a stage that several methods share: fit the projection, choose class vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.class_vectors import code_vectors, prototype_vectors, text_vectors
from stpr.train.model.encoder import Projection
from stpr.train.model.stpr import StPR
from stpr.train.settings.model import ClassVectorSettings
from stpr.train.settings.recipe import Recipe


@torch.no_grad()
def begin(model: StPR, clips: StageClips) -> int:
    """Fit the projection in the first stage; returns the number of classes learnt so far."""
    projection = model.encoder.projection
    if model.head.classes == 0 and isinstance(projection, Projection):
        projection.fit(model.encoder.backbone_of(clips.centre.frozen()).flatten(0, 1))
    return model.head.classes


@torch.no_grad()
def learn_scores(model: StPR, clips: StageClips) -> None:
    """Fit the class scores to a stage, for a head that consists of scores only."""
    offset, scores = begin(model, clips), model.head.combiner.statistics
    model.head.add_stage(len(clips.classes))
    assert scores is not None
    scores.update(clips.samples(offset, draws=scores.settings.draws), len(clips.classes))


def class_vectors_of(clips: StageClips, recipe: Recipe) -> Tensor:
    """Class vectors T_c of a stage's classes, `(c, D)`; text features must be as wide as the frame feature."""
    settings: ClassVectorSettings = recipe.class_vectors
    width = clips.encoder.columns.appearance
    if settings.kind == "text":
        vectors = text_vectors(clips.classes, source=recipe.backbone.source, prompts=settings.prompts)
        if vectors.shape[1] != width:
            raise RecipeError(
                f'[class_vectors] kind = "text": text features are {vectors.shape[1]} wide and frame features'
                f' {width}; set [backbone] projection = 0, or use kind = "prototypes".'
            )
        return vectors
    if settings.kind == "codes":
        return code_vectors(clips.classes, width)
    return prototypes(clips)


@torch.no_grad()
def prototypes(clips: StageClips) -> Tensor:
    """The classes' mean features before the feature adapter, normalised: `(c, D)`."""
    static = clips.encoder.project(clips.centre.frozen()).mean(dim=1)
    labels = clips.inputs.labels
    return prototype_vectors(static.cpu(), labels - int(labels.min()), len(clips.classes))
