"""What an audit says of a run: every byte, every shape explained, and one line for whatever is not as it must be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.cli import main
from stpr.train.estimate.audit import HORIZON, Audit, audit
from stpr.train.estimate.footprint import flops_of, stage_sizes, sum_by_kind
from stpr.train.learning.inputs import FrozenFeatures, PixelClips, all_stages
from stpr.train.methods import METHODS, method_of
from stpr.train.methods.build import build_model
from stpr.train.model.routing import ROUTERS
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.view import View
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import BackboneRecord, StageRecord, kept_tensors, save_stage
from stpr.train.run.folder import LEARNT, PREDICTIONS, RECIPE, RECORD, TENSORS, stage_folder
from stpr.train.run.learnt import Learnt, LearntClip
from stpr.train.run.metrics import Metrics, write_metrics
from stpr.train.settings.load import write_recipe
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import ADAPTED, OURS, STAGES, learn_one, make_inputs, make_recipe, widened

ONCE = {"optimizer": {"batch": 12, "epochs_first": 1, "epochs_later": 1}}
VARIANTS: list[dict[str, Any]] = [
    *({"method": method, "ranpac": {"projection": 20}, **ADAPTED} for method in METHODS),
    *({"router": {"kind": kind}} for kind in ROUTERS if kind != "likelihood"),
    {**OURS, **ADAPTED},
    {**OURS, "statistics": {"parts": ["mean", "difference", "deviation", "cosines"]}},
    {**OURS, "statistics": {"likelihood": "cosine"}},
    {"method": "finetune", "router": {"kind": "likelihood"}, "statistics": {"parts": ["mean"]}},
    {**ADAPTED, "preservation": {"classes": "old"}},
    {"expert": {"width": 8, "start": "fresh"}},
    {"backbone": {"source": "tiny", "projection": 16}, "expert": {"input": "residual"}},
]
VIEWS: dict[str, Any] = {
    "backbone": {"source": "tiny", "inner": "auto", "projection": 16, "correlations": [0, 1], "axes": 5},
    "sampling": {"motion": 3},
    "statistics": {
        "inner": {"parts": ["mean"]},
        "motion": {"parts": ["deviation"]},
        "rhythm": True,
        "affine": True,
        "likelihood": "cosine",
        "concentration": "learnt",
    },
    "fusion": {"kind": "posteriors"},
}
VARIANTS += [{**VIEWS, **ADAPTED}, {**VIEWS, "expert": {"layers": 0}}]
Counts = tuple[tuple[int, int], ...]


def make_some(stage: int, counts: tuple[int, int]) -> FrozenFeatures:
    """A stage's two classes with so many training clips."""
    most = max(counts)
    inputs = make_inputs(stage, clips=most, draws=1)
    rows = torch.cat([place * most + torch.arange(count) for place, count in enumerate(counts)])
    return FrozenFeatures(inputs.features[rows], inputs.labels[rows])


def learn_stages(recipe: Recipe, counts: Counts) -> Iterator[StPR]:
    """The network after each stage; one and the same unless the method starts over."""
    for stage in range(1, len(counts) + 1):
        classes: tuple[str, ...] = STAGES[stage - 1]
        if stage == 1 or method_of(recipe).keeps_videos:
            torch.manual_seed(recipe.seed)
            model = build_model(recipe)
        if method_of(recipe).keeps_videos:
            classes = tuple(name for names in STAGES[:stage] for name in names)
        numbers = range(1, stage + 1) if method_of(recipe).keeps_videos else [stage]
        parts = [make_some(number, counts[number - 1]) for number in numbers]
        for part in parts:
            part.features = widened(part.features, model.encoder.frozen_width)
        inputs: FrozenFeatures | PixelClips = all_stages(parts) if len(parts) > 1 else parts[0]
        learn_one(model, classes, inputs, recipe, stage)
        yield model.eval()


def kept(model: StPR) -> dict[str, tuple[tuple[int, ...], int]]:
    return {name: (tuple(value.shape), value.nbytes) for name, value in kept_tensors(model).items()}


