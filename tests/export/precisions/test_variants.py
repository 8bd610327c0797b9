"""Every precision on small networks of every kind: the same decisions, smaller weights, and what it says it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.graphs.cut import FILES
from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.export.parity.certificate import Calibration, Rate
from stpr.export.parity.measurements import GOLDEN, Measurements, Where
from stpr.export.parity.policy import ByMargin, Limits
from stpr.export.parity.reference import answers
from stpr.export.precisions import PRECISIONS, SYMMETRIC, variant_of
from stpr.export.precisions.convert import Converted
from stpr.export.precisions.files import used_files
from stpr.export.precisions.inspection import inspect, refuse_other
from stpr.export.precisions.variant import Training, Written
from stpr.runtime.check import check_bundle
from stpr.runtime.contract.errors import EngineError, ParityError
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.engines.tensorrt_builder import build_plan
from stpr.train.model.stpr import StPR
from tests.export.models import MOTION, feeds, head_settings, random_backbone, random_model, views_settings
from tests.export.runs import INNER, VIEWS, write_run

NARROW = 10  # at most, axes of the views and trained matrices, which every bundle keeps in half precision
LOWER: list[Precision] = [precision for precision in PRECISIONS if precision != "fp32"]
FORMS = [(precision, False) for precision in PRECISIONS] + [(precision, True) for precision in SYMMETRIC]


def network(kind: str) -> StPR:
    torch.manual_seed(3)
    if kind == "motion":
        backbone = random_backbone("clip", (1, 2))
        return random_model(backbone=backbone, stages=2, settings=views_settings(), motion=MOTION)
    backbone = random_backbone("mobilenet" if kind == "mobilenet" else "clip")
    return random_model(backbone=backbone, stages=2, place="feature", settings=head_settings("likelihood"))


@pytest.fixture(scope="module", params=["mobilenet", "clip", "motion"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[StPR, Path]:
    model, folder = network(request.param), tmp_path_factory.mktemp(request.param)
    write_onnx(model, trace_pieces(model), folder)
    return model, folder


def pixels_of(model: StPR, clips: int) -> Array:
    shape = (clips, model.head.frames, *model.encoder.pixels.shape)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def training(model: StPR) -> Training:
    def frames() -> Iterator[dict[str, Array]]:
        for clip in pixels_of(model, 12):
            frame = feeds(model, clip[None])
            yield {name: seen[0, :1] for name, seen in frame.items()}

    return Training(frames, Calibration(clips=12, sha256="made up"))


@pytest.mark.parametrize(("precision", "symmetric"), FORMS[1:])
def test_a_lower_precision_is_what_it_says_and_is_near_to_pytorch(
    written: tuple[StPR, Path], precision: Precision, symmetric: bool, tmp_path: Path
) -> None:
    model, traced = written
    folder = shutil.copytree(traced, tmp_path / "graphs")
    variant = variant_of(precision, symmetric=symmetric)
    made = variant.write(folder, lambda: training(model))
    files = made.files
    assert made.time is None if precision == "fp16" or symmetric else 0 < (made.time or 0) < 100
    layers, sizes = inspect(folder, files)
    refuse_other(precision, variant.kinds, layers)
    assert layers.get("combine", {}).keys() <= {"float32"}
    assert sizes[variant.kinds["encoder"]] > 0
    for name in used_files(traced, FILES.values()):
        assert (folder / name).read_bytes() == (traced / name).read_bytes()
    pixels = pixels_of(model, 2)
    wanted, given = answers(model, pixels), feeds(model, pixels)
    run = {
        name: open_engine("onnxruntime", folder / file, EngineOptions(threads=1)).run for name, file in files.items()
    }
    rows = {name: seen.reshape(-1, *seen.shape[2:]) for name, seen in given.items()}
    features = run[GraphName.ENCODER](rows)["features"].reshape(wanted.features.shape)
    assert features.dtype == np.float32
    scale = np.abs(wanted.features).max()
    assert 0 < np.abs(features - wanted.features).max() < (0.01 if precision == "fp16" else 0.2) * scale
    if model.encoder.pixels.motion:
        moved = model.head.columns.appearance + model.head.columns.inner
        np.testing.assert_allclose(features[..., moved:], wanted.features[..., moved:], rtol=1e-4, atol=1e-5)
    if precision == "int8":  # in the mean over what it was calibrated on
        full = open_engine("onnxruntime", traced / FILES[GraphName.ENCODER], EngineOptions(threads=1)).run
        seen = [*training(model).feeds()]
        off = [run[GraphName.ENCODER](frame)["features"] - full(frame)["features"] for frame in seen]
        assert np.abs(np.concatenate(off).mean(axis=0)).max() < 1e-4 * scale < np.abs(off).max()
    live, clip = run[GraphName.HEAD]({"features": features}), run[GraphName.CLIP](given)
    for output, value in live.items():
        np.testing.assert_allclose(clip[output], value, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(value).max())))


@pytest.mark.parametrize(("precision", "symmetric"), FORMS)
def test_tensorrt_builds_what_is_meant_for_it(
    written: tuple[StPR, Path], precision: Precision, symmetric: bool, tmp_path: Path
) -> None:
    """All graphs typed as they are; int8 in the form for CPUs is refused and not built as another."""
    library = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, which builds without a GPU, is not installed")
    folder = shutil.copytree(written[1], tmp_path / "graphs")
    variant = variant_of(precision, symmetric=symmetric)
    for name, file in variant.write(folder, lambda: training(written[0])).files.items():
        if precision == "int8" and not symmetric and name is not GraphName.HEAD:
            says = r"-int8\.onnx can't run on tensorrt_rtx .*, which can't read it: .*; export .* with --target any,"
            with pytest.raises(EngineError, match=says):
                build_plan(folder / file, library=library, capability="SM86")
            continue
        built = build_plan(folder / file, library=library, capability="SM86")
        assert (built.types.get("HALF", 0) > NARROW) == (precision == "fp16")
        assert "FLOAT" in built.types  # what combines the experts, and motion
        assert ("INT8" in built.types) == (precision == "int8" and name is not GraphName.HEAD)
        assert "BF16" not in built.types


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with as many training clips as int8 asks for, and all outputs."""
    root = tmp_path_factory.mktemp("whole")
    data = {"kind": "motions", "root": str(root / "data"), "train_per_class": 24, "test_per_class": 2}
    return write_run(root, data=data, stages={"sizes": [2]}, backbone=INNER, **VIEWS)


