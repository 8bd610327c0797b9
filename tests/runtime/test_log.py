"""What a run says: time and level on every line, and nothing again and again."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from stpr.runtime import log as log_module
from stpr.runtime.log import AT_ONCE, KINDS, LEVELS, LINE_SECONDS, Overdue, Repeats, saying

log = logging.getLogger("stpr.runtime.somewhere")
SAY = """
import logging
from stpr.runtime.log import saying
with saying("info"):
    logging.getLogger("stpr.a").info("begun")
    logging.getLogger("stpr.b").warning("%s is away", "door")
    logging.getLogger("stpr.c").error("two\\nlines")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("a library's")
    print("done")
"""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("stpr.runtime.log.time.monotonic", lambda: clock[0])
    return clock


def said(*arguments: str, **places: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SAY, *arguments]
    return subprocess.run(command, text=True, check=False, timeout=30, **{"stderr": subprocess.PIPE, **places})  # type: ignore[call-overload]


def test_a_line_has_its_time_its_level_and_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with saying("info"):
        log.info("page at %s", "http://localhost:8080/")
        log.warning("door is away")
        logging.getLogger("paho").info("a library's chatter")
    log.warning("after the run")
    first, second = capsys.readouterr().err.splitlines()
    time, words = first[:25], first[26:]
    assert abs((datetime.now(timezone.utc) - datetime.fromisoformat(time)).total_seconds()) < 10
    assert words == "INFO    page at http://localhost:8080/"
    assert second[26:] == "WARNING door is away"


@pytest.mark.parametrize(("level", "count"), [*zip(LEVELS, (1, 2, 3, 4), strict=True)])
def test_what_is_less_grave_than_the_level_is_not_said(
    capsys: pytest.CaptureFixture[str], level: str, count: int
) -> None:
    before = [logging.getLogger(name).level for name in ("", "stpr")]
    with saying(level):
        for one in ("error", "warning", "info", "debug"):
            getattr(log, one)(one)
    assert capsys.readouterr().err.count("\n") == count
    assert [logging.getLogger(name).level for name in ("", "stpr")] == before


def test_what_repeats_itself_is_counted_and_not_repeated(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    with saying("info"):
        for frame in range(300):  # ten seconds of a full disk
            log.warning("record: frame %d is lost, the disk is full.", frame)
            now[0] += 1 / 30
        now[0] += LINE_SECONDS
        log.warning("record: frame 300 is lost, the disk is full.")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("record: frame 0 is lost, the disk is full.")
    assert second.endswith("record: frame 300 is lost, the disk is full. (299 more like it were left out)")


def test_a_flood_of_two_kinds_ends_and_no_line_is_lost_uncounted(now: list[float]) -> None:
    repeats, told, counted = Repeats(), [], 0
    for number in range(1000):  # a day of a camera that comes and goes
        for words in ("door is away", "door is back"):
            if (left_out := repeats.left_out("a", words)) is not None:
                told.append(words)
                counted += left_out
        now[0] += 86.4 / 4
        if number == AT_ONCE - 1:
            assert len(told) == 2 * AT_ONCE
    assert len(told) <= 2 * (AT_ONCE + 1000 * 86.4 / 4 / LINE_SECONDS) + 2
    assert 2000 - len(told) - counted < 10  # those after the last line


def test_a_change_is_said_at_once_and_modules_do_not_hold_each_other_back(now: list[float]) -> None:
    repeats = Repeats()
    for words in ("away", "back", "away", "back"):
        assert repeats.left_out("a", words) == 0
        assert repeats.left_out("b", words) == 0
    assert repeats.left_out("a", "back") is None
    assert now == [1000.0]


def test_memory_is_bounded() -> None:
    repeats = Repeats()
    for number in range(10 * KINDS):
        repeats.left_out("a", "x" * number)
    assert len(repeats._kinds) == KINDS


def test_debug_leaves_nothing_out_and_lets_libraries_speak(capsys: pytest.CaptureFixture[str]) -> None:
    with saying("debug"):
        for _ in range(9):
            log.debug("the same")
        logging.getLogger("paho").debug("a library's")
    assert capsys.readouterr().err.count("\n") == 10


def test_a_bug_is_said_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with saying("error"):
        try:
            raise KeyError("colour")
        except KeyError as error:
            log.exception("a bug:", exc_info=error)
    assert re.search(r"ERROR   a bug:\nTraceback[^§]*KeyError: 'colour'\n", capsys.readouterr().err)


def test_a_flood_of_tracebacks_ends(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    error = ZeroDivisionError("x")
    with saying("info"):
        for turn in range(90):
            log.error("a bug of turn %d:", turn, exc_info=error)
            log.error("a bug of turn %d:", turn, exc_info=KeyError())
            now[0] += 0.1
    said = capsys.readouterr().err
    assert said.count("\nZeroDivisionError: x\n") == said.count("\nKeyError\n") == 4


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    about = os.fstat(writing)
    environment = os.environ | {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
    done = said(stderr=writing, env=environment)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "<6>begun\n<4>door is away\n<3>two\n<3>lines\n<4>a library's\n"
    assert done.returncode == 0
    with (tmp_path / "log").open("w+") as file:  # redirected: the variable speaks of another stream
        said(stderr=file, env=environment)
        file.seek(0)
        assert re.match(r"\d{4}-\d\d-\d\d .* INFO    begun\n", file.read())


@pytest.mark.parametrize("how", ["closed", "full", "its reader has gone"])
def test_where_nobody_listens_the_run_goes_on(how: str) -> None:
    if how == "closed":
        command = ["sh", "-c", '"$0" "$@" 2>&-', sys.executable, "-c", SAY]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    elif how == "full":
        with Path("/dev/full").open("w") as full:
            done = said(stdout=subprocess.PIPE, stderr=full)
    else:
        reading, writing = os.pipe()
        os.close(reading)
        done = said(stdout=subprocess.PIPE, stderr=writing)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_what_is_overdue_is_told_after_a_while_and_then_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "FIRST_WORD_SECONDS", 0.2)
    monkeypatch.setattr(log_module, "LINE_SECONDS", 0.5)
    told: list[float] = []
    with Overdue(told.append):
        time.sleep(1.0)
    with Overdue(told.append):
        pass
    time.sleep(0.4)
    assert told == pytest.approx([0.2, 0.7], abs=0.15)
