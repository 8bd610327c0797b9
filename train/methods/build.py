"""The one place where a recipe's network is put together."""

from __future__ import annotations

from stpr.train.data.pixels import motion_of
from stpr.train.methods import method_of
from stpr.train.model.backbone import Backbone, load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def build_model(recipe: Recipe, backbone: Backbone | None = None) -> StPR:
    """The network of a recipe before its first stage; raises RecipeError for parts that don't fit one another."""
    method = method_of(recipe)
    backbone = backbone or load_backbone(recipe.backbone.source, recipe.backbone.inner)
    encoder = FrameEncoder(
        backbone=backbone,
        adapter=recipe.adapter,
        projection=recipe.backbone.projection,
        motion=motion_of(recipe.sampling),
    )
    return StPR(encoder=encoder, head=method.head(recipe, encoder.columns), memory=method.memory(recipe))
