"""The parity gate: no bundle unless the device's engine computes from the written files what PyTorch computes.

Every part is also measured separately, so that an error names the part that differs. Random clips and the first real
ones are compared in detail (float64 beside float32, batch 1 beside batch 3, each expert); all others are compared once,
in larger batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from typing import Final

import numpy as np
import torch

from stpr.export.graphs.cut import DECISION, combine_piece
from stpr.export.parity.candidate import Candidate
from stpr.export.parity.certificate import Certificate
from stpr.export.parity.clips import NamedClip
from stpr.export.parity.departure import Part, first_departure
from stpr.export.parity.measurements import GOLDEN, Measurements, Where
from stpr.export.parity.policy import DECISIONS, Judgement, Policy
from stpr.export.parity.reference import Answers, Reference
from stpr.runtime.contract.errors import ParityError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array

BATCH: Final = 3  # batch size of detailed comparisons
MANY: Final = 8  # batch size for all other clips
RANDOM_SEEDS: Final = (0, 1, 2)
FEATURES: Final = Where("encoder", "features")
PARTS: Final = ("encoder", "expert", "head", "live", "clip", GOLDEN)  # in order from pixels to logits


@dataclass(frozen=True, slots=True)
class Question:
    """What to prove: that a candidate satisfies a policy.

    `thresholds`: familiarity threshold per class `(C,)`, None without thresholds; `of`: number of test clips, None if
    all are compared.
    """

    candidate: Candidate
    policy: Policy
    thresholds: Array | None = None
    of: int | None = None


def prove(reference: Reference, question: Question, clips: Iterable[NamedClip]) -> Certificate:
    """Compare a candidate with PyTorch on random clips and `clips`; raises ParityError naming the part that differs."""
    policy, of = question.policy, question.of
    comparison, rest = _Comparison(reference, question.candidate, question.thresholds), iter(clips)
    for batch in (_random_clips(reference), list(islice(rest, BATCH))):
        if batch:
            comparison.look_closely(batch)
    _refuse_differences(policy.judge(comparison.measured), comparison)
    while batch := list(islice(rest, MANY)):
        comparison.look(batch)
    judgement = policy.judge(comparison.measured)
    _refuse_differences(judgement, comparison)
    return _certificate(comparison, judgement, of or len(comparison.measured.clips))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Compares the candidate with PyTorch and collects measurements."""

    reference: Reference
    candidate: Candidate
    thresholds: Array | None
    measured: Measurements = field(default_factory=Measurements)
    batches: set[int] = field(default_factory=set)

    def look(self, batch: Sequence[NamedClip]) -> Answers:
        """Compare the three graphs, and encoder plus head as in a live run, on one batch; returns PyTorch's outputs."""
        pixels = np.stack([clip.pixels for clip in batch])
        wanted = self.reference.answers(pixels)
        exact = self.reference.head_exactly(wanted.features)
        stable = _stable(wanted, exact)
        found = self._compare(pixels, wanted, stable)
        self._add_noise(("head", *found), wanted, exact, stable)
        for part, outputs in found.items():
            for output in DECISIONS:
                choices = (outputs[output], getattr(wanted, output), getattr(exact, output))
                self.measured.add_choices(Where(part, output), *choices)
        self._add_real([index for index, clip in enumerate(batch) if clip.label is not None], wanted, found["clip"])
        self._add_rates(batch, wanted, found["live"])
        return wanted

    def look_closely(self, batch: Sequence[NamedClip]) -> None:
        """Compare also at batch 1 and each expert, and measure PyTorch's own rounding noise."""
        wanted = self.look(batch)
        pixels = np.stack([clip.pixels for clip in batch])
        exact, alone = self.reference.all_exactly(pixels), self.reference.one_by_one(pixels)
        stable = _stable(wanted, exact)
        self._add_noise(("head",), wanted, self.reference.head_one_by_one(wanted.features), stable)
        for other in (exact, alone):
            self.measured.add_noise(FEATURES, wanted.features, other.features)
            self._add_noise(("live", "clip"), wanted, other, stable)
        self._look_at_experts(wanted)
        for index in range(len(pixels)):
            one = slice(index, index + 1)
            single = Answers(*(getattr(wanted, name)[one] for name in Answers.__slots__))
            self._compare(pixels[one], single, stable[one])

    @torch.no_grad()
    def first_departure(self, part: str) -> str | None:
        """The first module or weight in which a failing part differs from PyTorch, if it can be found."""
        (clip, *_), model, graphs = _random_clips(self.reference), self.reference.single, self.candidate.graphs
        kind, _, number = part.partition(" ")
        if kind == "encoder":
            feeds = self.candidate.feeds(clip.pixels)
            inside = Part(graphs[GraphName.ENCODER], "encoder", model.encoder)
            return first_departure(inside, [torch.from_numpy(seen) for seen in feeds.values()], feeds)
        features = self.reference.answers(clip.pixels[np.newaxis]).features
        appearance = torch.from_numpy(features[..., : model.head.columns.appearance])
        if kind == "expert":
            inside = Part(graphs[GraphName.HEAD], f"expert_{number}", model.head.experts[int(number) - 1])
            return first_departure(inside, [appearance], {"features": features})
        if kind == "head":
            piece = combine_piece(model)
            seen = [torch.from_numpy(features), model.head.ask(torch.from_numpy(features))]
            inside = Part(graphs[GraphName.HEAD], "combine", piece.module)
            return first_departure(inside, seen[: len(piece.inputs)], {"features": features})
        return None

    def _look_at_experts(self, wanted: Answers) -> None:
        """Compare each expert separately, since an expert with a small routing weight would hide its error."""
        exact = self.reference.head_exactly(wanted.features)
        for index, found in enumerate(self.candidate.each_expert(wanted.features)):
            where, own = Where(f"expert {index + 1}", "output"), wanted.outputs[:, index]
            self.measured.compare(where, found, own)
            self.measured.add_noise(where, own, exact.outputs[:, index])

    def _compare(self, pixels: Array, wanted: Answers, stable: Array) -> dict[str, dict[str, Array]]:
        """Run the graphs on a batch and measure differences; returns the outputs of the parts that take pixels."""
        self.batches.add(len(pixels))
        features = self.candidate.encode(pixels)
        self.measured.compare(FEATURES, features, wanted.features)
        head = self.candidate.head(wanted.features)
        seen = {"live": self.candidate.head(features), "clip": self.candidate.clip(pixels)}
        for part, outputs in {"head": head, **seen}.items():
            for output in filter(outputs.__contains__, DECISION):
                found, expected = outputs[output][stable], getattr(wanted, output)[stable]
                self.measured.compare(Where(part, output), found, expected)
        return seen

    def _add_noise(self, parts: Sequence[str], one: Answers, other: Answers, stable: Array) -> None:
        for output in DECISION:
            for part in parts:
                values = getattr(one, output)[stable], getattr(other, output)[stable]
                self.measured.add_noise(Where(part, output), *values)

    def _add_real(self, rows: Sequence[int], wanted: Answers, found: Mapping[str, Array]) -> None:
        """Compare the real clips alone, and the first of them, since some precisions have separate bounds for these."""
        measured, is_first = self.measured, bool(rows) and not self.measured.first
        for output in filter(found.__contains__, DECISION) if rows else ():
            given = getattr(wanted, output)
            measured.real[output].add(found[output][rows], given[rows])
            if is_first:
                measured.first[output].add(found[output][rows[:1]], given[rows[:1]])
        if is_first:
            measured.compare(Where(GOLDEN, "logits"), found["logits"][rows[:1]], wanted.logits[rows[:1]])

    def _add_rates(self, batch: Sequence[NamedClip], wanted: Answers, found: Mapping[str, Array]) -> None:
        measured, given = self.measured, {name: getattr(wanted, name) for name in DECISION}
        for index, clip in enumerate(batch):
            if clip.label is None:
                continue
            measured.clips.append(clip.name)
            for output in measured.same:
                measured.same[output] += int(found[output][index].argmax() == given[output][index].argmax())
            for who, outputs in (("pytorch", given), ("engine", found)):
                choice = int(outputs["logits"][index].argmax())
                measured.right[who] += int(choice == clip.label)
                if self.thresholds is not None:
                    measured.known = measured.known or {"pytorch": 0, "engine": 0}
                    measured.known[who] += int(outputs["familiarity"][index] >= self.thresholds[choice])


