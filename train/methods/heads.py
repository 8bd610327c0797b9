"""Build the heads of the methods from a recipe."""

from __future__ import annotations

import msgspec

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.combiners.mean_frame import MeanFrame
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.combiners.scores_alone import ScoresAlone
from stpr.train.model.head import Head
from stpr.train.model.routing import router_of
from stpr.train.model.scores.probe import LinearProbe
from stpr.train.model.scores.ridge import RidgeScores
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import RouterSettings, StatisticsSettings
from stpr.train.settings.recipe import Recipe


def routed_experts(recipe: Recipe, columns: Columns) -> Head:
    """TD-MoE: an expert per stage with the recipe's router, and clip statistics if any setting needs them.

    With [expert] layers = 0 it has no experts.
    """
    if recipe.fusion.kind == "posteriors":
        statistics = ClipStatistics(recipe.sampling.frames, columns, recipe.statistics)
        mixture = Mixture(columns, statistics, temperature=recipe.contrast.temperature)
        expert = recipe.expert if recipe.expert.layers else None
        return Head(frames=recipe.sampling.frames, columns=columns, combiner=mixture, expert=expert)
    needs_scores = router_of(recipe.router).reads_posterior or recipe.fusion.evidence > 0
    scores = ClipStatistics(recipe.sampling.frames, columns, recipe.statistics) if needs_scores else None
    combiner = Fusion(columns, router=recipe.router, fusion=recipe.fusion, statistics=scores)
    return Head(frames=recipe.sampling.frames, columns=columns, combiner=combiner, expert=recipe.expert)


def single_expert(recipe: Recipe, columns: Columns) -> Head:
    """One expert for all stages, without a router."""
    fusion = msgspec.structs.replace(recipe.fusion, kind="vectors", evidence=0.0)
    combiner = Fusion(columns, router=RouterSettings(kind="equal"), fusion=fusion, statistics=None)
    return Head(frames=recipe.sampling.frames, columns=columns, combiner=combiner, expert=recipe.expert)


def mean_frame(recipe: Recipe, columns: Columns) -> Head:
    """Compare the mean frame feature with the class vectors."""
    return Head(frames=recipe.sampling.frames, columns=columns, combiner=MeanFrame(columns), expert=None)


def gaussian_scores(recipe: Recipe, columns: Columns) -> Head:
    """Classify by class means with one shared covariance."""
    return _scores_alone(recipe, columns, ClipStatistics(recipe.sampling.frames, columns, _by_distance(recipe)))


def ridge_scores(recipe: Recipe, columns: Columns) -> Head:
    """Classify by ridge regression on random features."""
    return _scores_alone(
        recipe, columns, RidgeScores(recipe.sampling.frames, columns, _by_distance(recipe), recipe.ranpac)
    )


def logistic_scores(recipe: Recipe, columns: Columns) -> Head:
    """Classify by logistic regression."""
    scores = LinearProbe(recipe.sampling.frames, columns, _by_distance(recipe), recipe.linear_probe)
    return _scores_alone(recipe, columns, scores)


def _scores_alone(recipe: Recipe, columns: Columns, scores: ClipStatistics | RidgeScores | LinearProbe) -> Head:
    combiner = ScoresAlone(scores, temperature=recipe.contrast.temperature)
    return Head(frames=recipe.sampling.frames, columns=columns, combiner=combiner, expert=None)


def _by_distance(recipe: Recipe) -> StatisticsSettings:
    """Statistics settings of a baseline in its usual form (Gaussian), whatever the recipe's router uses."""
    return msgspec.structs.replace(
        recipe.statistics,
        likelihood="gaussian",
        concentration=1.0,
        events=False,
        unknown="distance",
        near=False,
        mirror=False,
    )
