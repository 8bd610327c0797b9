"""What every method does when a stage begins: projection, class vectors, features of the centre views."""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.inputs import StageInputs
from stpr.train.model.class_vectors import code_vectors, prototype_vectors, text_vectors
from stpr.train.model.encoder import FrameEncoder, Projection
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe

BATCH = 32


@torch.no_grad()
def encode_centre(encoder: FrameEncoder, inputs: StageInputs, *, adapted: bool = True) -> Tensor:
    """Frame features `(n, T, D)` of the centre view of every clip."""
    encode = encoder if adapted else encoder.unadapted
    own = torch.cat([encode(part.to(encoder.mean.device)) for part in inputs.centre(batch=BATCH)])
    return inputs.processes.join(own, len(inputs.labels))


@torch.no_grad()
def fit_projection(encoder: FrameEncoder, inputs: StageInputs) -> None:
    """Fit the projection, where there is one, to all frames of the first stage's centre views."""
    if isinstance(encoder.projection, Projection):
        encoder.projection.fit(_frozen_centre(encoder, inputs).flatten(0, 1))


def begin(model: StPR, inputs: StageInputs) -> int:
    """Fit the projection if this is the first stage; returns how many classes were learnt before."""
    if len(model.head.experts) == 0:
        fit_projection(model.encoder, inputs)
    return len(model.head.class_vectors)


def give_single_expert(model: StPR, vectors: Tensor) -> None:
    """Give a stage's class vectors `(c, D)` to the one expert there is; the first stage makes it."""
    if len(model.head.experts) == 0:
        model.head.add_stage(vectors)
    else:
        model.head.add_classes(vectors)


@torch.no_grad()
def learn_scores(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe) -> None:
    """Let the clip statistics alone decide, with these classes added to them.

    One axis per class as its class vector turns the posterior p into V = Σ p_c T_c = p, so the largest cosine is the
    largest posterior, exactly. Raises RecipeError if there are more classes than axes.
    """
    offset, width, statistics = begin(model, inputs), model.head.width, model.head.statistics
    if offset + len(classes) > width:
        raise RecipeError(
            f'method = "{recipe.method}" gives each class an axis of its own: {offset + len(classes)} classes are more'
            f" than the {width} features of a frame; set [backbone] projection to at least as many, or 0."
        )
    give_single_expert(model, torch.eye(width)[offset : offset + len(classes)])
    assert statistics is not None
    features = encode_centre(model.encoder, inputs)
    statistics.observe(statistics.describe(features), inputs.labels.to(features.device) - offset, len(classes))


def class_vectors_of(classes: tuple[str, ...], inputs: StageInputs, encoder: FrameEncoder, recipe: Recipe) -> Tensor:
    """T_c of a stage's classes, `(c, D)`; text features must be as wide as the frame feature."""
    settings = recipe.class_vectors
    if settings.kind == "text":
        vectors = text_vectors(classes, source=recipe.backbone.source, prompts=settings.prompts)
        if vectors.shape[1] != encoder.width:
            raise RecipeError(
                f'[class_vectors] kind = "text": text features are {vectors.shape[1]} wide and frame features'
                f' {encoder.width}; set [backbone] projection = 0, or use kind = "prototypes".'
            )
        return vectors
    if settings.kind == "codes":
        return code_vectors(classes, encoder.width)
    with torch.no_grad():
        static = encoder.projection(_frozen_centre(encoder, inputs)).mean(dim=1)
    return prototype_vectors(static.cpu(), inputs.labels - int(inputs.labels.min()), len(classes))


def _frozen_centre(encoder: FrameEncoder, inputs: StageInputs) -> Tensor:
    device = encoder.mean.device
    parts = (part.to(device) for part in inputs.centre(batch=BATCH))
    own = torch.cat([encoder.frozen(part) if part.dtype == torch.uint8 else part for part in parts])
    return inputs.processes.join(own, len(inputs.labels))
