"""Pictures as prepared here against the image processors of transformers, and what of these can't be followed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import transformers

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import preprocess
from stpr.train.model.backbone import TINY_FOLDER, load_backbone
from stpr.train.model.processor import example, read_processor

SIDE = 224
WHOLE = {"height": SIDE, "width": SIDE}
SMALL = {"shortest_edge": 64}
FOLLOWED: dict[str, tuple[str, dict[str, Any]]] = {  # a processor and its settings; what is left out is its own default
    "plain": ("ViTImageProcessor", {}),
    "squeezed, then its middle": ("DeiTImageProcessor", {}),
    "middle": ("CLIPImageProcessor", {"size": {"shortest_edge": 256}, "crop_size": WHOLE}),
    "nearest": ("CLIPImageProcessor", {"resample": 0}),
    "no crop": ("BeitImageProcessor", {"crop_size": {"height": 64, "width": 64}}),
    "squeezed from 384": ("ConvNextImageProcessor", {}),
    "a share of the short side": ("ConvNextImageProcessor", {"size": {"shortest_edge": SIDE}}),
    "normalised twice": ("EfficientNetImageProcessor", {}),
    "from -1": ("EfficientNetImageProcessor", {"rescale_factor": 2 / 255, "rescale_offset": True}),
    "blue first": ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),
    "not normalised": ("ViTImageProcessor", {"do_normalize": False}),
    "not rescaled": ("ViTImageProcessor", {"do_rescale": False}),
}


def written(folder: Path, kind: str, settings: dict[str, Any]) -> Any:
    processor = getattr(transformers, f"{kind}Pil")(**settings)
    processor.save_pretrained(folder)
    transformers.ViTConfig().save_pretrained(folder)
    return processor


@pytest.mark.parametrize("name", FOLLOWED)
def test_pictures_are_those_of_its_own_processor(tmp_path: Path, name: str) -> None:
    own = written(tmp_path, *FOLLOWED[name])
    spec, swaps, _ = read_processor(str(tmp_path), "here")
    waves = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 900, (480, 640, 3)), (0, 0), 9)
    image = np.clip(128 + waves, 0, 255).astype(np.uint8)
    ours = ((preprocess(image, spec) / 255.0 - np.array(spec.mean)) / np.array(spec.std)).transpose(2, 0, 1)
    theirs = own(image, return_tensors="np")["pixel_values"][0]
    ours, unit = ours[::-1] if swaps else ours, 255 * np.array(spec.std)[:, None, None]
    assert np.abs((ours - theirs) * unit).mean() < 3  # of 255; the pictures' deviation is above 30
    assert np.abs((ours - theirs[::-1]) * unit).mean() > 20


def test_what_pads_is_refused_with_figure_cause_and_fix(tmp_path: Path) -> None:
    written(tmp_path, "MobileViTImageProcessor", {})
    with pytest.raises(RecipeError) as caught:
        read_processor(str(tmp_path), "here")
    said = caught.value.message
    assert "\n" not in said
    assert "differ from its MobileViTImageProcessor's by " in said
    assert "it pads pictures of 224 to 256: set size to crop_size or more" in said
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 256}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert read_processor(str(tmp_path), "here").spec.crop_fraction == 1.0


def test_a_processor_that_makes_no_pictures_of_one_size(tmp_path: Path) -> None:
    written(tmp_path, "CLIPImageProcessor", {"do_center_crop": False})
    with pytest.raises(RecipeError, match=r"makes pictures of \d+x\d+, and here they become 224x224"):
        read_processor(str(tmp_path), "here")


def test_a_processor_that_fails_on_its_own_settings_is_one_line(tmp_path: Path) -> None:
    written(tmp_path, "ConvNextImageProcessor", {"size": {"height": SIDE, "width": SIDE}})
    with pytest.raises(RecipeError, match=r"the ConvNextImageProcessor of this network fails with its own"):
        read_processor(str(tmp_path), "here")


def test_a_processor_that_transformers_does_not_know_is_said(tmp_path: Path) -> None:
    written(tmp_path, "ViTImageProcessor", {})
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text()) | {"image_processor_type": "NobodysOwn"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobodys"}))
    spec, _, told = read_processor(str(tmp_path), "here")
    assert spec.height == SIDE
    assert "its own processor can't be loaded" in told


def test_what_ships_needs_no_word() -> None:
    assert not load_backbone("tiny").processor_note


def test_the_compared_picture_has_colour_detail_and_two_sides() -> None:
    image = example(load_backbone("tiny").spec)
    assert image.shape[0] != image.shape[1]
    assert image.std() > 40
    assert np.abs(image[..., 0].astype(int) - image[..., 2]).mean() > 20


def test_a_video_network_is_one_line(tmp_path: Path) -> None:
    shutil.copy(TINY_FOLDER / "preprocessor_config.json", tmp_path)
    transformers.VideoMAEConfig().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"is a video network \(videomae\), .*name an image network"):
        load_backbone(str(tmp_path))
