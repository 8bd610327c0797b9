from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import masked
from stpr.runtime.sources import open_source


def no_camera() -> None:
    if Path("/dev/video0").exists():
        pytest.skip("this machine has a camera")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("0", r"^no camera 0 here: /dev/video0 does not exist; try --source FILE or --source synthetic:motions\.$"),
        ("v4l2:///dev/video0", r"no camera v4l2:///dev/video0 here: /dev/video0 does not exist"),
        ("csi://0", r"csi://0 needs an OpenCV with GStreamer|nvarguscamerasrc did not open it"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(uri: str, message: str) -> None:
    no_camera()
    with pytest.raises(SourceError, match=message):
        open_source(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("csi://left", "csi://left names no sensor; write csi://0"),
        ("ftp://host/clip", "sources of kind ftp:// are not known; known are csi, v4l2, rtsp"),
        ("no/such/clip.mp4", r"there is no file or folder no/such/clip\.mp4"),
    ],
)
def test_a_source_that_names_nothing_says_what_would(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(uri)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("rtsp://user:secret@cam/1", "rtsp://***@cam/1"),
        ("rtsp://user:se@cr/et@cam/1", "rtsp://***@cam/1"),
        ("http://cam/video?user=me&pwd=secret", "http://cam/video?***"),
        ("http://me:secret@cam/video?key=secret", "http://***@cam/video?***"),
    ],
)
def test_credentials_are_never_shown(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_stream_that_is_not_there_is_one_line_without_credentials(scheme: str) -> None:
    with pytest.raises(SourceError, match=rf"no stream at {scheme}://\*\*\*@127\.0\.0\.1:9/live:") as caught:
        open_source(f"{scheme}://user:secret@127.0.0.1:9/live")
    assert "secret" not in str(caught.value)
