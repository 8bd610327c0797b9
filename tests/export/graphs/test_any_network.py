"""What a user would try, exported: the graphs do what PyTorch does, adapters in the blocks where there are any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.train.model.backbone import load_backbone
from tests.export.models import check_graphs, head_settings, random_model
from tests.train.networks import ANY_NETWORK, write_any_network


@pytest.mark.parametrize("kind", ANY_NETWORK)
def test_its_graphs_do_what_pytorch_does(tmp_path: Path, kind: str) -> None:
    write_any_network(tmp_path / "network", kind)
    backbone = load_backbone(str(tmp_path / "network"), inner="auto")
    torch.manual_seed(1)
    model = random_model(
        backbone=backbone,
        stages=1,
        frames=2,
        place="blocks" if backbone.traits.blocks else "feature",
        settings=head_settings("likelihood", sees="residual", evidence=0.5),
    )
    write_onnx(model, trace_pieces(model), tmp_path)
    for batch in (1, 3):
        check_graphs(model, tmp_path, batch)