@pytest.mark.parametrize(("precision", "symmetric"), FORMS)
def test_a_bundle_holds_its_own_check(whole_run: Path, precision: Precision, symmetric: bool, tmp_path: Path) -> None:
    target = "jetpack6" if symmetric else None  # which refuses other zero points
    bundle = export_stage(whole_run, 1, tmp_path, options=Options(precision=precision, clips=4, target=target))
    lines = check_bundle(bundle, "onnxruntime", threads=1)
    assert all(line.holds for line in lines), lines


def _same(given: Training) -> Training:
    return given


@pytest.mark.rare  # calibrates twice
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_frozen_network_is_the_same_int8_bytes_whatever_it_is_calibrated_on(
    symmetric: bool, tmp_path: Path
) -> None:
    model = network("mobilenet")
    found = []
    for clips in (3, 8):
        folder = tmp_path / str(clips)
        folder.mkdir()
        write_onnx(model, trace_pieces(model), folder)

        def frames(count: int = clips) -> Iterator[dict[str, Array]]:
            for clip in pixels_of(model, 12)[:count]:
                yield {"frames": clip[:1]}

        given = Training(frames, Calibration(clips=clips, sha256=""))
        variant_of("int8", symmetric=symmetric).write(folder, partial(_same, given))
        found.append({file.name: file.read_bytes() for file in (folder / "weights").glob("*-int8.bin")})
    assert found[0]["backbone-int8.bin"] == found[1]["backbone-int8.bin"]
    assert found[0]["projection-int8.bin"] == found[1]["projection-int8.bin"]
    assert found[0]["stage-int8.bin"] != found[1]["stage-int8.bin"]


