from __future__ import annotations

import io
from pathlib import Path

import msgspec

from stpr.runtime.result import Result
from stpr.runtime.sinks.text import TextLine
from tests.runtime.sinks.results import make_result


def said(results: list[Result], folder: Path, *, rewrite: bool, encoding: str = "utf-8") -> str:
    file = io.FileIO(folder / "out.txt", "wb")
    sink = TextLine(file, rewrite=rewrite, encoding=encoding)
    for result in results:
        sink.write(result)
    sink.close()
    file.close()
    return (folder / "out.txt").read_bytes().decode()


def test_a_line_per_change_or_one_line_that_is_rewritten(tmp_path: Path) -> None:
    results = [make_result(label=label) for label in (None, None, "wave", "wave", "jump")]
    assert said(results, tmp_path, rewrite=False).splitlines() == [
        "12:34:56  wave 75%  stage 2",
        "12:34:56  jump 75%  stage 2",
    ]
    rewritten = said(results, tmp_path, rewrite=True)
    assert rewritten.count("\r") == len(results)
    assert rewritten.count("\n") == 1
    assert "warming up" in rewritten


def test_what_is_unknown_is_said_once(tmp_path: Path) -> None:
    known, waiting = make_result(), make_result(label=None)
    assert known.prediction is not None
    strange = msgspec.structs.replace(known.prediction, label=None, score=0.0, state="unknown")
    unknown = Result(known.frame, strange, known.fps)
    lines = said([waiting, unknown, unknown, known, unknown], tmp_path, rewrite=False).splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "unknown, most like wave",
        "wave 75%  stage 2",
        "unknown, most like wave",
    ]


def test_a_name_that_the_terminal_can_not_show_does_not_end_the_run(tmp_path: Path) -> None:
    assert "w?ve 75%" in said([make_result(label="wåve")], tmp_path, rewrite=False, encoding="ascii")
