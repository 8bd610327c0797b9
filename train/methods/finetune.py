"""Plain sequential fine-tuning: one expert and one set of adapters go on from stage to stage, nothing protects them."""

from __future__ import annotations

import msgspec

from stpr.train.config import Recipe
from stpr.train.data.inputs import StageInputs
from stpr.train.learner import Fit, Terms, fit
from stpr.train.methods.stage_start import class_vectors_of, fit_projection
from stpr.train.methods.stpr import Objective, remember
from stpr.train.model.stpr import StPR


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit) -> list[Terms]:
    """Go on training the same expert on this stage's classes alone; returns the loss curves."""
    head, first = model.head, len(model.head.experts) == 0
    if first:
        fit_projection(model.encoder, inputs)
    offset = len(head.class_vectors)
    vectors = class_vectors_of(classes, inputs, model.encoder, recipe)
    if first:
        head.add_stage(vectors)
    else:
        head.add_classes(vectors)
    alone = msgspec.structs.replace(recipe, contrast=msgspec.structs.replace(recipe.contrast, negatives="current"))
    objective = Objective(model.encoder, head.experts[-1], head.class_vectors, alone, offset=offset, teacher=None)
    curves = fit(objective, inputs, how)
    remember(model, inputs, offset)
    return curves