@pytest.mark.parametrize("precision", LOWER)
def test_float32_under_the_name_of_a_lower_precision_is_refused(
    written: tuple[StPR, Path], precision: Precision
) -> None:
    layers, _ = inspect(written[1], FILES)
    said = rf"^asked for {precision}, got {{'float32': \d+}} layers in the encoder, which must be (float16|int8); no"
    with pytest.raises(ParityError, match=said):
        refuse_other(precision, variant_of(precision).kinds, layers)


def test_a_combination_of_experts_in_half_precision_is_refused() -> None:
    with pytest.raises(
        ParityError, match=r"^asked for fp16, got .*'float16': 1.* in the combine, which must be float32"
    ):
        refuse_other(
            "fp16", variant_of("fp16").kinds, {"encoder": {"float16": 9}, "combine": {"float16": 1, "float32": 5}}
        )


def test_no_cast_to_half_and_back_rounds_what_stays_whole(written: tuple[StPR, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(written[1], tmp_path / "graphs")
    files = variant_of("fp16").write(folder, lambda: training(written[0])).files
    graph = onnx.load(str(folder / files[GraphName.HEAD]), load_external_data=False).graph
    readers = {name for node in graph.node if node.name.startswith("combine/") for name in node.input}
    assert "features" in readers


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (0.52, "a frame takes 0.52 of the time that it takes in fp32 here"),
        (
            1.09,
            "a frame takes 1.09 of the time that it takes in fp32 here, so it does not pay on a machine like this: ship"
            " fp32 to such devices",
        ),
        (None, None),
    ],
)
def test_int8_says_whether_it_is_faster_here(time: float | None, said: str | None) -> None:
    made = Converted(Written({}, None, time), variant_of("int8").policy, {}, {})
    assert made.verdict == said


LIMITS = Limits(margin=0.1, top1=0.9, routing=0.9, accuracy=0.05, recall=0.05, logits=0.1)


def test_the_golden_clips_logits_have_a_bound_of_their_own() -> None:
    measured = Measurements()
    for part in ("clip", GOLDEN):
        measured.compare(Where(part, "logits"), np.array([[0.0, -1.5]]), np.array([[0.0, -2.0]]))
    clip, golden = ByMargin(LIMITS, "").judge(measured).differences
    assert clip.holds
    assert golden.tolerance == pytest.approx(0.2)
    assert not golden.holds


def test_a_device_is_allowed_of_the_golden_clip_what_real_clips_showed() -> None:
    """Familiarity of random pixels is a thousand times that of a clip: a share of it says nothing of a clip."""
    measured = Measurements()
    measured.compare(Where("clip", "familiarity"), np.array([-900.0, 1.0]), np.array([-922.0, 1.5]))  # random, real
    measured.real["familiarity"].add(np.array([1.0, 4.0]), np.array([1.5, 3.0]))
    measured.first["familiarity"].add(np.array([1.0]), np.array([1.5]))
    clip, golden = ByMargin(LIMITS, "").judge(measured).differences
    assert (golden.part, golden.output, golden.worst, golden.tolerance) == (GOLDEN, "familiarity", 0.5, 2.0)
    assert golden.relative_tolerance == pytest.approx(2.0 / 1.5)
    assert clip.relative_tolerance == pytest.approx(44.0 / 922.0)  # which the golden clip itself would not hold
    assert clip.relative_tolerance < 0.5 / 1.5 < golden.relative_tolerance


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_never_holds(bad: float) -> None:
    measured = Measurements()
    measured.compare(Where("clip", "features"), np.array([[bad]]), np.array([[1.0]]))
    assert not ByMargin(LIMITS, "").judge(measured).differences[0].holds


@pytest.mark.parametrize(
    ("clips", "loss", "engine", "holds"),
    [(1000, 0.01, 0.99, True), (1000, 0.01, 0.98, False), (50, 0.01, 0.98, True), (50, 0.01, 0.96, False)],
)
def test_a_rate_may_lose_what_is_allowed_or_one_clip(clips: int, loss: float, engine: float, holds: bool) -> None:
    assert Rate(what="accuracy", clips=clips, pytorch=1.0, engine=engine, loss=loss).holds == holds