def write_run(folder: Path, recipe: Recipe, counts: Counts = ((12, 12), (5, 7), (9, 3))) -> Path:
    folder.mkdir()
    write_recipe(recipe, folder / RECIPE)
    for stage, model in enumerate(learn_stages(recipe, counts), start=1):
        backbone = model.encoder.backbone
        record = StageRecord(
            stage=stage,
            stages=STAGES[:stage],
            clip=ClipSpec(frames=recipe.sampling.frames, span_seconds=2.0),
            preprocess=backbone.spec,
            temperature=0.05,
            backbone=BackboneRecord(source="tiny", digest=backbone.digest()),
            method=recipe.method,
            seed=recipe.seed,
            sha256="",
            kept=(),
            unknown=None,
            clips=counts[stage - 1],
        )
        digest = hashlib.sha256(b"abc").hexdigest()
        learnt = Learnt([LearntClip(folder / f"{name}.mp4", name, 3, digest) for name in record.classes])
        save_stage(folder, model, record, {PREDICTIONS: "path,label,predicted\n", LEARNT: learnt.csv()})
    return folder


def run_audit(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["audit", str(folder), *options])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "ours", make_recipe(**OURS, **ADAPTED, **ONCE))


@pytest.fixture
def run(ours: Path, tmp_path: Path) -> Path:
    """A run that a test may break."""
    return Path(shutil.copytree(ours, tmp_path / "run"))


@pytest.mark.parametrize("tables", VARIANTS, ids=str)
def test_what_is_kept_is_the_same_however_many_clips_there_were(tables: dict[str, Any]) -> None:
    """For every method and every kind of memory, names, shapes and bytes are those that settings and classes give."""
    recipe = make_recipe(**ONCE, **tables)
    sizes = list(stage_sizes(build_model(recipe).encoder, recipe, [2, 2]))
    wanted = [{name: (size.shapes[name], size.bytes[name]) for name in size.shapes} for size in sizes]
    clips = st.integers(1, 9)

    @settings(max_examples=2, deadline=None, database=None, derandomize=True)
    @given(counts=st.tuples(st.tuples(clips, clips), st.tuples(clips, clips)))
    def check(counts: Counts) -> None:
        assert [kept(model) for model in learn_stages(recipe, counts)] == wanted

    check()


@pytest.mark.parametrize("method", ["stpr", "ewc"])
def test_flops_are_those_of_the_whole_head(method: str) -> None:
    """Stage by stage one expert is counted and multiplied; the head of a learnt network is counted in one go."""
    recipe = make_recipe(method=method, **ONCE, **{**OURS, "expert": {"layers": 2, "width": 16}})
    *_, size = stage_sizes(build_model(recipe).encoder, recipe, [2, 2])
    *_, model = learn_stages(recipe, ((3, 3), (3, 3)))
    head = model.head.to("meta")  # where attention is counted too
    assert size.flops == flops_of(head, torch.zeros(1, head.frames, head.columns.width, device="meta"))


def test_an_expert_costs_what_its_layers_do() -> None:
    """12 · D² multiply-adds a layer and frame, and attention's 2 · T² · D a layer."""
    recipe = make_recipe(expert={"layers": 3, "mlp_ratio": 4})
    width, frames = 64, 4
    one, two = (size.flops for size in stage_sizes(build_model(recipe).encoder, recipe, [1, 1]))
    expert = 2 * 3 * (12 * frames * width**2 + 2 * frames**2 * width)
    assert two - one == pytest.approx(expert, rel=0.01)


def test_an_audit_lists_every_byte(ours: Path) -> None:
    found = audit(ours)
    assert (found.faults, found.cautions) == ((), ())
    assert {file.path: file.bytes for file in found.files} == {
        path.relative_to(ours).as_posix(): path.stat().st_size for path in ours.rglob("*") if path.is_file()
    }
    for stage in found.stages:
        tensors = load_file(stage_folder(ours, stage.stage) / TENSORS)
        assert stage.bytes == sum_by_kind({name: value.nbytes for name, value in tensors.items()})
        assert stage.total + stage.header == (stage_folder(ours, stage.stage) / TENSORS).stat().st_size
    assert [stage.clips for stage in found.stages] == [(12, 12), (5, 7), (9, 3)]
    assert sum(found.grown) == found.stages[-1].total


def test_growth_is_projected_to_fifty_stages_with_the_classes_of_the_last(ours: Path) -> None:
    found = audit(ours)
    assert [stage.stage for stage in (*found.stages, *found.projected)] == list(range(1, HORIZON + 1))
    assert found.projected[-1].classes == 2 * HORIZON
    steps = {after.total - before.total for before, after in zip(found.projected, found.projected[1:], strict=False)}
    assert steps == {found.grown[-1]}  # an expert and two classes a stage, as measured


