"""What a run says of its progress, on a terminal and elsewhere: names are never read as markup."""

from __future__ import annotations

import re

import pytest

from stpr.train.run.progress import ShownProgress

NAME = "exp [v2] [red]x[/red] :smile:"


def test_names_are_literal_on_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ShownProgress() as shown:
        shown.encoding(NAME, 0, 3)
        shown.encoding(NAME, 1, 3)
        shown.note(f"{NAME}: a note")
    assert capsys.readouterr().err == f"{NAME}: encoding clips: 3\n{NAME}: a note\n"


def test_names_are_literal_on_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    with ShownProgress() as shown:
        shown.encoding(NAME, 1, 3)
        shown.epoch(1, 1, 2, {"[b]": 0.5})
        shown.bars.refresh()
        shown.encoding(NAME, 2, 3)
        shown.bars.refresh()
    screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"{NAME}: encoding clips" in screen
    assert "[b] 0.5" in screen
