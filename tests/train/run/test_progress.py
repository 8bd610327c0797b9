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


def test_encoding_says_how_fast_it_is_and_how_long_it_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = 0.0
    with ShownProgress(clock=lambda: seconds) as shown:
        for done in range(1, 201):
            seconds += 0.5  # two clips a second
            shown.encoding("stage 1 train", done, 200)
        for done in range(1, 4):
            shown.encoding("stage 1 test", done, 3)  # in no time
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "stage 1 train: encoding clips: 200",
        "stage 1 train: encoding clips: 61 of 200, 2.0 a second, 0:01:10 left",
        "stage 1 train: encoding clips: 121 of 200, 2.0 a second, 0:00:40 left",
        "stage 1 train: encoding clips: 181 of 200, 2.0 a second, 0:00:10 left",
        "stage 1 test: encoding clips: 3",
    ]


def test_a_quiet_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = 0.0
    with ShownProgress(quiet=True, clock=lambda: seconds) as shown:
        for done in range(1, 100):
            seconds += 1.0
            shown.encoding("stage 1 train", done, 99)
    assert capsys.readouterr().err == ""
