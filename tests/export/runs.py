"""Runs that were learnt by chance: checkpoints as training writes them, of networks whose numbers are drawn."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from stpr.runtime.contract.manifest import UnknownSpec
from stpr.runtime.contract.sampling import ClipSpec
from stpr.runtime.motions import CLASSES
from stpr.train.datasets.motions_writer import write_motions
from stpr.train.methods.build import build_model
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import BackboneRecord, StageRecord, save_stage
from stpr.train.run.folder import PREDICTIONS, RECIPE
from stpr.train.settings.load import parse_recipe, write_recipe
from tests.export.models import add_random_stage, randomise_axes, save_backbone

STAGES = 3
TABLES: dict[str, Any] = {
    "name": "by-chance",
    "data": {"kind": "motions"},
    "stages": {"sizes": [2, 2, 2]},
    "sampling": {"frames": 4},
    "adapter": {"place": "feature", "bottleneck": 4},
    "expert": {"layers": 1, "mlp_ratio": 2},
}
INNER: dict[str, Any] = {"inner": "auto", "correlations": [1], "axes": 5}  # of [backbone]
VIEWS: dict[str, Any] = {  # motion and inner layers seen, several views believed, events told
    "sampling": {"frames": 4, "motion": 4},
    "statistics": {
        "inner": {"parts": ["mean"]},
        "motion": {"parts": ["mean", "change"]},
        "rhythm": True,
        "affine": True,
        "relative_motion": True,
        "mirror": True,
        "likelihood": "cosine",
        "concentration": "learnt",
        "events": True,
    },
    "fusion": {"kind": "posteriors"},
}


def write_run(root: Path, **tables: Any) -> Path:
    """A run of stages whose old experts stay and whose adapters change; `tables` replace those of the recipe."""
    asked = tables.get("data", {})
    counts = {name: asked.get(name, few) for name, few in (("train_per_class", 1), ("test_per_class", 2))}
    data = write_motions(root / "data", **counts, seed=0)
    folder = root / "runs" / "by-chance"
    folder.mkdir(parents=True)
    backbone = {"source": save_backbone(root / "backbone"), **tables.pop("backbone", {})}
    recipe = parse_recipe({**TABLES, **tables, "backbone": backbone}, where="the test")
    write_recipe(recipe, folder / RECIPE)
    torch.manual_seed(0)
    model = build_model(recipe)
    randomise_axes(model.encoder.backbone)
    stages: list[tuple[str, ...]] = []
    for stage in range(len(recipe.stages.sizes)):
        stages.append(tuple(CLASSES[2 * stage : 2 * stage + 2]))
        add_random_stage(model)
        save_stage(folder, model, _record(tuple(stages), model), {PREDICTIONS: _predictions(data, stages)})
    return folder


def _record(stages: tuple[tuple[str, ...], ...], model: StPR) -> StageRecord:
    backbone, combiner = model.encoder.backbone, model.head.combiner
    return StageRecord(
        stage=len(stages),
        stages=stages,
        clip=ClipSpec(frames=model.head.frames, span_seconds=2.0),
        preprocess=backbone.spec,
        motion=model.encoder.pixels.motion,
        temperature=0.05,
        unknown=UnknownSpec(
            score=combiner.score, recall=0.95, thresholds=tuple(0.1 * stage for stage, _ in enumerate(stages))
        ),
        backbone=BackboneRecord(source=backbone.source, digest=backbone.digest()),
        method="stpr",
        seed=0,
        sha256="",
        kept=(),
    )


def _predictions(data: Path, stages: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted"])
    for name in [name for stage in stages for name in stage]:
        for video in sorted((data / "clips" / name).glob("test_*.mp4")):
            writer.writerow([video, name, name])
    return text.getvalue()
