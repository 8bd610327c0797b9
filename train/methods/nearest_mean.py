"""Nearest class mean: no training. A clip is the class whose mean frame feature points most nearly the same way.

An untrained expert is the identity, so V^st = V̄ and the head's cosines are those between mean frame features and
class means. Closed form: the order of stages doesn't matter.
"""

from __future__ import annotations

import msgspec

from stpr.train.learning.fit import Fit, Terms
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods.stage_start import begin, class_vectors_of, give_single_expert
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, _how: Fit) -> list[Terms]:
    """Take the classes' mean frame features, at unit length, as their class vectors; there are no loss curves."""
    begin(model, inputs)
    kind = msgspec.structs.replace(recipe.class_vectors, kind="prototypes")
    means = msgspec.structs.replace(recipe, class_vectors=kind)
    give_single_expert(model, class_vectors_of(classes, inputs, model.encoder, means))
    return []