def _stable(wanted: Answers, exact: Answers) -> Array:
    """Clips on which PyTorch's float32 and float64 choose the same expert; a hard router may jump on others."""
    return np.asarray(wanted.routing.argmax(axis=1) == exact.routing.argmax(axis=1))


def _refuse_differences(judgement: Judgement, comparison: _Comparison) -> None:
    """Raise ParityError for the first part, from pixels to logits, that exceeds its tolerance."""
    remedy = judgement.remedy or f"export again, or report this with {_told_versions()}"
    for one in sorted(judgement.differences, key=lambda one: PARTS.index(one.part.split()[0])):
        if not one.holds:
            # The experts are correct, or one of them would have been named before the head.
            part = "combine (routing and fusion)" if one.part == "head" else one.part
            first = comparison.first_departure(one.part)
            raise ParityError(
                f"{part} does not do what PyTorch does: {one.output} off by {one.worst:.1e}, allowed"
                f" {one.tolerance:.1e} (PyTorch's own noise {one.noise:.1e}){f', first in {first}' if first else ''};"
                f" no bundle was written: {remedy}."
            )
    for choice in judgement.agreements:
        if not choice.holds:
            raise ParityError(
                f"{choice.part} decides differently from PyTorch: {choice.decision} on {choice.disagreeing} of"
                f" {choice.clips} clips ({choice.undecided} undecided); no bundle was written: {remedy}."
            )
    for rate in judgement.rates:
        if not rate.holds:
            raise ParityError(
                f"{rate.what} falls from {rate.pytorch:.1%} to {rate.engine:.1%} on {rate.clips} clips, more than"
                f" the {rate.loss:.1%} allowed; no bundle was written: {remedy}."
            )


def _certificate(comparison: _Comparison, judgement: Judgement, of: int) -> Certificate:
    measured = comparison.measured
    return Certificate(
        precision=comparison.candidate.precision,
        engine=comparison.candidate.engine,
        real_clips=tuple(measured.clips),
        test_clips=of,
        random_seeds=RANDOM_SEEDS,
        batches=tuple(sorted(comparison.batches)),
        differences=judgement.differences,
        agreements=judgement.agreements,
        rates=judgement.rates,
        versions=_versions(),
    )


def _told_versions() -> str:
    return ", ".join(f"{name} {number}" for name, number in _versions().items())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("stpr", "torch", "onnx", "onnxruntime")}


def _random_clips(reference: Reference) -> list[NamedClip]:
    """Clips of random pixels, without names and labels."""
    return [
        NamedClip("random", None, np.random.default_rng(seed).integers(0, 256, reference.clip_shape, dtype=np.uint8))
        for seed in RANDOM_SEEDS
    ]
