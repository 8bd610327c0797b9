"""Write the model card: measured capabilities, limits and unknowns of a bundle; the main facts also into the graphs.

It is deterministic: it contains no time and no machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import onnx
from jinja2 import ChoiceLoader, FileSystemLoader
from onnx import helper

from stpr.export.package.budget import Part
from stpr.export.package.seal import Stage, source_of
from stpr.export.parity.certificate import Certificate
from stpr.runtime.contract.manifest import GraphName
from stpr.train.model.backbone import resolve_source
from stpr.train.report.page import MARKDOWN, TEMPLATES
from stpr.train.report.quantities import percent
from stpr.train.run.checkpoint import StageRecord
from stpr.train.run.folder import metrics_file
from stpr.train.run.metrics import Metrics, read_metrics

CARD: Final = "MODEL_CARD.md"
UNKNOWN: Final = "unknown"
NAMED: Final = 12  # most classes listed in a table cell; the manifest has all
WORDS: Final = MARKDOWN.overlay(loader=ChoiceLoader([FileSystemLoader(Path(__file__).parent), TEMPLATES]))


def figures_of(run: Path, record: StageRecord) -> Metrics | None:
    """Read a run's metrics, None if they don't include this stage; raises CheckpointError if damaged."""
    if not metrics_file(run).is_file():
        return None
    found = read_metrics(run)
    learnt = tuple(map(tuple, found.stages[: record.stage]))
    return found if learnt == record.stages and len(found.accuracy) >= record.stage else None


def label(folder: Path, files: Mapping[GraphName, str], stage: Stage, figures: Metrics | None) -> None:
    """Write the main facts into the graphs as ONNX metadata; into the encoder only those equal at all stages."""
    lasting, newest = _of_the_encoder(stage), _of_the_stage(stage, figures)
    for name, file in files.items():
        model = onnx.load(str(folder / file), load_external_data=False)
        facts = lasting if name is GraphName.ENCODER else {**lasting, **newest}
        helper.set_model_props(model, {f"stpr.{key}": facts[key] for key in sorted(facts)})
        (folder / file).write_bytes(model.SerializeToString(deterministic=True))


def write_card(folder: Path, stage: Stage, figures: Metrics | None, proof: Certificate, parts: Sequence[Part]) -> None:
    """Write `MODEL_CARD.md`."""
    record = stage.record
    text = WORDS.get_template("card.md").render(
        title=f"{stage.name}, stage {record.stage}",
        record=record,
        recipe=stage.recipe,
        proof=proof,
        figures=figures,
        source=source_of(record),
        licence=licence_of(record.backbone.source),
        stages=list(_stages(record, figures)),
        clips=list(zip(record.stages[-1], record.clips, strict=False)),
        unknown=_unknown(record, figures),
        parts=list(_costs(parts)),
        worst=_worst(proof),
        percent=percent,
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def licence_of(source: str) -> str:
    """The licence of a network, from the model card or the first line of LICENSE in its folder."""
    folder = Path(resolve_source(source))
    card, licence = folder / "README.md", folder / "LICENSE"
    if card.is_file():
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        named = [line.partition(":")[2].strip() for line in lines[:50] if line.startswith("license:")]
        if any(named):
            return named[0]
    if licence.is_file():
        lines = licence.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in lines if line.strip()), UNKNOWN)
    return UNKNOWN


def _of_the_encoder(stage: Stage) -> dict[str, str]:
    record = stage.record
    return {
        "backbone": source_of(record),
        "backbone_digest": record.backbone.digest,
        "backbone_licence": licence_of(record.backbone.source),
        "preprocess": _json(record.preprocess),
        **({"motion": _json(record.motion)} if record.motion else {}),
    }


def _of_the_stage(stage: Stage, figures: Metrics | None) -> dict[str, str]:
    record = stage.record
    return {
        "name": stage.name,
        "stage": str(record.stage),
        "classes": json.dumps(record.classes, ensure_ascii=False),
        "stage_of_class": json.dumps([number for number, names in enumerate(record.stages, 1) for _ in names]),
        "accuracy_by_stage": json.dumps(None if figures is None else figures.accuracy[record.stage - 1]),
        "clip": _json(record.clip),
        "temperature": repr(record.temperature),
        "unknown": _json(record.unknown),
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _stages(record: StageRecord, figures: Metrics | None) -> Iterator[tuple[str, str, str, str]]:
    """Rows: stage, classes, accuracy right after it was learnt, accuracy now."""
    for place, names in enumerate(record.stages):
        more = len(names) - NAMED
        listed = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
        rows = (None, None) if figures is None else (figures.accuracy[place][place], _now(record, figures)[place])
        first, now = map(percent, rows)
        yield str(place + 1), listed, first, now


def _now(record: StageRecord, figures: Metrics) -> Sequence[float | None]:
    return figures.accuracy[record.stage - 1]


def _unknown(record: StageRecord, figures: Metrics | None) -> dict[str, Any] | None:
    """Values about the thresholds; None if the model has none."""
    if record.unknown is None:
        return None
    measured = list(figures.unknown[: record.stage]) if figures else []
    newest = measured[-1] if len(measured) == record.stage else None
    passed = [(place, one.false_positive_rate) for place, one in enumerate(measured, 1) if one]
    after, rate = next((one for one in reversed(passed) if one[1] is not None), (0, None))
    without = [str(place) for place, low in enumerate(record.unknown.thresholds, 1) if low is None]
    recall = newest.recall if newest else None
    return {"target": record.unknown.recall, "recall": recall, "passed": rate, "after": after, "without": without}


def _costs(parts: Sequence[Part]) -> Iterator[tuple[str, str, str, str]]:
    """Rows: each part, and the total for one new frame."""
    for part in parts:
        name = f"each of {part.count} experts" if part.count > 1 else part.name
        yield name, f"{part.bytes / 1e6:.2f}", f"{part.parameters:,}", f"{part.flops / 1e6:.2f}"
    weight, numbers, work = (
        sum(part.count * getattr(part, key) for part in parts) for key in ("bytes", "parameters", "flops")
    )
    yield "all, for one new frame", f"{weight / 1e6:.2f}", f"{numbers:,}", f"{work / 1e6:.2f}"


def _worst(proof: Certificate) -> list[tuple[str, str, str]]:
    """Rows: each output of the clip graph with its largest difference and its tolerance."""
    return [(one.output, f"{one.worst:.1e}", f"{one.tolerance:.1e}") for one in proof.differences if one.part == "clip"]
