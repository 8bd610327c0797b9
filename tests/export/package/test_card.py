"""The model card and the graphs' metadata say what is known of a stage, and name what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import onnx
import pytest

from stpr.export.package.budget import COMBINER, ENCODER, EXPERT, parts_of
from stpr.export.package.card import CARD, figures_of, label, licence_of, write_card
from stpr.export.package.seal import Stage
from stpr.export.parity.certificate import Certificate
from stpr.runtime.contract.bundle import PARITY, open_bundle
from stpr.runtime.contract.errors import CheckpointError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.motions import CLASSES
from stpr.train.run.checkpoint import load_stage
from stpr.train.run.metrics import UNKNOWN, Metrics, write_metrics
from stpr.train.run.open_set_metrics import UnknownFigures

FILES = {name: f"{name}.onnx" for name in GraphName}


def figures(stages: int, *, strange: float | None) -> Metrics:
    """What training would have measured; of the last stage's thresholds no strange clip was tested."""
    judged = UnknownFigures(recall=0.9, false_positive_rate=strange, auroc=None, false_positive_rate_at_recall=None)
    last = msgspec.structs.replace(judged, recall=0.875, false_positive_rate=None)
    return Metrics(
        method="stpr",
        seed=0,
        classes=list(CLASSES[: 2 * stages]),
        stages=[list(CLASSES[2 * place : 2 * place + 2]) for place in range(stages)],
        accuracy=[[1.0 - 0.125 * (row - column) for column in range(row + 1)] for row in range(stages)],
        seen=[1.0 - 0.0625 * row for row in range(stages)],
        final=0.5,
        average_incremental=0.5,
        backward_forgetting=0.0,
        seconds=1.0,
        environment={"command": "stpr-train /home/somebody/videos"},
        confusion=[[int(row == column) for column in range(2 * stages)] for row in range(2 * stages)],
        routing=[],
        curves=[[] for _ in range(stages)],
        lists={"clips.csv": ["ab12"]},
        notes=["The groups of training and test are not apart."],
        unknown=[*[judged] * (stages - 1), last],
    )


@pytest.fixture(scope="module")
def stage(run: Path) -> Stage:
    return Stage("by-chance", *load_stage(run, 3))


def card_of(stage: Stage, bundle: Path, folder: Path, told: Metrics | None) -> str:
    proof = msgspec.json.decode((bundle / PARITY).read_bytes(), type=Certificate)
    write_card(folder, stage, told, proof, parts_of(bundle, FILES, stage.model))
    return (folder / CARD).read_text()


def test_the_card_has_the_figures_of_the_run(stage: Stage, bundles: list[Path], tmp_path: Path) -> None:
    text = card_of(stage, bundles[-1], tmp_path, figures(3, strange=0.25))
    assert text.startswith("# by-chance, stage 3\n")
    assert f"| 1 | {CLASSES[0]}, {CLASSES[1]} | 100.0 % | 75.0 % |" in text  # learnt, and two stages later
    assert f"| 3 | {CLASSES[4]}, {CLASSES[5]} | 100.0 % | 100.0 % |" in text
    assert "over all of them 87.5 % after this stage" in text
    assert "They keep 87.5 % of test clips." in text
    assert "After stage 2, 25.0 % of test clips of classes that were not learnt yet passed as known." in text
    assert "| list of videos: clips.csv, SHA-256 | ab12 |" in text
    assert "The groups of training and test are not apart." in text
    assert "fp32 on onnxruntime CPUExecutionProvider against PyTorch, on 6 of 12 test clips" in text
    assert stage.record.sha256 in text
    assert "somebody" not in text


def test_what_is_unknown_is_said(stage: Stage, bundles: list[Path], tmp_path: Path) -> None:
    text = (bundles[-1] / CARD).read_text()  # of a run without metrics.json
    assert text == card_of(stage, bundles[-1], tmp_path, None)
    for said in (
        "its accuracy is unknown here",
        f"| {UNKNOWN} | {UNKNOWN} |",
        "How many they keep of test clips was not measured.",
        "How many strange actions pass as known is unknown",
        "| its licence | unknown |",
        "The licence of the frozen network is unknown here",
        "How many clips this stage was learnt from was not counted.",
    ):
        assert said in text, said
    silent = card_of(stage, bundles[-1], tmp_path, figures(3, strange=None))
    assert "How many strange actions pass as known is unknown" in silent


def test_the_graphs_say_the_same_and_compute_the_same(stage: Stage, bundles: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles[-1], tmp_path / "labelled"))
    label(folder, FILES, stage, figures(3, strange=None))
    for name, file in FILES.items():
        before, after = (onnx.load(str(place / file), load_external_data=False) for place in (bundles[-1], folder))
        facts = {entry.key.removeprefix("stpr."): entry.value for entry in after.metadata_props}
        assert json.loads(facts["preprocess"])["height"] == stage.record.preprocess.height
        assert facts["backbone"] == "backbone"
        if name is GraphName.ENCODER:
            assert "classes" not in facts  # or its bytes would differ from stage to stage
        else:
            assert json.loads(facts["classes"]) == list(CLASSES[:6])
            assert json.loads(facts["stage_of_class"]) == [1, 1, 2, 2, 3, 3]
            assert json.loads(facts["accuracy_by_stage"]) == [0.75, 0.875, 1.0]
            unknown = stage.record.unknown
            assert unknown is not None
            assert json.loads(facts["unknown"])["thresholds"] == list(unknown.thresholds)
        del before.metadata_props[:], after.metadata_props[:]
        assert before == after


def test_parts_are_the_weight_files_and_whole_multiples_of_an_expert(stage: Stage, bundles: list[Path]) -> None:
    files = {name: entry.bytes for name, entry in open_bundle(bundles[-1]).manifest.files.items()}
    parts = {part.name: part for part in parts_of(bundles[-1], FILES, stage.model)}
    assert list(parts) == [ENCODER, EXPERT, COMBINER]
    assert parts[EXPERT].count == 3
    assert parts[EXPERT].bytes <= files["weights/expert-1.bin"] < parts[EXPERT].bytes + 64 * 40  # alignment
    assert parts[EXPERT].parameters == sum(value.numel() for value in stage.model.head.experts[0].parameters())
    weighed = sum(part.count * part.bytes for part in parts.values())
    held = sum(size for name, size in files.items() if name.startswith("weights/"))
    assert 0.9 * held < weighed <= held
    assert parts[ENCODER].flops > 0 < parts[COMBINER].flops


def test_figures_of_another_run_or_fewer_stages_are_none_and_damaged_ones_an_error(
    stage: Stage, tmp_path: Path
) -> None:
    assert figures_of(tmp_path, stage.record) is None
    write_metrics(tmp_path, figures(2, strange=None))
    assert figures_of(tmp_path, stage.record) is None
    write_metrics(tmp_path, figures(4, strange=None))
    assert figures_of(tmp_path, stage.record) is not None
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"metrics\.json can't be read"):
        figures_of(tmp_path, stage.record)


def test_the_licence_is_what_the_networks_folder_says(tmp_path: Path) -> None:
    assert licence_of("openai/clip-vit-base-patch16") == "unknown"
    assert licence_of(str(tmp_path)) == "unknown"
    (tmp_path / "LICENSE").write_text("\n   Apache License\n  Version 2.0\n")
    assert licence_of(str(tmp_path)) == "Apache License"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of(str(tmp_path)) == "mit"
