"""What follows the backbone: chosen by what it offers, said in a line, and never against a stated value."""

from __future__ import annotations

from typing import Any

import pytest

from stpr.train.settings.automatic import BackboneTraits, has_auto, resolve
from stpr.train.settings.load import load_recipe, parse_recipe
from stpr.train.settings.recipe import Recipe
from stpr.train.settings.shipped import shipped_recipes

CLIP = BackboneTraits(blocks=True, text=True, width=512)  # ViT-B/16
LIGHT = BackboneTraits(blocks=False, text=False, width=1280)  # MobileNetV2
PLAIN = BackboneTraits(blocks=True, text=False, width=768)  # a ViT without a text tower
TINY = BackboneTraits(blocks=True, text=False, width=64)
YES_NO = (True, False)
ALL = [BackboneTraits(blocks, text, width) for blocks in YES_NO for text in YES_NO for width in (64, 65, 512, 1280)]
OFFERED = {"tiny": TINY, "openai/clip-vit-base-patch16": CLIP, "google/mobilenet_v2_1.0_224": LIGHT}
STATED: dict[str, dict[str, Any]] = {
    "backbone": {"projection": 16},
    "adapter": {"place": "none"},
    "class_vectors": {"kind": "codes"},
    "expert": {"width": 24},
}


def recipe(**tables: dict[str, Any]) -> Recipe:
    base: dict[str, Any] = {"name": "x", "data": {"kind": "folder", "root": "x"}, "stages": {"sizes": [1]}}
    backbone = {"source": "x", **tables.pop("backbone", {})}
    return parse_recipe({**base, "backbone": backbone, **tables}, where="here")


def form(found: Recipe) -> tuple[object, ...]:
    """The four values that may follow a backbone."""
    return found.adapter.place, found.class_vectors.kind, found.backbone.projection, found.expert.width


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_become_what_they_were_before_anything_followed_the_backbone(name: str) -> None:
    found, _ = resolve(load_recipe(name), OFFERED[load_recipe(name).backbone.source])
    small = {"motions": ("feature", "codes", 0, 16), "asl24": ("feature", "prototypes", 256, 32)}
    assert form(found) == small.get(name, ("blocks", "text", 0, 0))


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        (CLIP, ("blocks", "text", 0, 0)),
        (LIGHT, ("feature", "prototypes", 256, 32)),
        (PLAIN, ("blocks", "prototypes", 256, 32)),
        (TINY, ("blocks", "prototypes", 0, 0)),
    ],
)
def test_what_is_not_stated_follows_the_backbone_and_is_said(
    traits: BackboneTraits, expected: tuple[object, ...]
) -> None:
    found, said = resolve(recipe(), traits)
    assert form(found) == expected
    keys = ["adapter.place", "backbone.projection", "class_vectors.kind", "expert.width"]
    assert [line.partition(" = ")[0] for line in said] == keys
    assert all(": " in line and "\n" not in line for line in said)
    assert said[0].startswith(f'adapter.place = "{expected[0]}": the backbone has ')


@pytest.mark.parametrize("traits", ALL)
@pytest.mark.parametrize("section", STATED)
def test_a_stated_value_stays_and_nothing_is_left_open(section: str, traits: BackboneTraits) -> None:
    found, said = resolve(recipe(**{section: STATED[section]}), traits)
    ((key, value),) = STATED[section].items()
    assert getattr(getattr(found, section), key) == value
    assert len(said) == 3
    assert not has_auto(found)
    assert resolve(found, LIGHT) == (found, [])  # whatever the backbone


@pytest.mark.parametrize("traits", ALL)
def test_what_is_chosen_fits_together(traits: BackboneTraits) -> None:
    found, _ = resolve(recipe(expert={"heads": 5}), traits)
    place, kind, projection, width = form(found)
    assert place != "blocks" or traits.blocks
    assert kind != "text" or (traits.text and projection == 0)
    assert isinstance(projection, int)
    assert isinstance(width, int)
    assert 0 <= projection <= traits.width
    assert width % 5 == 0


def test_projected_features_are_not_compared_with_text_vectors() -> None:
    found, said = resolve(recipe(backbone={"projection": 16}), CLIP)
    assert found.class_vectors.kind == "prototypes"
    assert 'class_vectors.kind = "prototypes": text vectors are 512 wide and the projected features 16' in said
