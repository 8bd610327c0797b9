"""Terminal output of the training commands: console, tables, and a fixed width if the output is not a terminal."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH: Final = 160  # columns, if the output is not a terminal


def new_console() -> Console:
    """A console on standard output that prints strings literally, without rich markup."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=WIDTH)


def print_table(
    console: Console, headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, left: Container[int] = (0,)
) -> None:
    """Print a plain table; columns are right-aligned except those whose indices are in `left`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if place in left else "right")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    with console.capture() as printed:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print one unwrapped line per (label, text); a repeated label is printed once."""
    shown = ""
    for label, text in facts:
        console.print(f"{'' if label == shown else f'{label}:':<10}{text}", soft_wrap=True)
        shown = label
