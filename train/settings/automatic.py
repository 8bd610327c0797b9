"""What "auto" in a recipe stands for, once it is known what its backbone offers. Nowhere else is that decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from msgspec.structs import replace

from stpr.train.settings.recipe import Recipe

Value = TypeVar("Value", str, int)

AUTO: Final = "auto"
NARROW: Final = 64  # features that a full expert is small enough for
WIDE: Final = 512  # features that statistics over all of them stay small with: 9 MB
PROJECTED: Final = 256  # as many as hand shapes need (METHOD.md)
LEAN: Final = 32  # width of an expert that says as much (METHOD.md, "Lean experts")


@dataclass(frozen=True, slots=True)
class Offers:
    """What a backbone offers to a recipe."""

    blocks: bool  # transformer blocks that adapters fit into
    text: bool  # a text tower, in whose space its features lie
    width: int  # of its features


def has_auto(recipe: Recipe) -> bool:
    """Whether anything of a recipe follows its backbone."""
    asked = (recipe.adapter.place, recipe.backbone.projection, recipe.class_vectors.kind, recipe.expert.width)
    return AUTO in asked


def resolve(recipe: Recipe, offers: Offers) -> tuple[Recipe, list[str]]:
    """The recipe without "auto", and a line on each choice: a key, what now stands there, why. A stated value stays."""
    said: list[str] = []

    def choose(key: str, value: Value, why: str) -> Value:
        shown = f'"{value}"' if isinstance(value, str) else value
        said.append(f"{key} = {shown}: {why}")
        return value

    backbone, adapter, vectors, expert = recipe.backbone, recipe.adapter, recipe.class_vectors, recipe.expert
    if adapter.place == AUTO:
        adapter = replace(adapter, place=choose("adapter.place", *_place(offers)))
    if backbone.projection == AUTO:
        backbone = replace(backbone, projection=choose("backbone.projection", *_projection(offers)))
    features = int(backbone.projection) or offers.width
    if vectors.kind == AUTO:
        vectors = replace(vectors, kind=choose("class_vectors.kind", *_kind(offers, features)))
    if expert.width == AUTO:
        expert = replace(expert, width=choose("expert.width", *_width(offers, features, expert.heads)))
    resolved = replace(recipe, backbone=backbone, adapter=adapter, class_vectors=vectors, expert=expert)
    return resolved, said


def _place(offers: Offers) -> tuple[str, str]:
    if offers.blocks:
        return "blocks", "the backbone has transformer blocks to tune"
    return "feature", "the backbone has no transformer blocks, so the adapter sits behind it"


def _projection(offers: Offers) -> tuple[int, str]:
    if offers.text:
        return 0, "a backbone with a text tower keeps its features, as in the paper"
    if offers.width <= WIDE:
        return 0, f"the backbone's {offers.width} features are few enough"
    return PROJECTED, f"what is kept of a class's statistics grows with the square of {offers.width} features"


def _kind(offers: Offers, features: int) -> tuple[str, str]:
    if offers.text and features == offers.width:
        return "text", "the backbone has a text tower"
    if offers.text:
        return "prototypes", f"text vectors are {offers.width} wide and the projected features {features}"
    return "prototypes", "the backbone has no text tower, so a class is its mean feature"


def _width(offers: Offers, features: int, heads: int) -> tuple[int, str]:
    if offers.text:
        return 0, f"the {features} features of a backbone with a text tower, as in the paper"
    if features <= NARROW:
        return 0, f"{features} features are narrow enough for a full expert"
    return LEAN + -LEAN % heads, f"a full expert of {features} features is large, and a lean one says as much"
