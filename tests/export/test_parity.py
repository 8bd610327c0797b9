"""The gate: what PyTorch does passes, and what it does not names the part that differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stpr.export.certificate import CEILING, FLOOR, Agreement, Certificate, Difference, summary
from stpr.export.ledger import Ledger
from stpr.export.parity import NamedClip, prove
from stpr.export.to_onnx import trace_pieces, write_onnx
from stpr.runtime.contract.errors import ParityError
from stpr.train.model.stpr import StPR
from tests.export.models import SIDE, head_settings, random_backbone, random_model

FRAMES = 4


@pytest.fixture(scope="module")
def model() -> StPR:
    torch.manual_seed(0)
    settings = head_settings("likelihood", sees="residual")  # routing that no expert's output can change
    return random_model(backbone=random_backbone("clip"), stages=3, frames=FRAMES, place="feature", settings=settings)


@pytest.fixture(scope="module")
def written(model: StPR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_onnx(model, trace_pieces(model), folder)
    return folder


@pytest.fixture
def graphs(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "graphs")


def some_clips(count: int) -> list[NamedClip]:
    drawn = np.random.default_rng(7).integers(0, 256, (count, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    return [NamedClip(f"clip {index}", index % 6, frames) for index, frames in enumerate(drawn)]


def test_the_certificate_says_what_was_compared_and_how_far_apart_it_was(model: StPR, graphs: Path) -> None:
    certificate = prove(model, graphs, some_clips(8))
    assert certificate.real_clips == tuple(f"clip {index}" for index in range(8))
    assert certificate.engine == "onnxruntime CPUExecutionProvider"
    assert (certificate.precision, certificate.batches) == ("fp32", (1, 3))
    assert set(certificate.versions) == {"stpr", "torch", "onnx", "onnxruntime"}
    compared = {(one.part, one.output) for one in certificate.differences}
    assert compared == {("encoder", "features"), *((f"expert {stage}", "output") for stage in (1, 2, 3))} | {
        (part, output) for part in ("head", "live", "clip") for output in ("logits", "routing", "familiarity")
    }
    assert all(0 < one.noise < 1e-4 * one.scale for one in certificate.differences)
    assert all(one.worst < 1e-4 * max(1.0, one.scale) for one in certificate.differences)
    assert all(one.clips == 11 and one.share == 1 for one in certificate.agreements)
    assert certificate.accuracy.pytorch == certificate.accuracy.engine
    assert all(verdict.holds for verdict in certificate.verdicts)
    assert sorted(path.name for path in graphs.iterdir()) == ["clip.onnx", "encoder.onnx", "head.onnx", "weights"]
    raw = msgspec.json.encode(certificate)
    assert msgspec.json.decode(raw, type=Certificate) == certificate
    assert {"differences", "agreements", "random_seeds", "verdicts"} <= json.loads(raw).keys()
    assert (summary(certificate).clips, summary(certificate).top1_agreement) == (8, 1.0)
    assert summary(certificate).worst_logits < summary(certificate).tolerance


@pytest.mark.parametrize(
    ("graph", "tensor", "says"),
    [
        ("encoder", "encoder/backbone.network.vision_model.encoder.layers.1.mlp.fc1.bias", "encoder does not"),
        ("encoder", "encoder/adapter.up.bias", "encoder does not"),
        ("head", "expert_2/positions", "expert 2 does not"),
        ("head", "expert_3/blocks.0.down.weight.10", "expert 3 does not"),
        ("head", "combine/head.combiner.class_vectors", r"combine \(routing and fusion\) does not"),
        ("head", "combine/head.combiner.statistics.bias", r"combine \(routing and fusion\) does not"),
        ("head", "combine/head.combiner.statistics.familiarity.bias", r"combine \(routing and fusion\) does not"),
    ],
)
def test_one_wrong_weight_names_its_part(model: StPR, graphs: Path, graph: str, tensor: str, says: str) -> None:
    entries = onnx.load(graphs / f"{graph}.onnx", load_external_data=False).graph.initializer
    place = {entry.key: entry.value for one in entries if one.name == tensor for entry in one.external_data}
    file = np.memmap(graphs / place["location"], dtype=np.float32, offset=int(place["offset"]), shape=(4,))
    file[1] += 1
    file.flush()
    with pytest.raises(ParityError, match=rf"^{says} do what PyTorch does: \w+ off by .* allowed .* no bundle"):
        prove(model, graphs, some_clips(3))
    assert not (graphs / "probe.onnx").exists()


def test_a_wrong_clip_graph_is_named_where_encoder_and_head_are_right(model: StPR, graphs: Path) -> None:
    clip = onnx.load(graphs / "clip.onnx", load_external_data=False)
    scale = next(node for node in clip.graph.node if node.output[0] == "logits")
    scale.input[0], scale.output[0] = scale.input[0], "almost"
    clip.graph.node.append(onnx.helper.make_node("Neg", ["almost"], ["logits"]))
    (graphs / "clip.onnx").write_bytes(clip.SerializeToString())
    with pytest.raises(ParityError, match=r"^clip does not do what PyTorch does: logits off by"):
        prove(model, graphs, some_clips(1))


def test_real_clips_beyond_the_close_look_count_too(model: StPR, graphs: Path) -> None:
    clips = some_clips(4)
    late = NamedClip("late", 0, clips[3].frames)
    seen = prove(model, graphs, [*clips[:3], late])
    assert seen.real_clips[-1] == "late"
    assert {one.clips for one in seen.agreements} == {7}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_never_holds(bad: float) -> None:
    ledger = Ledger()
    ledger.compare("clip", "logits", np.array([[bad, 1.0]]), np.array([[1.0, 1.0]]))
    ledger.compare("clip", "logits", np.array([[1.0, 1.0]]), np.array([[1.0, 1.0]]))
    assert not ledger.differences()[0].holds


def test_another_shape_never_holds() -> None:
    ledger = Ledger()
    ledger.compare("clip", "logits", np.ones((1, 2)), np.ones((1, 3)))
    assert not ledger.differences()[0].holds


@pytest.mark.parametrize(
    ("found", "wanted", "exact", "noise", "undecided", "disagreeing"),
    [
        ([0.9, 0.1], [0.9, 0.1], [0.9, 0.1], 1e-6, 0, 0),
        ([0.1, 0.9], [0.9, 0.1], [0.9, 0.1], 1e-6, 0, 1),
        ([0.1, 0.9], [0.5, 0.5 - 1e-6], [0.5, 0.5 - 1e-6], 1e-6, 1, 0),  # a margin within the noise
        ([0.0, 1.0], [1.0, 0.0], [0.0, 1.0], 1e-6, 1, 0),  # PyTorch's own precisions differ
        ([1.0], [1.0], [1.0], 1e-6, 0, 0),  # one stage: nothing to choose
    ],
)
def test_only_decisions_that_pytorch_itself_holds_can_be_missed(
    found: list[float], wanted: list[float], exact: list[float], noise: float, undecided: int, disagreeing: int
) -> None:
    ledger = Ledger()
    ledger.rounds("clip", "routing", np.array([[noise]]), np.array([[0.0]]))
    ledger.note_choices("clip", "routing", np.array([found]), np.array([wanted]), np.array([exact]))
    (agreement,) = ledger.agreements()
    assert (agreement.undecided, agreement.disagreeing) == (undecided, disagreeing)
    assert agreement.holds == (disagreeing == 0)


@given(st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0, 1))
def test_tolerance_lies_between_its_floor_and_its_ceiling(worst: float, scale: float, noise: float) -> None:
    one = Difference(part="head", output="logits", worst=worst, scale=scale, noise=noise)
    assert FLOOR * scale <= one.tolerance <= CEILING * scale
    assert one.holds == (worst <= one.tolerance)


def test_share_of_no_decided_clip_is_whole() -> None:
    assert Agreement(part="clip", decision="routing", clips=2, undecided=2, disagreeing=0).share == 1.0
