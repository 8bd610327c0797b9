"""What may be different when a run is taken up again, and what must not."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.run.checkpoint import BackboneRecord, StageRecord
from stpr.train.run.folder import LEARNT, METRICS, PREDICTIONS, RECIPE, RECORD, TENSORS, stage_folder
from stpr.train.run.learnt import Learnt, LearntClip
from stpr.train.run.metrics import Metrics, write_metrics
from stpr.train.run.repair import REBUILT
from stpr.train.run.resume import MAY_DIFFER, read_history
from stpr.train.settings.learning import SamplingSettings, UnknownSettings
from stpr.train.settings.load import write_recipe
from stpr.train.settings.model import BackboneSettings, ExpertSettings, StatisticsSettings
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import STAGES, make_recipe

SIZES = {"sizes": [2, 2, 2], "classes": []}


def make_metrics(stages: int) -> Metrics:
    classes = [name for names in STAGES[:stages] for name in names]
    return Metrics(
        method="stpr", seed=0, classes=classes, stages=[list(names) for names in STAGES[:stages]],
        accuracy=[[1.0] * (row + 1) for row in range(stages)], seen=[1.0] * stages, final=1.0, average_incremental=1.0,
        backward_forgetting=0.0, seconds=1.0, environment={}, routing=[], curves=[[]] * stages,
        confusion=[[int(one == two) for two in classes] for one in classes],
    )  # fmt: skip


def make_run(run: Path, recipe: Recipe, *, records: int, figures: int) -> Path:
    """A run folder whose tensors are none: looking back reads no more than their digest."""
    for stage in range(1, records + 1):
        record = StageRecord(
            stage=stage, stages=STAGES[:stage], clip=ClipSpec(frames=4, span_seconds=1.5), temperature=0.05,
            unknown=None,
            preprocess=PreprocessSpec(
                height=8, width=8, resize="stretch", crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
            ),
            backbone=BackboneRecord(source="tiny", digest=""), method="stpr", seed=0, kept=(),
            sha256=hashlib.sha256(b"").hexdigest(),
        )  # fmt: skip
        stage_folder(run, stage).mkdir(parents=True)
        (stage_folder(run, stage) / TENSORS).touch()
        names = record.classes
        rows = "".join(f"clip{index}.mp4,{name},{name}\n" for index, name in enumerate(names))
        (stage_folder(run, stage) / PREDICTIONS).write_text(f"path,label,predicted\n{rows}", encoding="utf-8")
        (stage_folder(run, stage) / RECORD).write_bytes(msgspec.json.encode(record))
        learnt = Learnt([LearntClip(run / f"{name}.mp4", name, 1, name) for name in names])
        (stage_folder(run, stage) / LEARNT).write_text(learnt.csv(), encoding="utf-8")
    run.mkdir(exist_ok=True)
    write_recipe(recipe, run / RECIPE)
    if figures:
        write_metrics(run, make_metrics(figures))
    return run


@pytest.mark.parametrize("resume", [True, False])
def test_without_finished_stages_a_run_begins(tmp_path: Path, resume: bool) -> None:
    assert read_history(tmp_path / "none", make_recipe(), resume=resume) is None
    begun = make_run(tmp_path / "begun", make_recipe(), records=0, figures=0)
    assert read_history(begun, make_recipe(seed=3), resume=resume) is None


@pytest.mark.parametrize(("records", "said"), [(1, "1 finished stage;"), (2, "2 finished stages;")])
def test_finished_stages_are_not_written_over(tmp_path: Path, records: int, said: str) -> None:
    run = make_run(tmp_path, make_recipe(), records=records, figures=records)
    with pytest.raises(RecipeError, match=f"holds a run with {said} continue with --resume or choose another --out"):
        read_history(run, make_recipe(), resume=False)


@pytest.mark.parametrize(("records", "figures", "taken_up"), [(1, 1, 1), (3, 3, 3), (2, 1, 1)])
def test_a_run_goes_on_behind_its_last_figures(tmp_path: Path, records: int, figures: int, taken_up: int) -> None:
    past = read_history(make_run(tmp_path, make_recipe(), records=records, figures=figures), make_recipe(), resume=True)
    assert past is not None
    assert past.record.stages == STAGES[:taken_up]
    assert (past.metrics, past.notes) == (make_metrics(taken_up), ())


@pytest.mark.parametrize("gone", [(1,), (1, 2)])
def test_older_stages_that_are_gone_neither_hide_the_newest_nor_stop_it(tmp_path: Path, gone: tuple[int, ...]) -> None:
    run = make_run(tmp_path, make_recipe(), records=3, figures=3)
    for stage in gone:
        shutil.rmtree(stage_folder(run, stage))
    with pytest.raises(RecipeError, match=r"holds a run with [12] finished stages?; continue with --resume"):
        read_history(run, make_recipe(), resume=False)
    past = read_history(run, make_recipe(), resume=True)
    assert past is not None
    assert (past.record.stage, past.metrics) == (3, make_metrics(3))


@pytest.mark.parametrize("harm", ["tensors", "record", "folder"])
def test_a_damaged_last_stage_is_learnt_again_behind_the_last_whole_one(tmp_path: Path, harm: str) -> None:
    run = make_run(tmp_path, make_recipe(), records=3, figures=3)
    last = stage_folder(run, 3)
    if harm == "folder":
        shutil.rmtree(last)
    else:
        (last / (TENSORS if harm == "tensors" else RECORD)).write_bytes(b"{")
    past = read_history(run, make_recipe(), resume=True)
    assert past is not None
    assert past.record.stage == 2
    assert (past.metrics.accuracy, past.metrics.classes) == (make_metrics(2).accuracy, make_metrics(2).classes)
    assert len(past.notes) == 1
    assert past.notes[0].endswith("Stage 3 will be trained again.")
    assert "stage-3" in past.notes[0] or "not stage 3" in past.notes[0]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(("harm", "fault"), [("tensors", "stage-1.*sha256 differs"), ("folder", "no finished stage")])
def test_a_run_without_a_whole_stage_says_the_one_way_on(tmp_path: Path, harm: str, fault: str, resume: bool) -> None:
    run = make_run(tmp_path, make_recipe(), records=1, figures=1)
    if harm == "folder":
        shutil.rmtree(stage_folder(run, 1))
    else:
        (stage_folder(run, 1) / TENSORS).write_bytes(b"x")
    said = rf"no intact stage to continue from: .*{fault}.*; restore that stage's folder .* another --out"
    with pytest.raises(CheckpointError, match=said):  # --resume is no way on, so nobody is sent there
        read_history(run, make_recipe(), resume=resume)


@pytest.mark.parametrize("stages", [1, 2])
def test_figures_that_are_gone_are_made_again_of_the_predictions(tmp_path: Path, stages: int) -> None:
    run = make_run(tmp_path, make_recipe(), records=stages, figures=stages)
    (run / METRICS).unlink()
    past = read_history(run, make_recipe(), resume=True)
    assert past is not None
    kept = ("classes", "stages", "accuracy", "seen", "final", "average_incremental", "backward_forgetting", "confusion")
    wanted = make_metrics(stages)
    assert {name: getattr(past.metrics, name) for name in kept} == {name: getattr(wanted, name) for name in kept}
    assert past.metrics.notes == [REBUILT]


def test_figures_that_can_not_be_made_again_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_recipe(), records=2, figures=2)
    (run / METRICS).unlink()
    shutil.rmtree(stage_folder(run, 1))
    with pytest.raises(CheckpointError, match=r"has no metrics\.json, and .*stage-1.*; restore one of them"):
        read_history(run, make_recipe(), resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_recipe_that_is_gone_is_told(tmp_path: Path, resume: bool) -> None:
    run = make_run(tmp_path, make_recipe(), records=1, figures=1)
    (run / RECIPE).unlink()
    with pytest.raises(CheckpointError, match=r"has stages but no recipe\.toml"):
        read_history(run, make_recipe(), resume=resume)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"root": "elsewhere"}},
        {"backbone": {"source": "/mnt/network"}, "sampling": {"workers": 7}},
        {"data": {"kind": "csv", "root": "elsewhere", "train": {"year": ["2"]}}},
        {"stages": {"classes": [*STAGES, ["g"]]}},
    ],
)
@pytest.mark.parametrize("begun", [{}, {"stages": SIZES}])
def test_videos_may_come_from_elsewhere_and_stages_be_listed(
    tmp_path: Path, begun: dict[str, Any], changes: dict[str, Any]
) -> None:
    run = make_run(tmp_path, make_recipe(**begun), records=2, figures=2)
    before = (run / RECIPE).read_bytes()
    assert read_history(run, make_recipe(**{**begun, **changes_of(begun, changes)}), resume=True) is not None
    assert (run / RECIPE).read_bytes() == before  # it is rewritten when the new stage begins


def changes_of(begun: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A list of classes takes the place of sizes."""
    return {**changes, "stages": {**changes["stages"], "sizes": []}} if begun and "stages" in changes else changes


