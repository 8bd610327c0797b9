"""The terminal output of `stpr-train audit`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stpr.train.estimate.audit import Audit, StageAudit
from stpr.train.estimate.footprint import DEPENDS
from stpr.train.report.console import new_console, print_facts, print_table
from stpr.train.report.quantities import size
from stpr.train.run.folder import LEARNT, MISTAKES, PREDICTIONS, REPORT, VIDEOS

PATHS: Final = {  # file -> whose paths it has
    PREDICTIONS: "test clips",
    VIDEOS: "all videos",
    LEARNT: "training clips, with digests, which show nothing of a clip but tell whether a given file is one",
}


def show_audit(found: Audit) -> None:
    """Print bytes by kind and stage, what sizes depend on, the files, growth, and a verdict."""
    console, last = new_console(), found.stages[-1]
    headings = ["after stage", "classes", "clips a class", *last.bytes, "all", "new", "head MFLOPs"]
    print_table(console, headings, _stages(found), left=())
    console.print()
    print_table(console, ["kind", "its size depends on"], [(kind, DEPENDS[kind]) for kind in last.bytes], left=(0, 1))
    console.print()
    print_table(console, ["file", "count", "bytes", "content"], _files(found), left=(0, 3))
    console.print()
    print_facts(console, [*_growth(found), *verdict(found)])


def _stages(found: Audit) -> Iterator[list[str]]:
    for stage, grown in zip(found.stages, found.grown, strict=True):
        kinds = (f"{stage.bytes.get(kind, 0):,}" for kind in found.stages[-1].bytes)
        cells = [str(stage.stage), str(stage.classes), _clips(stage), *kinds, f"{stage.total:,}", f"{grown:,}"]
        yield [*cells, f"{stage.flops / 1e6:.3f}"]


def _clips(stage: StageAudit) -> str:
    if not stage.clips:
        return "?"
    low, high = min(stage.clips), max(stage.clips)
    return str(low) if low == high else f"{low} to {high}"


def _files(found: Audit) -> Iterator[tuple[str, ...]]:
    """Group the files by their content; bytes of a tensor file include its header."""
    named = sorted((file for file in found.files if file.what), key=lambda file: file.what)
    for what, group in itertools.groupby(named, key=lambda file: file.what):
        files = list(group)
        path = files[0].path if len(files) == 1 else _pattern([file.path for file in files])
        yield path, str(len(files)), f"{sum(file.bytes for file in files):,}", what
    for file in found.files:
        if not file.what:
            yield file.path, "1", f"{file.bytes:,}", "unknown: stpr-train doesn't write it"
    yield "all files", str(len(found.files)), f"{sum(file.bytes for file in found.files):,}", ""


def _pattern(paths: list[str]) -> str:
    """`stage-*/stage.json` for the same file of every stage, the folder for files that share nothing else."""
    names = {path.rpartition("/")[2] for path in paths}
    folders = {path.rpartition("/")[0] for path in paths}
    return f"stage-*/{names.pop()}" if len(names) == 1 else f"{folders.pop()}/*" if len(folders) == 1 else "*"


def _growth(found: Audit) -> Iterator[tuple[str, str]]:
    last, clip = found.stages[-1], found.encoder_flops * found.frames
    cost = (
        f"encoder {found.encoder_flops / 1e6:.1f} MFLOPs a frame, head {last.flops / 1e6:.3f} MFLOPs a clip,"
        f" {last.flops / (last.flops + clip):.1%} of a clip of {found.frames} new frames (a multiply-add is two FLOPs)"
    )
    yield "growth", f"{size(last.total)} after stage {last.stage}, {size(found.grown[-1])} of it new"
    yield "cost", cost
    if found.projected:
        end = found.projected[-1]
        after = f"{size(end.total)} and {end.flops / 1e6:.3f} MFLOPs in the head after stage {end.stage}"
        yield "ahead", f"{after}, if each stage brings as many classes as stage {last.stage}"


def verdict(found: Audit) -> Iterator[tuple[str, str]]:
    """Yield the summary: faults and cautions, or a statement of what is stored and what is not."""
    last = found.stages[-1]
    yield from (("fault", fault) for fault in found.faults)
    yield from (("caution", caution) for caution in found.cautions)
    if found.faults:
        return
    names = {Path(file.path).name for file in found.files}
    nothing = "frame or single clip's feature"
    nothing = nothing if names & {VIDEOS, LEARNT} else "frame, single clip's feature or name of a training file"
    paths = ", ".join(f"of {whose} ({name})" for name, whose in PATHS.items() if name in names)
    but = " but for the cautions above" if found.cautions else ""
    strips = f"{REPORT}/{MISTAKES}"
    shown = any(file.path == strips for file in found.files)
    seen = f" Frames of misclassified test clips are ({strips}, and in the page beside it)." if shown else ""
    nothing = nothing.replace("frame", "frame of one", 1) if shown else nothing
    kept = (
        f"{last.tensors} tensors of {last.total:,} bytes are kept: trained weights, class vectors, and means and sums"
        f" over clips. Every shape follows from the recipe, the frozen network and the {last.classes} classes; none"
        f" depends on the number of training clips. No training video, {nothing}"
        f" is kept here{but}. Paths are kept {paths}.{seen}"
    )
    yield "verdict", kept
    yield "limit", "this proves sizes; what trained weights may remember of single clips is not measured."
