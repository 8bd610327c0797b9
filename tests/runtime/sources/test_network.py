"""A real stream over the loopback: MJPEG over HTTP, as cheap cameras send it."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.sampling import ClipSpec
from stpr.runtime.recognizer import run
from stpr.runtime.result import Result
from stpr.runtime.session import Session
from stpr.runtime.sources import open_source
from stpr.runtime.sources.live import LiveSource
from stpr.runtime.sources.network import SourceOptions, connect_stream
from stpr.runtime.window import FeatureWindow
from tests.factories import MOTION, make_bundle, make_video
from tests.runtime.runs import recorded

FPS = 30


class Camera(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.alive, self.silent = True, False
        self.cuts = 0  # how often all connections were cut
        self.burst = 1  # frames that come at once, after as many periods of silence

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video"


class Handler(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        number, cuts = 0, self.server.cuts
        while self.server.alive and self.server.cuts == cuts:
            if not self.server.silent:
                image = np.full((48, 64, 3), (0, 0, 250), np.uint8)  # red, in OpenCV's BGR
                jpeg = cv2.imencode(".jpg", cv2.circle(image, (number % 64, 24), 9, (0, 0, 0), -1))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write((head.encode() + jpeg + b"\r\n") * self.server.burst)
                number += 1
            time.sleep(self.server.burst / FPS)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def camera(port: int = 0) -> Iterator[Camera]:
    server = Camera(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.alive = False
        server.shutdown()
        server.server_close()
        thread.join()


def live(url: str) -> LiveSource:
    return LiveSource("stream", partial(connect_stream, url, SourceOptions(stall_seconds=1.0)), first_pause=0.05)


def test_frames_come_at_the_cameras_pace_in_rgb() -> None:
    with camera() as server, closing(live(server.url)) as source:
        frames = [frame for frame, _ in zip(source, range(30), strict=False)]
    assert frames[-1].image[0, 0, 0] > 240
    assert frames[-1].image[0, 0, 2] < 15
    seconds = frames[-1].captured_at - frames[0].captured_at
    assert 0.5 < seconds < 3  # at 30 a second, whatever the stream announces


def test_a_killed_server_empties_the_window_and_is_found_again() -> None:
    window = FeatureWindow(ClipSpec(frames=4, span_seconds=0.4))
    states = []
    with camera() as server:
        source = live(server.url)
        port = server.server_port
        frames = iter(source)
        while not window.is_full():
            frame = next(frames)
            window.push(np.array([frame.captured_at]), frame.captured_at)
        states.append(window.is_full())
    time.sleep(1.2)
    with camera(port), closing(source):
        back = time.monotonic()
        while not states[-1] or len(states) == 1:
            frame = next(frames)
            if frame.captured_at > back:
                window.push(np.array([frame.captured_at]), frame.captured_at)
                states.append(window.is_full())
    assert source.reconnects >= 1
    assert states[1] is False
    assert window.as_clips().min() > back


@pytest.mark.parametrize("breaks", [1, 3])
def test_after_the_shortest_break_all_begins_anew(tmp_path: Path, breaks: int) -> None:
    """A connection that is cut and back at once: no window, no pair of grey pictures and no event goes across."""
    model = recorded(open_bundle(make_bundle(tmp_path, motion=MOTION)))
    seen: list[Result] = []
    with camera() as server, closing(live(server.url)) as source:
        session = Session(model, source.origin)
        kept: list[int] = []
        for result in run(session, source):
            seen.append(result)
            assert session.trail is not None
            kept.append(len(session.trail))
            if result.prediction is None or result.prediction.state != "known":
                continue
            if result.frame.connection == breaks:
                break
            if server.cuts == result.frame.connection:
                server.cuts += 1
    assert source.reconnects == breaks
    for connection in range(breaks + 1):
        part = [
            (result, count) for result, count in zip(seen, kept, strict=True) if result.frame.connection == connection
        ]
        assert part[0][0].began
        assert part[0][1] == 1
        states = [result.prediction.state for result, _ in part if result.prediction is not None]
        assert states[0] == "warming_up"
        assert states[-1] == "known"


class Files(BaseHTTPRequestHandler):
    """Serves files; the second half of a slow one only when told to, that of a cut one when asked for again."""

    folder, held = Path(), threading.Event()
    asked = 0

    def do_GET(self) -> None:
        content = (self.folder / self.path.strip("/").partition("?")[0]).read_bytes()
        Files.asked += 1
        if "gone" in self.path and Files.asked > 2:
            self.send_error(404)
            return
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if "cut" in self.path else None
        self.send_response(200 if begin is None else 206)
        if begin is not None:
            whole, content = len(content), content[int(begin[1]) :]
            self.send_header("Content-Range", f"bytes {begin[1]}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        with suppress(OSError):  # a reader that has gone
            self.wfile.write(content[:half])
            if "slow" in self.path:
                self.held.wait(20)
            if not re.search("broken|cut|gone", self.path) or len(content) < 2000:
                self.wfile.write(content[half:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def shelf(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files."""
    Files.folder, Files.asked = folder, 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Files.held.clear()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        Files.held.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts"])
