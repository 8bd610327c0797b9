"""Resolve settings that are "auto" in a recipe from the traits of its backbone. This is the only place that does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from msgspec.structs import replace

from stpr.train.settings.recipe import Recipe

Value = TypeVar("Value", str, int)

AUTO: Final = "auto"
NARROW: Final = 64  # up to this feature width a full-width expert is small enough
WIDE: Final = 512  # up to this feature width the class statistics stay small: 9 MB
PROJECTED: Final = 256  # feature width after the projection, enough for hand shapes (METHOD.md)
LEAN: Final = 32  # width of a narrow expert that is as accurate (METHOD.md, "Lean experts")


@dataclass(frozen=True, slots=True)
class BackboneTraits:
    """The properties of a backbone that "auto" settings depend on."""

    blocks: bool  # has transformer blocks that adapters fit into
    text: bool  # has a text tower that shares its feature space
    width: int  # of its features


def has_auto(recipe: Recipe) -> bool:
    """Whether a recipe has "auto" settings."""
    choices = (recipe.adapter.place, recipe.backbone.projection, recipe.class_vectors.kind, recipe.expert.width)
    return AUTO in choices


def resolve(recipe: Recipe, traits: BackboneTraits) -> tuple[Recipe, list[str]]:
    """Replace each "auto" by a value; returns the recipe and a line per choice: key, value, reason."""
    notes: list[str] = []

    def choose(key: str, value: Value, why: str) -> Value:
        shown = f'"{value}"' if isinstance(value, str) else value
        notes.append(f"{key} = {shown}: {why}")
        return value

    backbone, adapter, vectors, expert = recipe.backbone, recipe.adapter, recipe.class_vectors, recipe.expert
    if adapter.place == AUTO:
        adapter = replace(adapter, place=choose("adapter.place", *_place(traits)))
    if backbone.projection == AUTO:
        backbone = replace(backbone, projection=choose("backbone.projection", *_projection(traits)))
    features = int(backbone.projection) or traits.width
    if vectors.kind == AUTO:
        vectors = replace(vectors, kind=choose("class_vectors.kind", *_kind(traits, features)))
    if expert.width == AUTO:
        expert = replace(expert, width=choose("expert.width", *_width(traits, features, expert.heads)))
    resolved = replace(recipe, backbone=backbone, adapter=adapter, class_vectors=vectors, expert=expert)
    return resolved, notes


def _place(traits: BackboneTraits) -> tuple[str, str]:
    if traits.blocks:
        return "blocks", "the backbone has transformer blocks to adapt"
    return "feature", "the backbone has no transformer blocks, so the adapter sits behind it"


def _projection(traits: BackboneTraits) -> tuple[int, str]:
    if traits.text:
        return 0, "a backbone with a text tower keeps its features, as in the paper"
    if traits.width <= WIDE:
        return 0, f"the backbone's {traits.width} features are few enough"
    return PROJECTED, f"class statistics would grow with the square of {traits.width} features"


def _kind(traits: BackboneTraits, features: int) -> tuple[str, str]:
    if traits.text and features == traits.width:
        return "text", "the backbone has a text tower"
    if traits.text:
        return "prototypes", f"text vectors are {traits.width} wide and the projected features {features}"
    return "prototypes", "the backbone has no text tower, so a class is its mean feature"


def _width(traits: BackboneTraits, features: int, heads: int) -> tuple[int, str]:
    if traits.text:
        return 0, f"the {features} features of a backbone with a text tower, as in the paper"
    if features <= NARROW:
        return 0, f"{features} features are narrow enough for a full expert"
    return LEAN + -LEAN % heads, f"a full-width expert for {features} features is large, a narrow one as accurate"