# What differs, where it may not be missing.
OTHER = {
    "name": "other",
    "backbone": BackboneSettings(source="tiny", projection=3),
    "statistics": StatisticsSettings(shrinkage=0.5),
    "sampling": SamplingSettings(frames=5),
    "expert": ExpertSettings(layers=1),
    "unknown": UnknownSettings(holdout=0.5),
}


@pytest.mark.parametrize("field", [name for name in Recipe.__struct_fields__ if name not in MAY_DIFFER])
def test_everything_else_must_be_as_it_was(tmp_path: Path, field: str) -> None:
    run = make_run(tmp_path, make_recipe(), records=1, figures=1)
    said = rf"was started with another recipe \({field} differ\); keep its settings, or train another run with another"
    with pytest.raises(RecipeError, match=said):
        read_history(run, msgspec.structs.replace(make_recipe(), **{field: OTHER.get(field)}), resume=True)


@pytest.mark.parametrize("changes", [{"sizes": [2, 2, 2, 1]}, {"sizes": [2, 4]}, {"seed": 1}])
@pytest.mark.parametrize("begun", [{}, {"stages": SIZES}])
def test_a_draw_of_stages_can_not_be_extended(tmp_path: Path, begun: dict[str, Any], changes: dict[str, Any]) -> None:
    run = make_run(tmp_path, make_recipe(**begun), records=1, figures=1)
    said = r"was started with other stages: stages drawn by \[stages\] sizes can't be extended; list them as \[stages\]"
    with pytest.raises(RecipeError, match=said) as caught:
        read_history(run, make_recipe(stages={**SIZES, **changes}), resume=True)
    assert "\n" not in caught.value.message
