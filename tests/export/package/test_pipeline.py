"""From a run folder to bundles."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from stpr.export.package.card import CARD
from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.export.parity.certificate import Certificate
from stpr.runtime.check import check_bundle
from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, PARITY, newest_bundle, open_bundle
from stpr.runtime.contract.durable import locked
from stpr.runtime.contract.errors import BundleError, CheckpointError, DataError, RecipeError
from stpr.runtime.contract.manifest import SCHEMA, GraphName, Precision
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.motions import CLASSES


@pytest.fixture
def copied_run(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copied")


def test_a_bundle_holds_what_is_promised_and_nothing_else(bundles: list[Path]) -> None:
    bundle = open_bundle(bundles[-1])
    assert bundles[-1].parts[-2:] == ("by-chance", "stage-3")
    found = {path.relative_to(bundle.path).as_posix() for path in bundle.path.rglob("*") if path.is_file()}
    weights = {f"weights/{name}.bin" for name in ("backbone", "stage", "expert-1", "expert-2", "expert-3")}
    graphs = {file for graph in bundle.manifest.graphs.values() for file in graph.variants.values()}
    assert {"clip.onnx", "encoder.onnx", "head.onnx"} <= graphs
    assert {name for name in found if not name.startswith("weights/")} == graphs | {PARITY, GOLDEN, MANIFEST, CARD}
    assert weights <= found
    assert found - {MANIFEST} == set(bundle.manifest.files)
    assert [(entry.name, entry.stage) for entry in bundle.manifest.classes] == [
        (name, index // 2 + 1) for index, name in enumerate(CLASSES[:6])
    ]
    assert not any(entry.moves for entry in bundle.manifest.classes)  # without evidence, labels need none
    assert (bundle.manifest.precision, bundle.manifest.temperature) == ("fp32", 0.05)
    assert bundle.manifest.provenance["recipe"] == "by-chance"
    assert {name: graph.variants["fp32"] for name, graph in bundle.manifest.graphs.items()} == {
        name: f"{name}.onnx" for name in ("encoder", "head", "clip")
    }
    assert [path.name for path in bundle.path.parent.iterdir() if path.name.startswith(".")] == []
    assert newest_bundle(bundle.path.parent.parent) == bundle.path


@pytest.mark.rare  # exports twice more
def test_a_bundle_is_the_same_bytes_whatever_the_number_of_threads(
    run: Path, bundles: list[Path], tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = export_stage(run, len(bundles), tmp_path, options=Options(clips=6))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    one, other = (
        {path.relative_to(bundle): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        for bundle in (bundles[-1], again)
    )
    assert one.keys() == other.keys()
    assert [name for name, content in one.items() if content != other[name]] == []


def test_old_experts_and_the_backbone_are_the_same_bytes_at_every_stage(bundles: list[Path]) -> None:
    files = [
        {name: entry.sha256 for name, entry in open_bundle(path).manifest.files.items() if name.startswith("weights")}
        for path in bundles
    ]
    assert len({(path / "encoder.onnx").read_bytes() for path in bundles}) == 1  # nor does what it says of itself
    for before, after in itertools.pairwise(files):
        same = {name for name in before if before[name] == after[name]}
        assert same == {name for name in before if not name.endswith("stage.bin")}
    assert len({files[-1][f"weights/expert-{stage}.bin"] for stage in (1, 2, 3)}) == 3


@pytest.fixture(scope="module")
def halved(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last stage in fp16."""
    return export_stage(run, 3, tmp_path_factory.mktemp("halved"), options=Options(precision="fp16", clips=6))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_each_precision_is_proved_and_gives_what_pytorch_gave_for_the_golden_clip(
    bundles: list[Path], halved: Path, precision: Precision
) -> None:
    bundle = open_bundle(bundles[-1] if precision == "fp32" else halved)
    assert bundle.manifest.precision == precision
    assert list(bundle.manifest.parity) == [precision]
    raw = (bundle.path / PARITY).read_bytes()
    assert msgspec.json.decode(raw, type=Certificate).precision == precision
    golden = bundle.golden()
    allowed = bundle.manifest.parity[precision].tolerances
    assert golden.frames.dtype == np.uint8
    assert golden.frames.std() > 1
    options = EngineOptions(threads=1)
    files = {name: bundle.path / graph.variants[precision] for name, graph in bundle.manifest.graphs.items()}
    run = {name: open_engine("onnxruntime", file, options).run for name, file in files.items()}
    features = run[GraphName.ENCODER]({"frames": golden.frames[0]})["features"]
    np.testing.assert_allclose(features[np.newaxis], golden.features, atol=allowed["features"])
    for outputs in (run[GraphName.HEAD]({"features": golden.features}), run[GraphName.CLIP]({"frames": golden.frames})):
        np.testing.assert_allclose(outputs["logits"], golden.logits, atol=allowed["logits"])
        np.testing.assert_allclose(outputs["routing"], golden.routing, atol=allowed["routing"])
        np.testing.assert_allclose(outputs["familiarity"], golden.familiarity, atol=allowed["familiarity"])


