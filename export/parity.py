"""The gate: no bundle unless the engine of the device does with the written files what PyTorch does.

Every part is measured on its own as well, so that an error names the part that differs. Random clips and the first
real ones get a close look (float64 beside float32, batch 1 beside batch 3, each expert); all others are compared once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from stpr.export.certificate import Accuracy, Certificate, verdicts
from stpr.export.graphs import DECISION
from stpr.export.ledger import CHOICES, Ledger
from stpr.export.reference import Answers, Reference
from stpr.export.to_onnx import expert_output
from stpr.runtime.contract.errors import ParityError
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import Engine
from stpr.train.model.stpr import StPR

ENGINE: Final = "onnxruntime"
BATCH: Final = 3
RANDOM_SEEDS: Final = (0, 1, 2)
PROBE: Final = "probe.onnx"
PATH: Final = ("encoder", "expert", "head", "live", "clip")  # from pixels to logits


@dataclass(frozen=True, slots=True)
class NamedClip:
    """A clip's name in the certificate, the index of its label if it has one, its frames `(T, H, W, 3)` uint8."""

    name: str
    label: int | None
    frames: Array


@dataclass(frozen=True, slots=True)
class _Engines:
    encoder: Engine
    head: Engine
    clip: Engine
    probe: Engine


def prove(model: StPR, folder: Path, clips: Iterable[NamedClip]) -> Certificate:
    """Compare the graphs in `folder` with PyTorch, part by part; raises ParityError naming the part that differs."""
    reference, ledger, rest = Reference(model), Ledger(), iter(clips)
    with _opened(folder, len(model.head.experts)) as engines:
        for batch in (_random_clips(model), list(islice(rest, BATCH))):
            if batch:
                _look_closely(reference, engines, batch, ledger)
        _judge(ledger)
        while batch := list(islice(rest, BATCH)):
            _look(reference, engines, batch, ledger)
        _judge(ledger)
        return _certificate(ledger, engines.clip.name)


def _look(reference: Reference, engines: _Engines, batch: Sequence[NamedClip], ledger: Ledger) -> Answers:
    """Compare the three graphs, and the two of a live run together, on one batch; returns PyTorch's answers."""
    frames = np.stack([clip.frames for clip in batch])
    wanted = reference.answers(frames)
    exact = reference.head_exactly(wanted.features)
    settled = _settled(wanted, exact)
    found = _compare(engines, frames, wanted, settled, ledger)
    for other in (exact, reference.head_one_by_one(wanted.features)):
        _note_noise(("head", *found), wanted, other, settled, ledger)
    for part, outputs in found.items():
        for output in CHOICES:
            ledger.note_choices(part, output, outputs[output], getattr(wanted, output), getattr(exact, output))
    for index, clip in enumerate(batch):
        if clip.label is not None:
            ledger.names.append(clip.name)
            ledger.right["pytorch"] += int(wanted.logits[index].argmax() == clip.label)
            ledger.right["engine"] += int(found["live"]["logits"][index].argmax() == clip.label)
    return wanted


def _look_closely(reference: Reference, engines: _Engines, batch: Sequence[NamedClip], ledger: Ledger) -> None:
    """The same at batch 1 as well, with each expert and PyTorch's own noise from pixels to logits."""
    wanted = _look(reference, engines, batch, ledger)
    frames = np.stack([clip.frames for clip in batch])
    exact, alone = reference.all_exactly(frames), reference.one_by_one(frames)
    settled = _settled(wanted, exact)
    for other in (exact, alone):
        ledger.rounds("encoder", "features", wanted.features, other.features)
        _note_noise(("live", "clip"), wanted, other, settled, ledger)
    _look_at_experts(reference, engines, wanted, ledger)
    for index in range(len(frames)):
        one = slice(index, index + 1)
        single = Answers(*(getattr(wanted, name)[one] for name in Answers.__slots__))
        _compare(engines, frames[one], single, settled[one], ledger)


def _look_at_experts(reference: Reference, engines: _Engines, wanted: Answers, ledger: Ledger) -> None:
    """Each expert alone: a router that ignores one here would hide its error."""
    found = engines.probe.run({"features": wanted.features})
    exact = reference.head_exactly(wanted.features)
    for index in range(wanted.outputs.shape[1]):
        part, own = f"expert {index + 1}", wanted.outputs[:, index]
        ledger.compare(part, "output", found[expert_output(index + 1)], own)
        ledger.rounds(part, "output", own, exact.outputs[:, index])


