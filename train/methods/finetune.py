"""Plain sequential fine-tuning: one expert and one set of adapters go on from stage to stage, nothing protects them."""

from __future__ import annotations

import msgspec

from stpr.train.learning.fit import Fit, Terms, fit
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods.stage_start import begin, class_vectors_of, give_single_expert
from stpr.train.methods.stpr import Objective, remember
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit) -> list[Terms]:
    """Go on training the same expert on this stage's classes alone; returns the loss curves."""
    objective = go_on(model, classes, inputs, recipe)
    curves = fit(objective, inputs, how)
    remember(model, inputs, objective.offset)
    return curves


def go_on(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe) -> Objective:
    """Give the one expert this stage's classes; returns the contrast among these classes alone."""
    offset = begin(model, inputs)
    give_single_expert(model, class_vectors_of(classes, inputs, model.encoder, recipe))
    alone = msgspec.structs.replace(recipe, contrast=msgspec.structs.replace(recipe.contrast, negatives="current"))
    return Objective(
        model.encoder, model.head.experts[-1], model.head.class_vectors, alone, offset=offset, teacher=None
    )
