from __future__ import annotations

import os
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import open_sinks
from stpr.runtime.sinks.targets import check_targets


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").write_bytes(b'{"frame":1}\n')
    Path("soft").symlink_to("there")
    Path("hard").hardlink_to("there")
    Path("nowhere").symlink_to("not-yet")


@pytest.mark.parametrize(
    ("json", "record"),
    [("there", "there"), ("./there", "soft"), ("hard", "soft"), ("not-yet", "./not-yet"), ("nowhere", "not-yet")],
)
def test_two_outputs_into_one_file_are_refused(json: str, record: str) -> None:
    with pytest.raises(StprError) as caught:
        open_sinks(Settings(source="0", json=json, record=Path(record)))
    assert str(caught.value) == f"--json {json} and --record {Path(record)} are the same file; name two."
    assert Path("there").read_bytes() == b'{"frame":1}\n'


@pytest.mark.parametrize("source", ["there", "soft", "hard", "./there"])
def test_an_output_onto_the_source_is_refused(source: str) -> None:
    for target in ("there", "soft", "hard"):
        with pytest.raises(StprError, match=f"^--json {target} is the source {source}, which would be destroyed"):
            check_targets(Settings(source=source, json=target))
        address = f"file://{Path.cwd()}/{source}"
        with pytest.raises(StprError, match=f"^--json {target} is the source {address}"):
            check_targets(Settings(source="0", more_sources=(address,), json=target))


def test_what_is_kept_is_of_a_folder_that_holds_not_the_source() -> None:
    for record in (None, Path("new.mp4")):
        with pytest.raises(StprError, match=r"^--keep 7d goes with --record DIR or --clips DIR; name a folder"):
            check_targets(Settings(source="0", record=record, keep="7d"))
    Path("days").mkdir()
    Path("days/film.mp4").write_bytes(b"a film")
    with pytest.raises(StprError, match=r"^days/film\.mp4 is in days, where --keep may delete"):
        check_targets(Settings(source="days/film.mp4", record=Path("days"), keep="7d"))
    address = f"file://{Path.cwd()}/days/film.mp4"
    with pytest.raises(StprError, match=r"film\.mp4 is in days, where --keep may delete"):
        check_targets(Settings(source="0", more_sources=(address,), record=Path("days"), keep="7d"))
    check_targets(Settings(source="days/film.mp4", record=Path("days")))
    check_targets(Settings(source="0", record=Path("days"), keep="7d"))


def test_what_is_another_file_or_none_is_not_refused() -> None:
    Path("copy").write_bytes(Path("there").read_bytes())
    check_targets(Settings(source="there", json="copy", record=Path("new.mp4")))
    check_targets(Settings(source=os.devnull, json=os.devnull))  # nothing there to destroy
    check_targets(Settings(source="rtsp://host/there", json="there"))
