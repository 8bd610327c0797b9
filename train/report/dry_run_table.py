"""An outlook for people: a table of the stages and a line for everything else, on standard output."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import shorten
from typing import Final

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

from stpr.train.estimate.cost import Rates
from stpr.train.estimate.dry_run import Outlook, free_bytes
from stpr.train.methods import cautions

PLAIN_WIDTH: Final = 160  # where there is no terminal
NUMBERS_WIDTH: Final = 50  # what the columns before the names of the classes take at most
NAMED: Final = 3  # missing videos that are told by name


def show_outlook(outlook: Outlook, rates: Rates | None) -> None:
    """Print everything that is known, and at the end what keeps the run from starting."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    recipe, stages = outlook.recipe, outlook.stages
    if stages:
        with console.capture() as table:
            box = SIMPLE_HEAD if console.is_terminal else None
            console.print(_stage_table(outlook, box, room=max(20, console.width - NUMBERS_WIDTH)))
        console.file.write("".join(f"{line.rstrip()}\n" for line in table.get().splitlines()))
    lines = [("recipe", f"{recipe.name}: {recipe.method}, seed {recipe.seed}, run folder {outlook.out}")]
    lines += [("lists", f"{digest}  {name}") for name, digest in outlook.lists.items()]
    lines += [("note", caution) for caution in cautions(recipe)]
    lines += [("videos", line) for line in _videos(outlook)]
    lines += [("network", _network(outlook))]
    lines += [("time", line) for line in _time(outlook, rates)] if stages else []
    lines += [("disk", _disk(outlook))] if stages else []
    lines += [("problem", problem) for problem in outlook.problems]
    verdict = "the run could start" if not outlook.problems else "the run could not start like this"
    said = ""
    for label, line in [*lines, ("so", f"{verdict}; nothing was learnt or written")]:
        console.print(f"{'' if label == said else label:<9}{line}", soft_wrap=True)
        said = label


def _stage_table(outlook: Outlook, box: Box | None, *, room: int) -> Table:
    table = Table(box=box, pad_edge=False, show_footer=True)
    clips = [counted for _, counted in outlook.stages]
    sums = (sum(counted.train for counted in clips), sum(counted.test for counted in clips))
    names = sum(len(stage.classes) for stage, _ in outlook.stages)
    totals = ("all", *(f"{total:,}" for total in (names, *sums)))
    for heading, total in zip(("stage", "classes", "train", "test"), totals, strict=True):
        table.add_column(heading, total, justify="right", no_wrap=True)
    table.add_column("which", no_wrap=True)
    for stage, counted in outlook.stages:
        numbers = (stage.index, len(stage.classes), counted.train, counted.test)
        table.add_row(*(f"{number:,}" for number in numbers), shorten(", ".join(stage.classes), room, placeholder=" …"))
    return table


def _videos(outlook: Outlook) -> list[str]:
    if outlook.to_write:
        return [f"{len(outlook.videos):,} are to be written first, into {outlook.recipe.data.root}"]
    if not outlook.videos:
        return ["unknown"]
    root, said = Path(outlook.recipe.data.root).expanduser(), []
    for split in ("train", "test"):
        count = sum(video.split == split for video in outlook.videos)
        gone = outlook.missing.get(split, [])
        first = ", ".join(os.path.relpath(path, root) for path in gone[:NAMED]) + (", …" if len(gone) > NAMED else "")
        where = f" in {root}: {first}" if gone else ""
        said.append(f"{len(gone):,} of {count:,} for {split} are missing{where}")
    return said


def _network(outlook: Outlook) -> str:
    source = outlook.recipe.backbone.source
    if outlook.model is not None and not outlook.random:
        return f"{source} is here and loads"
    return f"{source}: see the problems below"


def _time(outlook: Outlook, rates: Rates | None) -> list[str]:
    work, workers = outlook.work, outlook.recipe.sampling.workers
    counted = f"{work.encoded:,} frames encoded, {work.learnt:,} clips learnt"
    if rates is None:
        return [f"network unknown: {counted}", f"decoding unknown: {work.decoded:,} videos"]
    network = work.encoded * rates.encode + work.learnt * rates.learn
    paces = f"{_duration(rates.encode)} a frame, {_duration(rates.learn)} a clip"
    how = ", with random weights in the network's form" if outlook.random else ""
    said = [f"network about {_duration(network)}: {counted}; {paces}, measured just now on {rates.device}{how}"]
    if rates.decode is None:
        return [*said, f"decoding unknown: {work.decoded:,} videos, and none is here to measure"]
    decoding = work.decoded * rates.decode / workers
    lengths = f"; {outlook.measured:,} of them for their length alone" if outlook.measured else ""
    said.append(
        f"decoding about {_duration(decoding)}: {work.decoded:,} videos; {_duration(rates.decode)} each, measured just"
        f" now on one of them, by {workers} workers{lengths}"
    )
    both = f"between {_duration(max(network, decoding))} and {_duration(network + decoding)}"
    return [*said, f"in all {both}: decoding runs beside the network as far as there are cores"]


def _disk(outlook: Outlook) -> str:
    free = f"{_size(free_bytes(outlook.out))} are free"
    if not outlook.sizes:
        return f"unknown without the network's form; {free}"
    kept = (
        f"stage checkpoints {_size(outlook.sizes[0])} to {_size(outlook.sizes[-1])}, {_size(sum(outlook.sizes))} in all"
    )
    return f"about {_size(outlook.disk)}: {kept}; the rest is predictions and the report{_written(outlook)}; {free}"


def _written(outlook: Outlook) -> str:
    return ", and the videos to be written" if outlook.to_write else ""


def _size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _duration(seconds: float) -> str:
    for unit, factor in (("days", 48 * 3600.0), ("h", 5400.0), ("min", 90.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / _ONE[unit]:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


_ONE: Final = {"days": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}
