"""What a long step prints where nobody watches a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stpr.export import show


def test_a_long_step_gives_a_sign_of_life_and_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "SECONDS_OF_SILENCE", 0.0)
    text = io.StringIO()
    with show.ShownSteps(Console(file=text, width=80))("compare") as advance:
        advance(7)
    said, ended = text.getvalue().splitlines()
    assert said.split() == ["compare:", "7", "done"]
    assert ended.split()[1:] == ["s", "compare"]
