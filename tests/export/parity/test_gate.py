"""The gate: what PyTorch does passes, and what it does not names the part that differs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.graphs.cut import FILES
from stpr.export.parity.candidate import open_candidate
from stpr.export.parity.certificate import Certificate, summary
from stpr.export.parity.clips import NamedClip
from stpr.export.parity.gate import Question, prove
from stpr.export.parity.measurements import Measurements
from stpr.export.parity.policy import ByMargin, Judgement, Limits, Policy, agreements
from stpr.export.parity.reference import Reference
from stpr.export.precisions.fp32 import SameNumbers
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


@dataclass(frozen=True)
class ByDecision:
    """Any number will do, where the first choices agree on every clip with more than a margin between two."""

    margin: float

    def judge(self, measured: Measurements) -> Judgement:
        differences = SameNumbers().judge(measured).differences
        return Judgement(
            differences=tuple(msgspec.structs.replace(one, tolerance=float("inf")) for one in differences),
            agreements=agreements(measured, dict.fromkeys(measured.choices, self.margin)),
        )


def check(model: StPR, folder: Path, clips: list[NamedClip], policy: Policy | None = None) -> Certificate:
    with open_candidate(folder, FILES, model.encoder.pixels, "fp32") as candidate:
        return prove(Reference(model), Question(candidate, policy or SameNumbers()), clips)


def nudge(folder: Path, tensor: str, by: float) -> None:
    """Add to one number of a weight."""
    graphs = [onnx.load(file, load_external_data=False).graph for file in folder.glob("*.onnx")]
    entries = [one for graph in graphs for one in graph.initializer]
    place = {entry.key: entry.value for one in entries if one.name == tensor for entry in one.external_data}
    file = np.memmap(folder / place["location"], dtype=np.float32, offset=int(place["offset"]), shape=(4,))
    file[1] += by
    file.flush()


def some_clips(count: int) -> list[NamedClip]:
    drawn = np.random.default_rng(7).integers(0, 256, (count, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    return [NamedClip(f"clip {index}", index % 6, frames) for index, frames in enumerate(drawn)]


def test_the_certificate_says_what_was_compared_and_how_far_apart_it_was(model: StPR, graphs: Path) -> None:
    certificate = check(model, graphs, some_clips(8))
    assert certificate.real_clips == tuple(f"clip {index}" for index in range(8))
    assert certificate.engine == "onnxruntime CPUExecutionProvider"
    assert (certificate.precision, certificate.batches, certificate.test_clips) == ("fp32", (1, 3, 5), 8)
    assert set(certificate.versions) == {"stpr", "torch", "onnx", "onnxruntime"}
    compared = {(one.part, one.output) for one in certificate.differences}
    assert compared == {("encoder", "features"), *((f"expert {stage}", "output") for stage in (1, 2, 3))} | {
        (part, output) for part in ("head", "live", "clip") for output in ("logits", "routing", "familiarity")
    } | {("golden", "logits")}
    assert all(0 < one.noise < 1e-4 * one.scale for one in certificate.differences if one.part != "golden")
    assert all(one.worst < 1e-4 * max(1.0, one.scale) for one in certificate.differences)
    assert all(one.clips == 11 and one.share == 1 for one in certificate.agreements)
    agreed = [(one.what, one.clips, one.pytorch == one.engine) for one in certificate.rates]
    assert agreed == [("top-1 agreement", 8, True), ("routing agreement", 8, True), ("accuracy", 8, True)]
    assert all(one.holds for one in certificate.differences)
    assert all(one.holds for one in certificate.agreements)
    assert sorted(path.name for path in graphs.iterdir()) == ["clip.onnx", "encoder.onnx", "head.onnx", "weights"]
    raw = msgspec.json.encode(certificate)
    assert msgspec.json.decode(raw, type=Certificate) == certificate
    assert {"differences", "agreements", "random_seeds"} <= json.loads(raw).keys()
    told = summary(certificate)
    assert (told.clips, told.top1_agreement) == (8, 1.0)
    assert told.worst_logits < told.tolerances["logits"]
    assert told.tolerances.keys() == {"features", "logits", "routing", "familiarity"}


LAYER = "backbone.network.vision_model.encoder.layers.1.mlp.fc1"
COMBINE = r"combine \(routing and fusion\) does not"


@pytest.mark.parametrize(
    ("tensor", "says", "first"),
    [
        (f"encoder/{LAYER}.bias", "encoder does not", f"{LAYER} (off by 1.0e+00 of "),
        ("encoder/adapter.up.bias", "encoder does not", "adapter.up (off by 1.0e+00 of "),
        ("expert_2/positions", "expert 2 does not", "blocks.0."),
        ("expert_3/blocks.0.down.weight.10", "expert 3 does not", "blocks.0.down (off by"),
        ("combine/head.class_vectors", COMBINE, "the weight head.class_vectors;"),
        ("combine/head.statistics.bias", COMBINE, "the weight head.statistics.bias;"),
        ("combine/head.statistics.familiarity.bias", COMBINE, "the weight head.statistics.familiarity.bias;"),
    ],
)
def test_one_wrong_weight_names_its_part_and_the_module_that_departs_first(
    model: StPR, graphs: Path, tensor: str, says: str, first: str
) -> None:
    nudge(graphs, tensor, 1.0)
    with pytest.raises(ParityError, match=rf"^{says} do what PyTorch does: \w+ off .* no bundle") as caught:
        check(model, graphs, some_clips(3))
    assert f", first in {first}" in caught.value.message
    assert sorted(path.name for path in graphs.iterdir()) == ["clip.onnx", "encoder.onnx", "head.onnx", "weights"]


def test_a_wrong_clip_graph_is_named_where_encoder_and_head_are_right(model: StPR, graphs: Path) -> None:
    clip = onnx.load(graphs / "clip.onnx", load_external_data=False)
    scale = next(node for node in clip.graph.node if node.output[0] == "logits")
    scale.input[0], scale.output[0] = scale.input[0], "almost"
    clip.graph.node.append(onnx.helper.make_node("Neg", ["almost"], ["logits"]))
    (graphs / "clip.onnx").write_bytes(clip.SerializeToString())
    with pytest.raises(ParityError, match=r"^clip does not do what PyTorch does: logits off by"):
        check(model, graphs, some_clips(1))


def test_real_clips_beyond_the_close_look_count_too(model: StPR, graphs: Path) -> None:
    clips = some_clips(4)
    late = NamedClip("late", 0, clips[3].pixels)
    seen = check(model, graphs, [*clips[:3], late])
    assert seen.real_clips[-1] == "late"
    assert {one.clips for one in seen.agreements} == {7}


def test_a_policy_may_judge_by_decisions_where_numbers_differ(model: StPR, graphs: Path) -> None:
    nudge(graphs, "encoder/adapter.up.bias", 1e-2)
    with pytest.raises(ParityError, match=r"^encoder does not do what PyTorch does"):
        check(model, graphs, some_clips(8))
    certificate = check(model, graphs, some_clips(8), ByDecision(margin=0.2))
    assert max(one.worst / one.scale for one in certificate.differences) > 1e-3
    assert all(one.disagreeing == 0 and one.undecided < one.clips for one in certificate.agreements)
    assert {one.decision for one in certificate.agreements} == {"top-1", "routing"}
    nudge(graphs, "encoder/adapter.up.bias", 10.0)
    with pytest.raises(ParityError, match=r"^live decides differently from PyTorch: (top-1|routing) on \d+ of"):
        check(model, graphs, some_clips(8), ByDecision(margin=0.0))


def test_a_refusal_ends_with_what_its_precision_suggests(model: StPR, graphs: Path) -> None:
    nudge(graphs, "encoder/adapter.up.bias", 10.0)
    with pytest.raises(
        ParityError, match=r"no bundle was written: export again, or report this with stpr .*onnxruntime"
    ):
        check(model, graphs, some_clips(2))
    with pytest.raises(ParityError, match=r"; no bundle was written: use another machine\.$"):
        check(model, graphs, some_clips(2), ByMargin(Limits(), "use another machine"))
