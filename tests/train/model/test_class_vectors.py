"""Class vectors: CLIP's own text features, means worked out by hand, and codes that know only their name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.class_vectors import code_vectors, prototype_vectors, spoken, text_vectors
from tests.train.networks import WIDTH, write_clip

PROMPT = "a video of a person {}."


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("apply_eye_makeup", "apply eye makeup"),
        ("apply-eye__makeup", "apply eye makeup"),
        ("YoYo", "yo yo"),
        ("HandstandPushups", "handstand pushups"),
        ("TaiChi", "tai chi"),
        ("BasketballDunk", "basketball dunk"),
        ("WalkingWithDog", "walking with dog"),
        ("TVShow", "tv show"),
        ("PlayingDVD", "playing dvd"),
        ("HTMLPage2Read", "html page2 read"),
        ("brush_hair", "brush hair"),
        ("already spoken", "already spoken"),
        (" _odd_ ", "odd"),
        ("A", "a"),
    ],
)
def test_names_are_said_as_one_would(name: str, said: str) -> None:
    assert spoken(name) == said
    assert spoken(said) == said


def test_text_features_are_those_of_transformers(clip_folder: Path) -> None:
    classes = ["ApplyEyeMakeup", "TaiChi", "slide_right"]
    prompts = [f"a video of a person {name}." for name in ("apply eye makeup", "tai chi", "slide right")]
    whole = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(clip_folder)(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        pooled = whole.text_model(**tokens).pooler_output
        expected = torch.nn.functional.normalize(whole.text_projection(pooled), dim=-1)
    found = text_vectors(classes, source=str(clip_folder), prompts=[PROMPT])
    torch.testing.assert_close(found, expected)
    assert found.shape == (3, WIDTH)
    assert float((found @ found.T).fill_diagonal_(0).max()) < 0.9999  # three classes, three vectors


def test_other_classes_in_the_call_change_nothing(clip_folder: Path) -> None:
    def vector(*classes: str) -> torch.Tensor:
        return text_vectors(classes, source=str(clip_folder), prompts=[PROMPT])[0]

    torch.testing.assert_close(vector("YoYo"), vector("YoYo", "ApplyEyeMakeupWhileStandingOnOneLeg"))


def test_several_prompts_count_by_their_mean_direction(clip_folder: Path) -> None:
    prompts = ["a photo of a person {}.", "a video of the person doing {}."]
    one, two = (text_vectors(["YoYo", "TaiChi"], source=str(clip_folder), prompts=[each]) for each in prompts)
    both = text_vectors(["YoYo", "TaiChi"], source=str(clip_folder), prompts=prompts)
    torch.testing.assert_close(both, torch.nn.functional.normalize(one + two, dim=-1))
    assert not torch.allclose(both, one)


@pytest.mark.parametrize("name", ["x" * 500, "{weird} {0}", "100% {", "дзюдо"])
def test_any_name_can_be_put_into_the_prompt(clip_folder: Path, name: str) -> None:
    assert torch.isfinite(text_vectors([name], source=str(clip_folder), prompts=[PROMPT])).all()


def refused(source: str | Path, match: str) -> None:
    with pytest.raises(RecipeError, match=match) as caught:
        text_vectors(["a"], source=str(source), prompts=[PROMPT])
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith('use kind = "prototypes".')


def test_a_network_without_a_text_tower_gets_no_random_one(mobilenet_folder: Path, tmp_path: Path) -> None:
    refused(mobilenet_folder, r"has no text tower that loads \(its weights lack \d+ tensors of CLIPText")
    refused("tiny", r"tiny has no text tower that loads \(its weights lack")
    refused(write_clip(tmp_path, vision_only=True), r"has no text tower that loads \(its weights lack")


def test_a_missing_tokenizer_does_not_make_all_classes_alike(clip_folder: Path, tmp_path: Path) -> None:
    without = write_clip(tmp_path / "without", tokenizer=False)
    refused(without, r"has no text tower that loads \(.*tokenizer")
    shutil.copy(clip_folder / "tokenizer.json", without)
    shutil.copy(clip_folder / "tokenizer_config.json", without)
    assert text_vectors(["a"], source=str(without), prompts=[PROMPT]).shape == (1, WIDTH)


def test_prototypes_are_class_means_of_unit_length() -> None:
    static = torch.tensor([[3.0, 0.0], [0.0, 2.0], [3.0, 8.0], [0.0, 4.0]])
    found = prototype_vectors(static, torch.tensor([0, 1, 0, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))


@given(names=st.lists(st.text(), min_size=1, max_size=5, unique=True))
def test_codes_depend_on_the_name_alone(names: list[str]) -> None:
    together = code_vectors(names, 16)
    for name, row in zip(names, together, strict=True):
        assert torch.equal(code_vectors([name], 16)[0], row)
    np.testing.assert_allclose(together.norm(dim=1), 1, rtol=1e-5)
    assert len({tuple(row.tolist()) for row in together}) == len(names)
