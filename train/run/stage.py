"""Train one stage; used by the protocol, the dry run and measuring tools."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.inputs import StageInputs
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods import method_of
from stpr.train.model.stpr import StPR
from stpr.train.run.calibration import calibrate
from stpr.train.run.events import fit_evidence, learn_fragments
from stpr.train.run.open_set import fit_whole_stage, held_out, learn_threshold, lowered_threshold
from stpr.train.run.suspects import doubts
from stpr.train.run.trust import fit_trust
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Learnt:
    """Results of training a stage, besides the model: loss curves, familiarity threshold (or None), doubtful labels."""

    curves: list[Terms]
    threshold: float | None
    doubts: list[tuple[int, int]]  # row of a training clip, class of this stage that it resembles


@contextmanager
def _invertible() -> Iterator[None]:
    """Raise RecipeError for statistics that can't be computed."""
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise RecipeError(
            "the class statistics can't be computed: clips vary in fewer directions than features have, so their"
            " covariance has no inverse; raise [statistics] shrinkage, by default 0.1, or add clips."
        ) from error


@_invertible()
def learn_stage(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, trainer: Trainer) -> Learnt:
    """Train `model` on a stage, in place; held-out clips are used for the threshold only (`run/open_set.py`)."""
    learn, encoder = method_of(recipe).learn, model.encoder
    held = held_out(inputs.labels, inputs.recordings, recipe.unknown.holdout, seed=trainer.seed)
    if not held.any():
        clips = StageClips(classes, inputs, encoder)
        curves = learn(model, clips, recipe, trainer)
        learn_fragments(model.head.combiner.statistics, [clips], model.head.classes, seed=trainer.seed)
        model.eval()
        return Learnt(curves, None, doubts(model, [clips], torch.arange(len(held))))
    kept, aside = (StageClips(classes, inputs.take(rows), encoder) for rows in (~held, held))
    del inputs
    before = copy.deepcopy(model.head.combiner.statistics)
    curves = learn(model, kept, recipe, trainer)
    fit_trust(model.eval(), aside)
    calibrate(model, aside, temperature=recipe.contrast.temperature)
    threshold = learn_threshold(model, aside, recall=recipe.unknown.recall)
    if before is not None:
        learn_fragments(model.head.combiner.statistics, [kept], model.head.classes, seed=trainer.seed)
        fit_evidence(model.head.combiner.statistics, aside, before, seed=trainer.seed)
        fit_whole_stage(before, [kept, aside], model.head.classes - len(classes))
        threshold = lowered_threshold(threshold, before, [kept, aside], recipe.unknown.lenience)
        learn_fragments(before, [kept, aside], model.head.classes, seed=trainer.seed)
        model.head.combiner.statistics = before
    rows = torch.cat([torch.nonzero(~held)[:, 0], torch.nonzero(held)[:, 0]])
    return Learnt(curves, threshold, doubts(model, [kept, aside], rows))
