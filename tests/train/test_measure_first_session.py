"""tools/measure_first_session.py tunes what the product's backbone computes, and prints what each form reaches."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from stpr.train.model.backbone import load_backbone
from stpr.train.settings.load import write_recipe
from tests.factories import make_video
from tests.train.synthetic import FRAMES, STAGES, make_recipe

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools/measure_first_session.py"))


def clips_in(root: Path) -> Path:
    for name in (name for stage in STAGES for name in stage):
        for split, count in (("train", 4), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                make_video(root / split / name / f"{index}.mp4", frames=8)
    return root


def test_folded_blocks_say_what_the_backbone_says(mobilenet_folder: Path) -> None:
    backbone = load_backbone(str(mobilenet_folder), (11, 15))
    entering: list[torch.Tensor] = []
    network: Any = backbone.network
    network.layer[11].register_forward_pre_hook(lambda _, given: entering.append(given[0]))
    with torch.no_grad():
        whole = backbone(torch.randn(3, 3, backbone.spec.height, backbone.spec.width))
    blocks = TOOL["Blocks"](backbone, 12)
    found = blocks.of_all(entering[0])
    torch.testing.assert_close(found, whole[:, backbone.width :], rtol=1e-4, atol=1e-5)
    tuned = [any(value.requires_grad for value in layer.parameters()) for layer in blocks.layers]
    assert tuned == [False, True, True, True, True]


def test_tuning_moves_a_copy(mobilenet_folder: Path) -> None:
    torch.manual_seed(0)
    backbone = load_backbone(str(mobilenet_folder), "auto")
    network: Any = backbone.network
    channels = network.layer[9].expand_1x1.convolution.in_channels
    blocks, labels = TOOL["Blocks"](backbone, 9), torch.tensor([0, 0, 1, 1])
    entering = torch.randn(4, 2, 2, channels, 2, 2) + 3 * labels[:, None, None, None, None, None]
    before = blocks.of_all(entering)
    moved = {}
    for hold in (0.0, 1e3):
        how = TOOL["Tuning"](steps=5, rate=1e-4, temperature=0.2, hold=hold)
        moved[hold] = float((TOOL["tune"](blocks, entering, labels, how).of_all(entering) - before).square().mean())
    assert torch.equal(blocks.of_all(entering), before)
    assert moved[0.0] > 0
    assert moved[1e3] != moved[0.0]


def test_the_command_tells_of_both_forms(mobilenet_folder: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        data={"kind": "folder", "root": str(clips_in(tmp_path))},
        backbone={"source": str(mobilenet_folder), "inner": [9, 10]},
        sampling={"frames": FRAMES, "draws": 1},
        adapter={"place": "feature", "bottleneck": 2},
        statistics={"parts": [], "inner": {"parts": ["mean"]}, "draws": "together", "likelihood": "cosine"},
        fusion={"kind": "posteriors"},
        expert={"layers": 0},
    )
    write_recipe(recipe, tmp_path / "recipe.toml")
    asked = [str(tmp_path / "recipe.toml"), "--first", "10", "--steps", "2", "--hold", "0", "--hold", "1"]
    told = CliRunner().invoke(TOOL["main"], asked, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    lines = re.findall(
        r"^(.+?) +all \d+\.\d %, classes of stage 1 \d+\.\d %, later ones \d+\.\d %$", told.stdout, re.MULTILINE
    )
    assert lines == ["frozen", "hold 0", "hold 1"]


@pytest.mark.parametrize(
    ("inner", "first", "said"),
    [
        (None, 1, "this measures a MobileNetV2 with inner layers: set backbone.source and backbone.inner."),
        ([9, 10], 11, "--first 11: no inner layer ([9, 10]) would change; take a lower one."),
    ],
)
def test_what_it_cannot_measure_is_refused(
    inner: list[int] | None, first: int, said: str, mobilenet_folder: Path, tmp_path: Path
) -> None:
    backbone = {"source": str(mobilenet_folder), "inner": inner} if inner else {"inner": "auto"}
    recipe = make_recipe(data={"kind": "folder", "root": str(clips_in(tmp_path))}, backbone=backbone)
    write_recipe(recipe, tmp_path / "recipe.toml")
    told = CliRunner().invoke(TOOL["main"], [str(tmp_path / "recipe.toml"), "--first", str(first)])
    assert told.exit_code == 2
    assert told.output.splitlines()[-1] == f"Error: {said}"
