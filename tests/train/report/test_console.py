"""Tables and facts as the commands print them where the output is no terminal."""

from __future__ import annotations

import pytest
from rich.text import Text

from stpr.train.report.console import WIDTH, new_console, print_facts, print_table


def test_a_table_prints_its_cells_literally_without_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[str | Text]] = [["exp [v2]", ":smile:", ""], [Text("[red]x[/red]", style="bold"), "10", "a"]]
    print_table(new_console(), ["[name]", "count", "note"], rows, left=(0, 2))
    assert capsys.readouterr().out == (
        "[name]          count  note\n"
        "exp [v2]      :smile:\n"
        "[red]x[/red]       10  a\n"
    )  # fmt: skip


def test_facts_have_one_label_for_the_lines_that_share_it_and_are_never_wrapped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "[x] " * WIDTH
    print_facts(new_console(), [("note", "one"), ("note", long), ("verdict", "fine")])
    assert capsys.readouterr().out.splitlines() == ["note:     one", f"          {long}", "verdict:  fine"]
