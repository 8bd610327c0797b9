"""What is printed where nobody watches a terminal."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from stpr.export import console


def test_a_long_step_gives_a_sign_of_life_and_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SECONDS_OF_SILENCE", 0.0)
    text = io.StringIO()
    with console.ShownSteps(console.new_console(text))("compare") as advance:
        advance(7)
    said, ended = text.getvalue().splitlines()
    assert said.split() == ["compare:", "7", "done"]
    assert ended.split()[1:] == ["s", "compare"]


def test_names_are_printed_as_they_are_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for text in (io.StringIO(), Terminal()):
        shown = console.new_console(text)
        assert shown.is_terminal == text.isatty()
        with console.ShownSteps(shown)("load exp [/v2] [red]x :smile:") as advance:
            advance(1)
        table = Table("[/v2]")
        table.add_row("[b]pay_$5_to_$10[/b]")
        shown.print(table)
        for said in ("load exp [/v2] [red]x :smile:\n", "[/v2]", "[b]pay_$5_to_$10[/b]"):
            assert said in text.getvalue()