def _compare(
    engines: _Engines, frames: Array, wanted: Answers, settled: Array, ledger: Ledger
) -> dict[str, dict[str, Array]]:
    """Run the graphs on a batch and note the differences; returns the decisions of the parts that see pixels."""
    clips, length = frames.shape[:2]
    encoded = engines.encoder.run({"frames": frames.reshape(clips * length, *frames.shape[2:])})["features"]
    ledger.compare("encoder", "features", encoded, wanted.features.reshape(clips * length, -1))
    head = engines.head.run({"features": wanted.features})
    pixels = {
        "live": engines.head.run({"features": encoded.reshape(clips, length, -1)}),
        "clip": engines.clip.run({"frames": frames}),
    }
    for part, outputs in {"head": head, **pixels}.items():
        for output in DECISION:
            ledger.compare(part, output, outputs[output][settled], getattr(wanted, output)[settled])
    return pixels


def _note_noise(parts: Sequence[str], one: Answers, other: Answers, settled: Array, ledger: Ledger) -> None:
    for output in DECISION:
        for part in parts:
            ledger.rounds(part, output, getattr(one, output)[settled], getattr(other, output)[settled])


def _settled(wanted: Answers, exact: Answers) -> Array:
    """Clips on which PyTorch's float32 and float64 prefer the same expert; a hard router jumps on the others."""
    return np.asarray(wanted.routing.argmax(axis=1) == exact.routing.argmax(axis=1))


def _judge(ledger: Ledger) -> None:
    """Raise ParityError for the first part, from pixels to logits, that does not hold."""
    for one in sorted(ledger.differences(), key=lambda one: PATH.index(one.part.split()[0])):
        if not one.holds:
            # All experts hold, or one of them would have been named before the head.
            part = "combine (routing and fusion)" if one.part == "head" else one.part
            raise ParityError(
                f"{part} does not do what PyTorch does: {one.output} off by {one.worst:.1e}, allowed"
                f" {one.tolerance:.1e} (PyTorch's own noise {one.noise:.1e}); no bundle was written: export again, or"
                f" report this with {_told_versions()}."
            )
    for choice in ledger.agreements():
        if not choice.holds:
            raise ParityError(
                f"{choice.part} decides differently from PyTorch: {choice.decision} on {choice.disagreeing} of"
                f" {choice.clips} clips ({choice.undecided} undecided); no bundle was written: report this with"
                f" {_told_versions()}."
            )


def _certificate(ledger: Ledger, engine: str) -> Certificate:
    differences, agreements = ledger.differences(), ledger.agreements()
    real = max(1, len(ledger.names))
    return Certificate(
        precision="fp32",
        engine=engine,
        real_clips=tuple(ledger.names),
        random_seeds=RANDOM_SEEDS,
        batches=(1, BATCH),
        differences=differences,
        agreements=agreements,
        accuracy=Accuracy(pytorch=ledger.right["pytorch"] / real, engine=ledger.right["engine"] / real),
        versions=_versions(),
        verdicts=verdicts(differences, agreements),
    )


def _told_versions() -> str:
    return ", ".join(f"{name} {number}" for name, number in _versions().items())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("stpr", "torch", "onnx", "onnxruntime")}


def _random_clips(model: StPR) -> list[NamedClip]:
    """Clips of random pixels, without name or label."""
    spec, frames = model.encoder.backbone.spec, model.head.frames
    shape = (frames, spec.height, spec.width, 3)
    return [
        NamedClip("random", None, np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
        for seed in RANDOM_SEEDS
    ]


@contextmanager
def _opened(folder: Path, experts: int) -> Iterator[_Engines]:
    """The three graphs, and the head once more with each expert's output in sight."""
    probe = folder / PROBE
    graph = onnx.load(str(folder / "head.onnx"), load_external_data=False)
    for stage in range(1, experts + 1):
        graph.graph.output.append(helper.make_tensor_value_info(expert_output(stage), TensorProto.FLOAT, None))
    try:
        probe.write_bytes(graph.SerializeToString())
        paths = [*(folder / f"{name}.onnx" for name in ("encoder", "head", "clip")), probe]
        with (
            closing(open_engine(ENGINE, paths[0])) as encoder,
            closing(open_engine(ENGINE, paths[1])) as head,
            closing(open_engine(ENGINE, paths[2])) as clip,
            closing(open_engine(ENGINE, paths[3])) as probed,
        ):
            yield _Engines(encoder, head, clip, probed)
    finally:
        probe.unlink(missing_ok=True)
