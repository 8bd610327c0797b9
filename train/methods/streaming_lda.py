"""Streaming linear discriminant analysis: class means and one shared covariance of the clip statistics.

Closed form and exemplar-free: the order of stages doesn't matter. `[statistics] parts` says what of a clip is
described; parts = ["mean"] is the usual form, on mean frame features. One axis per class as its class vector turns
the posterior p into V = Σ p_c T_c = p, so the largest cosine is the largest posterior, exactly.
"""

from __future__ import annotations

import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.config import Recipe
from stpr.train.data.inputs import StageInputs
from stpr.train.learner import Fit, Terms
from stpr.train.methods.stage_start import begin, encode_centre, give_single_expert
from stpr.train.model.stpr import StPR


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, _recipe: Recipe, _how: Fit) -> list[Terms]:
    """Add the classes' means and scatter to the statistics; there are no loss curves."""
    offset, width, statistics = begin(model, inputs), model.head.width, model.head.statistics
    if offset + len(classes) > width:
        raise RecipeError(
            f'method = "streaming_lda" gives each class an axis of its own: {offset + len(classes)} classes are more'
            f" than the {width} features of a frame; set [backbone] projection to at least as many, or 0."
        )
    give_single_expert(model, torch.eye(width)[offset : offset + len(classes)])
    assert statistics is not None
    with torch.no_grad():
        features = encode_centre(model.encoder, inputs)
        labels = inputs.labels.to(features.device) - offset
        statistics.observe(statistics.describe(features), labels, len(classes))
    return []
