"""Runs that trainers of older schemas wrote keep loading, saying the same, and going on (see tests/runs/README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.train.datasets.csv_list import CsvList
from stpr.train.run.checkpoint import SCHEMA, load_stage, read_record
from stpr.train.run.execute import execute
from stpr.train.run.folder import METRICS, RECIPE, RECORD, TENSORS, stage_folder
from stpr.train.run.metrics import read_metrics
from stpr.train.run.prepare import Request
from stpr.train.run.progress import ShownProgress
from stpr.train.run.resume import read_history, relocated_recipe
from stpr.train.run.task import TaskOptions, read_task
from stpr.train.settings.load import read_resolved
from stpr.train.settings.recipe import Recipe, StageSettings
from tests.factories import make_video
from tests.runs.frames import frames

RUNS = Path(__file__).parents[2] / "runs"
OLD = {f"{run.parent.name}-{run.name}": run for run in sorted(RUNS.glob("schema-*/*")) if run.is_dir()}
LEARNT = (("slide_right", "slide_left"), ("grow", "shrink"))
every_old_run = pytest.mark.parametrize("run", OLD.values(), ids=OLD)


def test_there_is_a_run_of_every_schema_before_the_present() -> None:
    assert {run.parent.name for run in OLD.values()} == {f"schema-{schema}" for schema in range(SCHEMA)}


@every_old_run
@pytest.mark.parametrize("stage", [1, 2])
def test_it_says_the_same_of_the_same_frames(run: Path, stage: int) -> None:
    model, record, recipe = load_stage(run, stage)
    assert record.stages == LEARNT[:stage]
    said: dict[str, Any] = json.loads((run / "said.json").read_bytes())[stage - 1]
    combiner = model.head.combiner
    with torch.no_grad():
        features = model.encoder(torch.from_numpy(frames()))
        logits, routing = model.head(features)
        clips = combiner.read(features)
        found = {"logits": logits, "routing": routing, "familiarity": combiner.familiarity(clips, logits)}
        if combiner.gives_evidence:
            found["evidence"] = combiner.evidence(clips)
    if record.schema:
        assert found.keys() == said.keys()
    elif recipe.method == "streaming_lda":  # had the posterior at unit length for logits, and one idle expert
        found["logits"] = torch.nn.functional.normalize(torch.softmax(logits / record.temperature, dim=1))
        del said["routing"]
    for name, numbers in said.items():
        # Directions have been rounded since; evidence, in nats, multiplies their differences.
        allowed = 0.02 if name == "evidence" else 1e-3
        torch.testing.assert_close(found[name], torch.tensor(numbers), atol=allowed, rtol=1e-3)


@every_old_run
def test_its_figures_are_read_under_the_keys_of_today(run: Path) -> None:
    written, found = json.loads((run / METRICS).read_bytes()), read_metrics(run)
    oldest = run.parent.name == "schema-0"
    assert written.get("schema", 0) == (0 if oldest else 1)
    routing, oracle, alarms = (
        ("routed", "right_expert", "false_alarms")
        if oldest
        else ("routing_accuracy", "oracle_accuracy", "false_positive_rate")
    )
    assert (found.routing_accuracy, found.oracle_accuracy) == (written[routing], written[oracle])
    assert (found.seen, found.confusion) == (written["seen"], written["confusion"])
    assert [one and one.false_positive_rate for one in found.unknown] == [
        one and one[alarms] for one in written["unknown"]
    ]


@every_old_run
def test_its_recipe_is_read_under_the_keys_of_today(run: Path) -> None:
    key = "distractors" if run.parent.name == "schema-0" else "random_negatives"
    assert f"{key} = 4" in (run / RECIPE).read_text(encoding="utf-8")
    recipe = read_resolved(run / RECIPE)
    assert recipe.contrast.random_negatives == 4
    assert (recipe.method, recipe.expert.width) == (run.name, 8)


@every_old_run
def test_its_recipe_takes_changes_as_one_of_today_does(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name in ("1", "2"):
        make_video(tmp_path / "new" / f"{name}.avi", frames=8)
    changes = ("sampling.workers=1", 'backbone.source="elsewhere"')
    recipes = (
        relocated_recipe(run, changes),
        read_resolved(run / RECIPE, changes=changes, root="there"),
        read_task(str(tmp_path), TaskOptions(run=run, changes=changes)).recipe,
    )
    for recipe in recipes:
        assert (recipe.sampling.workers, recipe.backbone.source) == (1, "elsewhere")
        assert recipe.contrast.random_negatives == 4
    assert isinstance(recipes[1].data, CsvList)
    assert recipes[1].data.root == "there"


def test_what_was_called_otherwise_is_in_there() -> None:
    names = {name: set(load_file(stage_folder(run, 2) / TENSORS)) for name, run in OLD.items()}
    assert "importance" in names["schema-0-ewc"]
    assert "head.class_vectors" in names["schema-0-streaming_lda"]
    assert {"head.statistics.means", "head.statistics.wholeness.halves"} <= names["schema-1-stpr"]
    assert not any("calibration" in name for found in names.values() for name in found)


@pytest.fixture
def begun(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "run"))


every_begun_run = pytest.mark.parametrize("begun", OLD.values(), ids=OLD, indirect=True)


def with_a_third_stage(begun: Path, videos: Path) -> Recipe:
    """The recipe that the run was begun with, two more classes behind the learnt ones, and videos of all classes."""
    recipe = read_resolved(begun / RECIPE)
    stages = (*LEARNT, ("sway", "bob"))
    rows = ["path,label,split"]
    for label in (name for stage in stages for name in stage):
        (videos / label).mkdir(parents=True)
        for name in ("train_0", "train_1", "train_2", "train_3", "test_0", "test_1"):
            make_video(videos / label / f"{name}.avi", frames=8)
            rows.append(f"{label}/{name}.avi,{label},{name.partition('_')[0]}")
    (videos / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert isinstance(recipe.data, CsvList)
    data = msgspec.structs.replace(recipe.data, root=str(videos), videos="")
    return msgspec.structs.replace(recipe, data=data, stages=StageSettings(classes=stages))


@every_begun_run
def test_it_goes_on_with_a_further_stage(begun: Path, tmp_path: Path) -> None:
    recipe = with_a_third_stage(begun, tmp_path / "videos")
    figures = json.loads((begun / METRICS).read_bytes())
    before = [(stage_folder(begun, stage) / TENSORS).read_bytes() for stage in (1, 2)]
    with pytest.raises(RecipeError, match="holds a run with 2 finished stages; continue with --resume"):
        read_history(begun, recipe, resume=False)
    with ShownProgress(quiet=True) as shown:
        metrics = execute(recipe, Request(out=begun, resume=True), shown)
    assert len(metrics.seen) == 3
    assert metrics.seen[:2] == figures["seen"]
    assert [(stage_folder(begun, stage) / TENSORS).read_bytes() for stage in (1, 2)] == before
    record = read_record(begun, 3)
    assert (record.schema, record.stages) == (SCHEMA, (*LEARNT, ("sway", "bob")))
    assert load_stage(begun, 3)[0].head.classes == 6


@every_begun_run
def test_a_record_of_a_schema_to_come_is_told(begun: Path) -> None:
    file = stage_folder(begun, 2) / RECORD
    file.write_bytes(msgspec.json.encode({**json.loads(file.read_bytes()), "schema": SCHEMA + 1}))
    with pytest.raises(
        CheckpointError, match=f"has schema {SCHEMA + 1}; this stpr reads 0 to {SCHEMA}: upgrade it here"
    ):
        load_stage(begun, 2)
