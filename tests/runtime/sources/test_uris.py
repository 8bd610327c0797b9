from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import masked
from stpr.runtime.sources import SourceOptions, open_source, shows_login
from stpr.runtime.sources.network import with_login
from tests.factories import make_video
from tests.runtime.sources.test_reasons import web


def no_camera() -> None:
    if Path("/dev/video0").exists():
        pytest.skip("this machine has a camera")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("0", r"^no camera 0 here: /dev/video0 does not exist; try --source FILE or --source synthetic:motions\.$"),
        ("v4l2:///dev/video0", r"no camera v4l2:///dev/video0 here: /dev/video0 does not exist"),
        ("9" * 22, r"^no camera 9{22} here: /dev/video9{22} does not exist"),
        ("http://127.0.0.1:9/a\nb \xe4", r"^no stream at http://127\.0\.0\.1:9/a\\nb \xe4: refused, nothing listens"),
        ("./no\nsuch", r"^there is no file or folder \./no\\nsuch; check"),
        ("v4l2:///dev/null", r"no camera v4l2:///dev/null here: /dev/null is not a camera; try --source FILE"),
        ("csi://0", r"csi://0 needs an OpenCV with GStreamer|nvarguscamerasrc did not open it"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(uri: str, message: str) -> None:
    no_camera()
    with pytest.raises(SourceError, match=message):
        open_source(uri)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device files and is somebody else")
def test_why_a_camera_that_is_there_does_not_open() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        device = Path(folder) / "video7"
        try:
            os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(81, 250))
        except PermissionError:
            pytest.skip("a container that makes no device files")
        with pytest.raises(SourceError, match=r"video7 can't be opened \(no such device( or address)?\): plug it in"):
            open_source(f"v4l2://{device}")
        os.seteuid(65534)
        try:
            with pytest.raises(SourceError, match=r"this user may not open .*/video7: `sudo usermod -aG video \$USER`"):
                open_source(f"v4l2://{device}")
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("csi://left", "csi://left names no sensor; write csi://0"),
        ("ftp://host/clip", "sources of kind ftp:// are unknown; known are csi, v4l2, rtsp"),
        ("v4l2://", "v4l2:// names no device; write v4l2:///dev/video0"),
        ("", "the source has no name; write --source URI"),
        ("/dev/null", "/dev/null is a pipe or a device, not a video file; pipe MJPEG from it"),
        ("http://", "no stream at http://: not found, the address has no host"),
        ("RTSP://127.0.0.1:99999/a", "no stream at rtsp://127.0.0.1:99999/a: not found, 99999 is not a port"),
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
        ("user:secret@cam/1", "***@cam/1"),
        ("rtsp://cam/live;user=me;password=secret", "rtsp://cam/live;user=***"),
        ("rtsp://cam/user=me_password=secret_channel=1/live.sdp", "rtsp://cam/user=***/live.sdp"),
        ("http://monkey:8080/live", "http://monkey:8080/live"),
    ],
)
def test_credentials_are_never_shown(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_stream_that_is_not_there_is_one_line_without_credentials(scheme: str) -> None:
    with pytest.raises(SourceError, match=rf"no stream at {scheme}://\*\*\*@127\.0\.0\.1:9/live:") as caught:
        open_source(f"{scheme}://user:secret@127.0.0.1:9/live")
    assert "secret" not in str(caught.value)


def test_a_forgotten_scheme_shows_no_password() -> None:
    with pytest.raises(
        SourceError, match=r"no file or folder \*\*\*@cam/1; check the path \(an address begins"
    ) as caught:
        open_source("me:secret@cam/1")
    assert "secret" not in caught.value.message


def test_a_login_goes_into_addresses_that_hold_none() -> None:
    assert with_login("rtsp://cam/a@b", ("me", "p@ss:/")) == "rtsp://me:p%40ss%3A%2F@cam/a@b"
    assert with_login("rtsp://you:x@cam", ("me", "secret")) == "rtsp://you:x@cam"
    assert with_login("udp://0.0.0.0:5000", ("me", "secret")) == "udp://0.0.0.0:5000"
    assert with_login("rtsp://cam", None) == "rtsp://cam"


def test_a_login_of_the_options_opens_a_camera() -> None:
    with (
        web() as place,
        closing(open_source(f"http://{place}/digest", SourceOptions(login=("me", "s:ecret")))) as source,
    ):
        assert source.origin.name == f"http://{place}/digest"
        assert next(iter(source)).index == 0


@pytest.mark.parametrize(("uri", "shows"), [("rtsp://a:b@cam", True), ("rtsp://cam", False), ("./a:b@c", False)])
def test_a_password_on_the_command_line_is_noticed(uri: str, shows: bool) -> None:
    assert shows_login(uri) is shows


def test_a_file_by_its_address(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a b.avi", frames=8, fps=8)
    with closing(open_source(f"file://{str(video).replace(' ', '%20')}")) as source:
        assert len(list(source)) == 8
    os.rename(video, os.fsencode(tmp_path) + b"/caf\xe9.avi")  # noqa: PTH104  (a name that is not UTF-8)
    with closing(open_source(f"FILE://{tmp_path}/caf%E9.avi")) as source:
        assert len(list(source)) == 8
    with pytest.raises(SourceError, match=r"file://elsewhere/a is not a file on this machine; write file:///PATH"):
        open_source("file://elsewhere/a")


def test_a_kind_that_opencv_does_not_speak_or_where_nothing_comes() -> None:
    soon = SourceOptions(stall_seconds=0.5)
    with pytest.raises(SourceError) as caught:
        open_source("udp://127.0.0.1:5998", soon)
    assert caught.value.code == "timeout"
    with pytest.raises(SourceError) as caught:
        open_source("srt://127.0.0.1:5998", soon)
    said = r"does not support srt; let FFmpeg relay it, as in: ffmpeg -i srt://127\.0\.0\.1:5998 -f mjpeg"
    assert caught.value.code == "timeout" or re.search(said, caught.value.message)


JPEGS = b"".join(cv2.imencode(".jpg", np.full((24, 32, 3), 40 * n, np.uint8))[1].tobytes() for n in range(5))
RAW = b"YUV4MPEG2 W32 H24 F25:1\n" + b"".join(b"FRAME\n" + bytes([40 * n]) * (36 * 32) for n in range(5))


@pytest.mark.parametrize("pictures", [JPEGS, RAW], ids=["MJPEG", "YUV4MPEG2"])
def test_standard_input_is_watched_to_its_end(pictures: bytes) -> None:
    code = "from stpr.runtime.sources import open_source; print([f.image.shape for f in open_source('-')][-1])"
    run = subprocess.run([sys.executable, "-c", code], input=pictures, capture_output=True, check=True, timeout=60)
    assert run.stdout.decode().strip() == "(24, 32, 3)"


@pytest.mark.parametrize(
    ("pictures", "fps"), [(JPEGS, 25), (RAW.replace(b"F25:1", b"F10:1"), 10), (RAW.replace(b"F25:1", b"F0:0"), 25)]
)
def test_a_file_as_standard_input_is_a_recording(tmp_path: Path, pictures: bytes, fps: int) -> None:
    (tmp_path / "film").write_bytes(pictures)
    code = "from stpr.runtime.sources import open_source; print([round(f.media_time, 3) for f in open_source('-')])"
    with (tmp_path / "film").open("rb") as film:
        run = subprocess.run([sys.executable, "-c", code], stdin=film, capture_output=True, check=True, timeout=60)
    assert json.loads(run.stdout) == [round(n / fps, 3) for n in range(5)]


def test_a_film_that_is_piped_faster_than_its_pace_is_told() -> None:
    code = "from stpr.runtime.sources import open_source; print({f.source.is_live for f in open_source('-')})"
    for frames, told in ((RAW + RAW.partition(b"\n")[2] * 20, True), (RAW, False)):
        run = subprocess.run([sys.executable, "-c", code], input=frames, capture_output=True, check=True, timeout=60)
        assert run.stdout == b"{True}\n"
        assert (b"is seen too fast, and most of it is dropped; let FFmpeg read it with -re" in run.stderr) == told


def test_standard_input_without_a_picture_is_one_line() -> None:
    code = "from stpr.runtime.sources import open_source; open_source('-')"
    run = subprocess.run(
        [sys.executable, "-c", code], input=b"no picture", capture_output=True, check=False, timeout=60
    )
    said = run.stderr.decode().strip().splitlines()[-1]
    assert "--source - found no picture, MJPEG or YUV4MPEG2, on standard input before its end; pipe it" in said


def test_a_closed_standard_input_is_one_line() -> None:
    """Its number may be that of another file by then."""
    code = "import os; from stpr.runtime.sources import open_source; print(os.pipe()[0]); open_source('-')"
    run = subprocess.run(["sh", "-c", '"$0" -c "$1" <&-', sys.executable, code], capture_output=True, check=False)
    assert run.stdout == b"0\n"
    assert "--source - can't read standard input: it is closed; pipe it there" in run.stderr.decode().splitlines()[-1]
