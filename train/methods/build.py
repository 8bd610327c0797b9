"""The one place where a recipe's network is put together."""

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
    """As `resolve`, by the backbone itself; raises RecipeError for one that can't be loaded."""
    return resolve(recipe, _traits(recipe.backbone.source)) if has_auto(recipe) else (recipe, [])


def build_model(recipe: Recipe, backbone: Backbone | None = None) -> StPR:
    """The network of a recipe before its first stage; raises RecipeError for parts that don't fit one another."""
    backbone = backbone or load_backbone(recipe.backbone.source, recipe.backbone.inner)
    recipe, _ = resolve(recipe, backbone.traits)
    method, projection = method_of(recipe), recipe.backbone.projection
    assert projection != "auto"
    encoder = FrameEncoder(
        backbone=backbone, adapter=recipe.adapter, projection=projection, motion=motion_of(recipe.sampling)
    )
    return StPR(encoder=encoder, head=method.head(recipe, encoder.columns), memory=method.memory(recipe))


@functools.cache  # a comparison asks once per run
def _traits(source: str) -> BackboneTraits:
    return load_backbone(source).traits
