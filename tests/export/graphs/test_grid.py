"""The grid: onnxruntime against PyTorch at stages 1, 2, 5 by frames 4, 8 by batch 1, 3 by three kinds of backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.graphs.cut import combine_piece
from stpr.export.graphs.trace import trace
from stpr.runtime.contract.errors import BundleError
from stpr.train.model.backbone import load_backbone
from stpr.train.model.scores.probe import LinearProbe
from stpr.train.model.scores.ridge import RidgeScores
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import ProbeSettings, RidgeSettings
from tests.export.models import (
    MOTION,
    PARTS,
    add_random_stage,
    check_graphs,
    head_settings,
    random_backbone,
    random_model,
    scores_alone,
    views_settings,
)


def test_keys_and_every_kind_of_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    directions, ridge = msgspec.structs.replace(PARTS, likelihood="cosine"), RidgeSettings(projection=60)
    rows = {
        "adapter_key": head_settings("adapter_key"),
        "ridge": scores_alone(lambda frames, columns: RidgeScores(frames, columns, PARTS, ridge)),
        "logistic": scores_alone(lambda frames, columns: LinearProbe(frames, columns, PARTS, ProbeSettings())),
        "cosine": scores_alone(lambda frames, columns: ClipStatistics(frames, columns, directions)),
    }
    pieces = None
    for row, settings in rows.items():
        model = random_model(backbone=load_backbone("tiny"), stages=2 - (row == "logistic"), settings=settings)
        combine = trace(combine_piece(model))
        pieces = replace(pieces, combine=combine) if pieces else trace_pieces(model)
        (tmp_path / row).mkdir()
        write_onnx(model, pieces, tmp_path / row)
        check_graphs(model, tmp_path / row, 3)


def test_features_without_adapters_are_not_in_a_bundle() -> None:
    model = random_model(backbone=load_backbone("tiny"), stages=1, place="feature", settings=head_settings("clip_key"))
    said = r'\[router\] kind needs frame features without adapters, .*: export a run with kind = "adapter_key"'
    with pytest.raises(BundleError, match=said):
        trace_pieces(model)


@pytest.mark.parametrize(
    ("kind", "place", "projection", "frames", "views"),
    [
        ("tiny", "feature", 0, 4, False),
        ("clip", "blocks", 0, 8, False),
        ("mobilenet", "feature", 16, 4, False),
        ("clip", "blocks", 0, 4, True),
    ],
)
def test_parity(
    kind: Literal["tiny", "clip", "mobilenet"],
    place: Literal["blocks", "feature"],
    projection: int,
    frames: int,
    views: bool,
    tmp_path: Path,
) -> None:
    torch.manual_seed(frames)
    model = random_model(
        backbone=load_backbone("tiny") if kind == "tiny" else random_backbone(kind, (1, 2) if views else "none"),
        stages=1,
        frames=frames,
        place=place,
        projection=projection,
        settings=views_settings() if views else head_settings("likelihood", sees="residual", evidence=0.5),
        motion=MOTION if views else None,
    )
    first = trace_pieces(model)  # encoder and expert keep their structure from stage to stage
    for stages in (1, 2, 5):
        while len(model.head.experts) < stages:
            add_random_stage(model)
        folder = tmp_path / f"stage-{stages}"
        folder.mkdir()
        write_onnx(model.eval(), replace(first, combine=trace(combine_piece(model))), folder)
        for batch in (1, 3):
            check_graphs(model, folder, batch)