def test_half_precision_is_half_the_weights_and_combines_in_full(halved: Path, bundles: list[Path]) -> None:
    assert halved.name == "stage-3-fp16"
    certificate = msgspec.json.decode((halved / PARITY).read_bytes(), type=Certificate)
    assert {part: list(kinds) for part, kinds in certificate.layers.items()} == {
        "encoder": ["float16"],
        "expert": ["float16"],
    }
    whole, half = (
        {name: entry.bytes for name, entry in open_bundle(path).manifest.files.items() if name.startswith("weights/")}
        for path in (bundles[-1], halved)
    )
    assert half["weights/expert-2-fp16.bin"] < 0.6 * whole["weights/expert-2.bin"]
    assert {name.replace("-fp16", "") for name in half} == set(whole)
    assert [line.holds for line in check_bundle(halved, "onnxruntime")] == [True] * 11
    allowed = open_bundle(halved).manifest.parity["fp16"].tolerances
    assert min(allowed["features"], allowed["familiarity"]) >= 0.15  # a GPU rounds where a CPU does not
    assert allowed["logits"] <= 0.05


@pytest.mark.rare  # traces a graph
def test_clips_to_calibrate_int8_that_are_gone_are_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"int8 is calibrated on at least 48 training clips of the stage, but 96 of them are gone"
    ):
        export_stage(run, 3, tmp_path, options=Options(precision="int8", clips=1))
    assert not list(tmp_path.rglob("manifest.json"))


def test_real_clips_are_spread_over_the_classes_and_named_without_a_folder_of_the_machine(bundles: list[Path]) -> None:
    certificate = msgspec.json.decode((bundles[-1] / PARITY).read_bytes(), type=Certificate)
    assert certificate.real_clips == tuple(f"{name}/test_0.mp4" for name in CLASSES[:6])
    assert open_bundle(bundles[-1]).manifest.parity["fp32"].clips == 6


@pytest.mark.parametrize("file", ["parity.json", "manifest.json", "clip.onnx", "encoder.onnx", "head.onnx", CARD])
def test_no_file_names_a_folder_of_this_machine(bundles: list[Path], file: str, run: Path) -> None:
    raw = (bundles[-1] / file).read_bytes()
    assert str(run.parent.parent).encode() not in raw
    assert str(Path(export_stage.__code__.co_filename).parent).encode() not in raw


def test_a_stage_that_was_not_learnt_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"by-chance has stages 1 to 3, not stage 9; .*--stage"):
        export_stage(run, 9, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_is_gone_is_named(copied_run: Path, tmp_path: Path) -> None:
    recipe = copied_run / "recipe.toml"
    recipe.write_text(re.sub(r'source = ".*"', 'source = "./gone"', recipe.read_text()))
    with pytest.raises(RecipeError, match=r"no folder \./gone"):
        export_stage(copied_run, 3, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        (
            "path,label,predicted\n/gone/a.mp4,grow,grow\n",
            DataError,
            r"1 of 1 test videos .* missing, such as /gone/a\.mp4",
        ),
        ("path,label,predicted\n", CheckpointError, r"predictions\.csv lists no test clips"),
        ("file\n", CheckpointError, r"predictions\.csv lists no test clips"),
        ("file\nx\n", CheckpointError, r"predictions\.csv can't be read as a list of test clips"),
        (None, CheckpointError, r"predictions\.csv can't be read as a list of test clips"),
    ],
)
def test_test_clips_that_are_gone_are_named(
    copied_run: Path, tmp_path: Path, rows: str | None, error: type[Exception], says: str
) -> None:
    file = copied_run / "stage-2" / "predictions.csv"
    file.unlink()
    if rows is not None:
        file.write_text(rows)
    with pytest.raises(error, match=says):
        export_stage(copied_run, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_before_the_work_and_nothing_stays(run: Path, small_disk: Path) -> None:
    with pytest.raises(BundleError, match=r"no space left for .*stage-3 .*needs about \d\.\d MB; free some"):
        export_stage(run, 3, small_disk)
    assert [path.name for path in small_disk.rglob("*")] == ["by-chance"]


def test_a_bundle_that_another_process_is_writing_is_left_to_it(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "by-chance" / "stage-3"
    said = rf"stage-3 is in use: process {os.getpid()} on \S+ since \S+ \S+ is writing it; wait until it has ended, or"
    with locked(target), pytest.raises(BundleError, match=said):
        export_stage(run, 3, tmp_path)
    assert list(target.parent.iterdir()) == []


def test_no_pickle_anywhere(bundles: list[Path]) -> None:
    with np.load(bundles[-1] / "golden.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["familiarity", "features", "frames", "logits", "routing"]
    assert json.loads((bundles[-1] / MANIFEST).read_bytes())["manifest"]["schema"] == SCHEMA
