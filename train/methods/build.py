"""Assemble the network of a recipe."""

from __future__ import annotations

import functools

from stpr.train.data.pixels import motion_of
from stpr.train.methods import method_of
from stpr.train.model.backbone import Backbone, load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import StPR
from stpr.train.settings.automatic import BackboneTraits, has_auto, resolve
from stpr.train.settings.recipe import Recipe


def settle(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Resolve "auto" settings (see `resolve`) by loading the backbone; raises RecipeError if it can't be loaded."""
    return resolve(recipe, _traits(recipe.backbone.source)) if has_auto(recipe) else (recipe, [])


def build_model(recipe: Recipe, backbone: Backbone | None = None) -> StPR:
    """Build a recipe's network, before its first stage; raises RecipeError for incompatible settings."""
    backbone = backbone or load_backbone(recipe.backbone.source, recipe.backbone.inner)
    if recipe.backbone.correlations:
        backbone.correlate(recipe.backbone.correlations, recipe.backbone.axes)
    recipe, _ = resolve(recipe, backbone.traits)
    method, projection = method_of(recipe), recipe.backbone.projection
    assert projection != "auto"
    encoder = FrameEncoder(
        backbone=backbone,
        adapter=recipe.adapter,
        projection=projection,
        motion=motion_of(recipe.sampling),
        flow=recipe.sampling.flow,
    )
    return StPR(encoder=encoder, head=method.head(recipe, encoder.columns), memory=method.memory(recipe))


@functools.cache  # a comparison calls this once per run
def _traits(source: str) -> BackboneTraits:
    return load_backbone(source).traits
