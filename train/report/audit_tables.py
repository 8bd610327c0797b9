"""What `stpr-train audit` prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from stpr.train.estimate.audit import Audit, StageAudit
from stpr.train.estimate.footprint import DEPENDS
from stpr.train.run.folder import PREDICTIONS

WIDTH: Final = 120  # where the output is no terminal


def show_audit(found: Audit) -> None:
    """Bytes by kind and stage, what sizes depend on, files, growth, and a verdict, on standard output."""
    console = Console(highlight=False, markup=False)  # brackets are the recipe's tables
    console = console if console.is_terminal else Console(highlight=False, markup=False, width=WIDTH)
    for table in (_stages(found), _kinds(found), _files(found)):
        console.print(table)
        console.print()
    for line in (*_growth(found), *verdict(found)):
        console.print(line, soft_wrap=True)


def _stages(found: Audit) -> Table:
    table = _table("after stage", "classes", "clips a class", *found.stages[-1].bytes, "all", "new MB", "head MFLOPs")
    for stage, grown in zip(found.stages, found.grown, strict=True):
        kinds = (f"{stage.bytes.get(kind, 0):,}" for kind in found.stages[-1].bytes)
        cells = (str(stage.stage), str(stage.classes), _clips(stage), *kinds, f"{stage.total:,}")
        table.add_row(*cells, f"{grown / 1e6:.3f}", f"{stage.flops / 1e6:.3f}")
    return table


def _clips(stage: StageAudit) -> str:
    if not stage.clips:
        return "?"
    low, high = min(stage.clips), max(stage.clips)
    return str(low) if low == high else f"{low} to {high}"


def _kinds(found: Audit) -> Table:
    table = _table("kind", "its size depends on", right=())
    for kind in found.stages[-1].bytes:
        table.add_row(kind, DEPENDS[kind])
    return table


def _files(found: Audit) -> Table:
    """Files by what they are; a stage's tensors' file also holds their names and shapes."""
    table = _table("file", "how many", "bytes", "what", right=(1, 2))
    named = sorted((file for file in found.files if file.what), key=lambda file: file.what)
    for what, group in itertools.groupby(named, key=lambda file: file.what):
        files = list(group)
        path = files[0].path if len(files) == 1 else _pattern([file.path for file in files])
        table.add_row(path, str(len(files)), f"{sum(file.bytes for file in files):,}", what)
    for file in found.files:
        if not file.what:
            table.add_row(file.path, "1", f"{file.bytes:,}", "unknown: stpr-train doesn't write it")
    table.add_row("all files", str(len(found.files)), f"{sum(file.bytes for file in found.files):,}", "")
    return table


def _pattern(paths: list[str]) -> str:
    """`stage-*/stage.json` for the same file of every stage, the folder for files that share nothing else."""
    names = {path.rpartition("/")[2] for path in paths}
    folders = {path.rpartition("/")[0] for path in paths}
    return f"stage-*/{names.pop()}" if len(names) == 1 else f"{folders.pop()}/*" if len(folders) == 1 else "*"


def _growth(found: Audit) -> Iterator[str]:
    last, clip = found.stages[-1], found.encoder_flops * found.frames
    yield f"growth:   {last.total / 1e6:.3f} MB after stage {last.stage}, {found.grown[-1] / 1e6:.3f} MB of it new"
    yield (
        f"cost:     encoder {found.encoder_flops / 1e6:.1f} MFLOPs a frame, head {last.flops / 1e6:.3f} MFLOPs a clip,"
        f" {last.flops / (last.flops + clip):.1%} of a clip of {found.frames} new frames (a multiply-add is two FLOPs)"
    )
    if found.projected:
        end = found.projected[-1]
        yield (
            f"ahead:    {end.total / 1e6:.3f} MB and {end.flops / 1e6:.3f} MFLOPs in the head after stage {end.stage},"
            f" if each brings as many classes as stage {last.stage}"
        )


def verdict(found: Audit) -> Iterator[str]:
    """What is kept and what is not, for somebody who reads nothing else."""
    last = found.stages[-1]
    yield from (f"fault:    {fault}" for fault in found.faults)
    yield from (f"caution:  {caution}" for caution in found.cautions)
    if found.faults:
        return
    single = " but for the cautions above" if found.cautions else ""
    yield (
        f"verdict:  {last.tensors} tensors of {last.total:,} bytes are kept: trained weights, class vectors, and means"
        f" and sums over clips. The recipe, the frozen network and the {last.classes} classes explain every shape; the"
        " number of training clips enters none. No training video, frame, single clip's feature or name of a training"
        f" file is kept here{single}. Paths of test clips are ({PREDICTIONS})."
    )
    yield "limit:    this proves sizes; what trained weights may remember of single clips is not measured."


def _table(*headings: str, right: Sequence[int] | None = None) -> Table:
    """A plain table; the columns at `right` (all of them where it is None) hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if right is None or place in right else "left")
    return table