def test_a_film_behind_an_address_is_a_recording(tmp_path: Path, suffix: str) -> None:
    make_video(tmp_path / f"clip{suffix}", frames=24, fps=8)
    with shelf(tmp_path) as address, closing(open_source(f"{address}/clip{suffix}?key=secret")) as source:
        assert not source.origin.is_live
        assert source.origin.name == f"{address}/clip{suffix}?***"
        frames = list(source)
    assert [frame.media_time for frame in frames] == pytest.approx([index / 8 for index in range(24)], abs=1e-3)
    assert (source.dropped, source.reconnects) == (0, 0)
    with camera() as server, closing(open_source(server.url)) as camera_source:
        assert camera_source.origin.is_live
        assert next(iter(camera_source)).media_time is None


def test_a_film_whose_layout_can_not_be_read_is_not_called_a_codec(tmp_path: Path) -> None:
    """mp4 says at its end how it is laid out; this server gives files from their beginning alone."""
    make_video(tmp_path / "clip.mp4", frames=40, fps=8, size=(640, 480))
    with shelf(tmp_path) as address, closing(open_source(f"{address}/clip.mp4")) as source:
        seen = iter(source)
        with pytest.raises(SourceError, match=r"its index is at its end, .* range requests; .*\+faststart NEW\.mp4\.$"):
            list(seen)


def test_what_is_behind_an_address_instead_of_a_film_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(gzip.compress(bytes(range(256)) * 8))
    (tmp_path / "noise.mp4").write_bytes(b"no video at all" * 100)
    with shelf(tmp_path) as address:
        with pytest.raises(SourceError, match=r"^no video at .*: what is there is compressed by gzip; unpack"):
            open_source(f"{address}/clip.mp4")
        with pytest.raises(SourceError, match="codec, the video there is damaged, truncated or in an unknown format"):
            open_source(f"{address}/noise.mp4")


def test_no_frame_of_a_film_is_lost_by_a_slow_reader(tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4", frames=24, fps=240)
    seen = []
    with shelf(tmp_path) as address, closing(open_source(f"{address}/clip.mp4")) as source:
        for frame in source:
            seen.append(frame.index)
            time.sleep(0.01)
    assert seen == list(range(24))


def test_a_film_whose_server_waits_can_be_stopped(tmp_path: Path) -> None:
    make_video(tmp_path / "slow.avi", frames=400, fps=8, size=(320, 240))
    with shelf(tmp_path) as address, closing(open_source(f"{address}/slow.avi")) as source:
        for frame in source:
            if frame.index == 20:
                timer = threading.Timer(0.3, source.stop)
                timer.start()
        timer.join()
        assert not Files.held.is_set()
        assert 20 <= frame.index < 399


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_film_whose_connection_is_cut_again_and_again_is_watched_to_its_end(tmp_path: Path, suffix: str) -> None:
    make_video(tmp_path / f"cut{suffix}", frames=40, fps=8, size=(320, 240))
    with shelf(tmp_path) as address, closing(open_source(f"{address}/cut{suffix}")) as source:
        assert len(list(source)) == 40
    assert Files.asked > 3


@pytest.mark.parametrize(("name", "code", "words"), [("slow", "timeout", "nothing more"), ("gone", "gone", "hung up")])
def test_a_film_whose_server_is_lost_is_not_called_damaged(tmp_path: Path, name: str, code: str, words: str) -> None:
    make_video(tmp_path / f"{name}.avi", frames=400, fps=8, size=(320, 240))
    options, said = SourceOptions(stall_seconds=1.0), rf"/{name}\.avi broke off after \d+ frames: .*{words}"
    with (
        shelf(tmp_path) as address,
        closing(open_source(f"{address}/{name}.avi", options)) as source,
        pytest.raises(SourceError, match=said) as caught,
    ):
        list(source)
    assert caught.value.code == code


def test_a_server_that_falls_silent_is_left_for_a_new_connection() -> None:
    with camera() as server, closing(live(server.url)) as source:
        frames = iter(source)
        next(frames)
        server.silent = True
        started = time.monotonic()
        while source.reconnects == 0 and time.monotonic() - started < 8:
            time.sleep(0.05)
            if time.monotonic() - started > 2:
                server.silent = False
        assert source.reconnects == 1
        assert next(frames).captured_at > started


def test_a_slow_reader_is_never_far_behind() -> None:
    with camera() as server, closing(live(server.url)) as source:
        ages = []
        for frame, _ in zip(source, range(8), strict=False):
            ages.append(time.monotonic() - frame.captured_at)
            time.sleep(0.15)
        assert source.dropped > 8
    assert max(ages) < 0.5
    assert np.mean(ages[4:]) < np.mean(ages[:4]) + 0.1


def test_frames_that_come_in_bursts_are_all_seen() -> None:
    """Fifteen at once and then half a second of nothing, as over a wireless network; each takes 10 ms to handle."""
    with camera() as server:
        server.burst = 15
        with closing(live(server.url)) as source:
            frames, seen = [], []
            for frame, _ in zip(source, range(120), strict=False):
                frames.append(frame.index)
                seen.append(frame.captured_at)
                time.sleep(0.01)
    assert frames == list(range(120))
    assert source.dropped == 0
    assert np.median(np.diff(seen[75:])) == pytest.approx(1 / FPS, rel=0.2)  # at the camera's pace all the same
