"""A real RTSP server: cameras that are killed and hang under a real stpr-run, who may look, and what RTSP goes over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import Source, SourceOptions, open_source
from stpr.runtime.sources.ffmpeg import FFMPEG_OPTIONS
from tests.factories import make_bundle, make_video

TOOLS = Path(__file__).parents[3] / "tools"
PORT = 8854
SERVER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    """The system's GStreamer with its RTSP server."""
    python = Path("/usr/bin/python3")
    if not python.exists() or subprocess.run([python, "-c", SERVER], capture_output=True, check=False).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (python3-gi, gir1.2-gst-rtsp-server-1.0)")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "clip.avi", frames=40, fps=15, size=(320, 240))


@contextmanager
def camera(video: Path, *options: str) -> Iterator[str]:
    with camera_and_process(video, *options) as (url, _):
        yield url


@contextmanager
def camera_and_process(video: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, str(TOOLS / "fake_camera.py"), *options[:1], str(video), f"--port={PORT}", *options[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def opened(url: str, options: SourceOptions) -> Source:
    """The camera, as soon as its server is up."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return open_source(url, options)
        except SourceError as error:
            if error.code != "refused" or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize("kind", ["h264", "http-mjpeg"])
def test_a_camera_that_is_killed_and_hangs(tmp_path: Path, video: Path, kind: str) -> None:
    other = make_video(tmp_path / "other.avi", frames=40, fps=15, size=(160, 120))
    command = [sys.executable, str(TOOLS / "soak_streams.py"), str(make_bundle(tmp_path / "bundles"))]
    command += [str(video), str(other), "--kind", kind, "--kills", "3", "--port", str(PORT + 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heads, _, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines())
    row = dict(zip(heads, cells, strict=True))
    assert (row["camera"], row["kills, stops"]) == (kind, "3, 1")
    assert int(row["reconnects"]) >= 3
    assert (row["lost uncounted"], row["windows across"], row["unreadable"]) == ("0", "0", "0")
    assert int(row["frames, dropped"].partition(",")[0]) > 100


@pytest.mark.parametrize("kind", ["h264", "h265", "http-mjpeg", "http-ts"])
@pytest.mark.parametrize("long", [False, True], ids=["at once", "reconnecting"])
def test_a_run_ends_in_time_while_its_camera_hangs(tmp_path: Path, video: Path, kind: str, long: bool) -> None:
    """The thread that reads is inside OpenCV or a socket, or connects again to a server that takes connections."""
    out, log = tmp_path / "out.jsonl", tmp_path / "log.txt"
    command = [sys.executable, "-c", "from stpr.runtime.cli import run; run()", "--headless", "--wait"]
    command += ["--json", str(out), "--bundle", str(make_bundle(tmp_path / "bundles"))]
    with camera_and_process(video, kind) as (url, server), log.open("w") as said:
        run = subprocess.Popen([*command, "--source", url], stderr=said)
        try:
            wait_for(lambda: out.exists() and b'"known"' in out.read_bytes())
            os.killpg(server.pid, signal.SIGSTOP)
            time.sleep(0.5)
            if long:
                wait_for(lambda: "reconnecting until it does" in log.read_text())
                time.sleep(1)
            begun = time.monotonic()
            run.send_signal(signal.SIGTERM)
            run.wait(20)
            took = time.monotonic() - begun
        finally:
            run.kill()
            run.wait()
    lines = log.read_text().splitlines()
    assert run.returncode == 0, lines
    assert re.match(r"\d+ frames, ", lines[-1])
    assert took < 4  # two seconds, and what a busy machine adds
    assert all(json.loads(line) for line in out.read_text().splitlines())


def wait_for(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_who_may_look(video: Path, auth: str) -> None:
    with camera(video, "h264", "--login", "me:s ecret", "--auth", auth) as url:
        with closing(opened(url, SourceOptions(login=("me", "s ecret")))) as source:
            assert next(iter(source)).image.shape == (240, 320, 3)
        for login in (("me", "wrong"), None):
            with pytest.raises(
                SourceError, match=r"unauthorised, the server requires other credentials \(401\)"
            ) as caught:
                opened(url, SourceOptions(login=login))
            assert caught.value.code == "unauthorised"
            assert "wrong" not in caught.value.message


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ["h264", "h265", "mjpeg"])
def test_what_a_camera_sends_and_over_what(
    video: Path, kind: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FFMPEG_OPTIONS, raising=False)
    options = SourceOptions(transport=transport)  # type: ignore[arg-type]
    with camera(video, kind) as url, closing(opened(url, options)) as source:
        frames = [frame for frame, _ in zip(source, range(20), strict=False)]
    assert source.origin.is_live
    assert frames[-1].image.shape == (240, 320, 3)
    assert f"rtsp_transport;{transport}|" in os.environ[FFMPEG_OPTIONS]
