from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.manifest import UnknownSpec
from stpr.runtime.decision import decide
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.json_lines import JsonLines, open_json_lines
from tests.factories import make_manifest
from tests.runtime.sinks.results import make_result


def test_one_complete_line_at_once_per_prediction_in_the_bytes_that_scripts_know(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    sink = JsonLines(str(target))
    for index in range(3):
        sink.write(make_result(index))
        sink.write(make_result(index, said=False))
        assert [json.loads(line)["frame"] for line in target.read_text().splitlines()] == list(range(index + 1))
    sink.close()
    assert target.read_bytes().splitlines()[0] == (
        b'{"time":"2026-01-01T12:34:56.789+02:00","frame":0,"label":"wave","score":0.75,'
        b'"top":[["wave",0.75],["jump",0.25]],"routing":{"1":0.4,"2":0.6},"state":"known","latency_ms":12.5,'
        b'"bundle":{"name":"toy","stage":2,"digest":"ab"},"media_time":1.25,"source":"clip.mp4"}'
    )


def test_what_is_unknown_has_neither_a_label_nor_a_score(tmp_path: Path) -> None:
    manifest = make_manifest(unknown=UnknownSpec(score="cosine", recall=0.95, thresholds=(0.5, 0.5)))
    logits = np.array([9.0, 0.0, 0.0], np.float32)  # as sure of the first class as can be, if it is one of the three
    decision = decide(manifest, logits, np.array([1.0, 0.0], np.float32), np.array(0.1, np.float32))
    known = make_result()
    assert known.prediction is not None
    unknown = msgspec.structs.replace(known.prediction, **msgspec.structs.asdict(decision))
    with closing(JsonLines(str(tmp_path / "out.jsonl"))) as sink:
        sink.write(dataclasses.replace(known, prediction=unknown))
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert (line["state"], line["label"], line["score"]) == ("unknown", None, 0.0)
    assert line["top"][0] == ["wave", 1.0]


def test_it_appends_to_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    for index in range(2):
        with closing(JsonLines(str(tmp_path / "out.jsonl"))) as sink:
            sink.write(make_result(index))
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("there", [b'{"frame":1}\n', b'{"frame":1}\n{"frame":1}\n', b""], ids=["one", "two", "none"])
@pytest.mark.parametrize("torn", [b'{"time":"2026-01-', b"{", b'{"event":"start","id":1', b'{"time":"\xc3', b""])
def test_a_line_that_was_torn_is_mended_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, there: bytes, torn: bytes
) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(there + torn)
    with closing(JsonLines(str(target))) as sink:
        sink.write(make_result(2))
    *earlier, last = target.read_bytes().splitlines(keepends=True)
    assert b"".join(earlier) == there
    assert json.loads(last)["frame"] == 2
    said = f"{target} ended in an incomplete line, as after a power cut; its {len(torn)} bytes were removed."
    assert caplog.messages == [said] * bool(torn)


def test_what_a_power_cut_filled_with_zeros_is_torn_too(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(b'{"frame":1}\n' + bytes(4096))
    JsonLines(str(target)).close()
    assert target.read_bytes() == b'{"frame":1}\n'


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(b'{"frame":1}\n{"frame":2}')
    JsonLines(str(target)).close()
    assert target.read_bytes() == b'{"frame":1}\n{"frame":2}\n'


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced", "emptied"])
def test_it_goes_on_in_a_file_of_its_name_after_logrotate(tmp_path: Path, how: str) -> None:
    target, old = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    with closing(JsonLines(str(target))) as sink:
        sink.write(make_result(1))
        if how == "removed":
            target.unlink()
        elif how == "emptied":
            old.write_bytes(target.read_bytes())
            os.truncate(target, 0)
        else:
            target.rename(old)
        if how == "replaced":
            target.touch()
        sink.write(make_result(2))
        sink.write(make_result(3))
    assert [json.loads(line)["frame"] for line in target.read_text().splitlines()] == [2, 3]
    assert old.exists() == (how != "removed")
    assert how == "removed" or [json.loads(line)["frame"] for line in old.read_text().splitlines()] == [1]


def test_what_it_can_not_begin_anew_stops_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with closing(JsonLines(str(tmp_path / "logs" / "out.jsonl"))) as sink:
        (tmp_path / "logs").rename(tmp_path / "old")
        with pytest.raises(StprError, match=r"can't write predictions to .*out\.jsonl \(No such file or directory\)"):
            sink.write(make_result())


@pytest.mark.parametrize(
    "content",
    [
        b"file,start,end,label\n",
        b'{\n "classes": {}\n}\n',
        b'{"classes": {}}',
        b'{"time": "noon"}',
        b'{"time":"noon"}',
        b'{\n "a',
        b"[1, 2]\n",
        b"\n",
        b"\x00\x00\x00\x1cftypisom\n" + bytes(range(256)),
        b'"' + b"a" * (1 << 21),
    ],
    ids=["csv", "indented", "document", "spaced", "one line", "cut", "list", "blank", "video", "long"],
)
def test_nothing_is_added_to_what_is_no_json_lines(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(content)
    with pytest.raises(StprError, match=r"out\.jsonl exists and does not contain JSON lines, .* name another file\.$"):
        JsonLines(str(target))
    assert target.read_bytes() == content


def test_an_empty_file_may_be_written_to(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.touch()
    with closing(JsonLines(str(target))) as sink:
        sink.write(make_result())
    assert target.read_bytes().startswith(b"{")


def test_what_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StprError, match=r"can't write predictions to .*no/out\.jsonl \(No such file or directory\)"):
        JsonLines(str(tmp_path / "no" / "out.jsonl"))
    if Path("/dev/full").exists():
        with closing(JsonLines("/dev/full")) as sink, pytest.raises(StprError, match=r"/dev/full \(No space left"):
            sink.write(make_result())


def test_the_settings_ask_for_it() -> None:
    assert open_json_lines(Settings(source="0")) is None


@pytest.mark.skipif(sys.platform == "win32", reason="closes a descriptor as a shell does")
def test_a_closed_standard_output_is_one_line() -> None:
    code = "from stpr.runtime.sinks.json_lines import JsonLines\ntry: JsonLines('-')\n"
    code += "except Exception as error: sys.exit(repr(error))"
    command = f"exec '{sys.executable}' -c 'import sys; exec(sys.argv[1])' \"$0\" >&-"
    done = subprocess.run(["sh", "-c", command, code], capture_output=True, text=True, check=False)
    assert done.stderr == "StprError('standard output is closed; leave it open, or write to a file.')\n"