def test_the_command_prints_a_verdict_and_draws_a_picture(run: Path) -> None:
    result = run_audit(run)
    assert result.exit_code == 0, result.output
    assert "none depends on the number of training clips" in " ".join(result.output.split())
    assert f"{audit(run).stages[-1].total:,} bytes" in result.output
    assert "[adapter]" in result.output
    assert result.output.splitlines()[-1] == f"picture:  {run / 'report' / 'growth.png'}"
    assert (run / "report" / "growth.png").read_bytes()[:4] == b"\x89PNG"
    again = run_audit(run, "--json")  # the picture is a file of the run
    assert msgspec.json.decode(again.output, type=Audit).faults == ()


def test_frames_of_test_clips_in_the_report_are_said(run: Path) -> None:
    assert "mistakes.png" not in run_audit(run).output
    (run / "report" / "mistakes.png").touch()
    said = " ".join(run_audit(run).output.split())
    assert "Frames of misclassified test clips are (report/mistakes.png, and in the page beside it)." in said
    assert "No training video, frame of one" in said


def test_a_class_of_one_clip_is_named(tmp_path: Path) -> None:
    """Its mean is that clip's own feature, and the audit says so."""
    found = audit(write_run(tmp_path / "run", make_recipe(**OURS, **ONCE), ((3, 1), (2, 1))))
    one = "was learnt from 1 clip, so its means are that clip's own feature"
    assert [caution for caution in found.cautions if one in caution] == [
        f"stage 1: class 'b' {one}",
        f"stage 2: class 'd' {one}",
    ]
    assert "stage 2: one class had 2 clips and no other more than 1" in found.cautions[-1]


def test_two_clips_alone_in_a_stage_can_be_solved_for() -> None:
    """Why the audit warns of them: the stage's scatter is one outer product, and the mean does the rest."""
    recipe = make_recipe(**OURS, **ONCE)
    model = next(learn_stages(recipe, ((2, 1),)))
    statistics = model.head.combiner.statistics
    assert isinstance(statistics, ClipStatistics)
    described = statistics.describe(make_inputs(1, clips=2, draws=1).features[:2, 0])
    view = statistics.views[0]
    assert isinstance(view, View)
    values, vectors = torch.linalg.eigh(view.scatter.double())
    half = (values[-1] / 2) ** 0.5 * vectors[:, -1]
    found = torch.stack([view.means[0] + half, view.means[0] - half]).float()
    order = (found[0] - described[0]).norm() > (found[0] - described[1]).norm()
    torch.testing.assert_close(found.flip(0) if order else found, described, rtol=1e-3, atol=1e-3)


def test_clips_that_nobody_counted_are_a_caution(run: Path) -> None:
    for stage in (1, 2, 3):
        file = stage_folder(run, stage) / RECORD
        file.write_text(json.dumps({**json.loads(file.read_text()), "clips": []}))
    assert "clips per class were not counted in stage 1, 2, 3" in audit(run).cautions[0]


def test_a_cache_of_features_elsewhere_is_a_caution(run: Path) -> None:
    """Features that a user asked to keep lie outside the run; the verdict must not hide them."""
    metrics = Metrics(
        method="stpr", seed=0, classes=["a"], stages=[["a"]], accuracy=[[1.0]], seen=[1.0], final=1.0,
        average_incremental=1.0, backward_forgetting=0.0, seconds=1.0, environment={"cache": "somewhere"},
        confusion=[[1]], routing=[], curves=[[]],
    )  # fmt: skip
    write_metrics(run, metrics)
    assert audit(run).cautions[0].startswith("somewhere: the --cache folder holds clips' features")


def resave(run: Path, change: dict[str, Tensor]) -> None:
    """Stage 2 with other tensors, its record rewritten to match."""
    folder = stage_folder(run, 2)
    tensors = {**load_file(folder / TENSORS), **change}
    record = msgspec.json.decode((folder / RECORD).read_bytes(), type=StageRecord)
    save_file(tensors, folder / TENSORS)
    kept = [
        {"name": name, "kind": "anchors", "shape": list(value.shape), "bytes": value.nbytes}
        for name, value in tensors.items()
    ]
    digest = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    (folder / RECORD).write_bytes(msgspec.json.encode({**msgspec.to_builtins(record), "sha256": digest, "kept": kept}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"head.anchors": torch.zeros(24, 64)},
            "stage 2: head.anchors is (24, 64) in 6,144 bytes; the settings explain",
        ),
        ({"head.clips": torch.zeros(24, 64)}, "stage 2: no setting explains the tensor head.clips (24, 64)"),
        ({"head.anchors": torch.zeros(4, 64).double()}, "stage 2: head.anchors is (4, 64) in 2,048 bytes"),
    ],
)
def test_a_tensor_that_nothing_explains_is_a_fault(change: dict[str, Tensor], fault: str, run: Path) -> None:
    resave(run, change)
    result = run_audit(run)
    assert result.exit_code == 2
    assert fault in result.output
    assert "verdict" not in result.output


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda run: (run / RECIPE).unlink(), "is not a run: it has no recipe.toml"),
        (lambda run: any(map(shutil.rmtree, run.glob("stage-*"))), "has no finished stage"),
        (lambda run: shutil.rmtree(run / "stage-2"), "stage-2/stage.json is missing, so stage 2 can't be audited"),
        (lambda run: (run / "stage-3" / TENSORS).unlink(), "stage-3/model.safetensors is missing"),
        (lambda run: flip(run / "stage-1" / TENSORS), "is not the file that was saved (its sha256 differs)"),
        (lambda run: (run / "stage-1" / RECORD).write_text("{"), "stage.json is damaged"),
        (
            lambda run: (run / "stage-1" / "clips.npy").write_bytes(bytes(9)),
            "stage-1/clips.npy (9 bytes) is not a run's file",
        ),
        (lambda run: (run / "stage-2" / "a.mp4").touch(), "stage-2/a.mp4 (0 bytes) is not a run's file"),
        (lambda run: (run / ".a.stpr-part").symlink_to("recipe.toml"), ".a.stpr-part (11 bytes) is not a run's file"),
    ],
)
def test_what_is_not_as_it_must_be_is_said_in_one_line(harm: Any, says: str, run: Path) -> None:
    harm(run)
    result = run_audit(run)
    assert result.exit_code == 2
    last = result.output.splitlines()[-1]
    assert last.startswith("Error: ")
    assert says in last


def test_a_run_that_can_not_be_written_is_audited_without_a_picture(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a part")

    monkeypatch.setattr("stpr.train.report.growth_figure.write_growth", refuse)  # root may write everywhere
    result = run_audit(run)
    assert result.exit_code == 0, result.output
    assert "verdict:" in result.stdout
    assert f"note: no picture: {run}/report/growth.png can't be written" in result.stderr


def test_a_run_whose_network_has_moved_is_audited_with_its_new_place(run: Path) -> None:
    """Only settings that decide nothing may differ."""
    recipe = (run / RECIPE).read_text()
    (run / RECIPE).write_text(recipe.replace('source = "tiny"', 'source = "/nowhere/net"'))
    assert "there is no folder /nowhere/net" in run_audit(run).output
    assert run_audit(run, "--set", "backbone.source=tiny").exit_code == 0
    assert "(seed differ); keep its settings" in run_audit(run, "--set", "seed=9").output


def test_a_clip_that_was_learnt_and_tested_on_is_a_fault(run: Path, tmp_path: Path) -> None:
    clip, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    clip.write_bytes(b"abc")
    other.write_bytes(b"abd")
    name = STAGES[0][0]
    rows = f"path,label,predicted\n{clip},{name},{name}\n{other},{name},{name}\n"
    (stage_folder(run, 3) / PREDICTIONS).write_text(rows)
    result = run_audit(run)
    assert result.exit_code == 2
    said = f"Error: {run} does not pass the audit: {clip} is a test clip of {name!r}, but its content was learnt as"
    assert result.output.splitlines()[-1].startswith(said)
    (stage_folder(run, 3) / LEARNT).unlink()
    found = audit(run)
    assert found.faults == ()
    assert found.cautions[0].startswith(f"{stage_folder(run, 3) / LEARNT} has no training clips of ")


def test_what_a_killed_write_left_is_ours_but_not_covered(run: Path) -> None:
    left = run / ".stage-4.0123abcd.stpr-part" / TENSORS
    left.parent.mkdir()
    left.write_bytes(bytes(100))
    result = run_audit(run)
    assert result.exit_code == 0, result.output
    said = "caution:  .stage-4.0123abcd.stpr-part/model.safetensors (100 bytes) is half written: its writer was killed"
    assert said in result.output
    assert "is kept here but for the cautions above" in result.output
