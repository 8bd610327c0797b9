"""Real streams with a clock of their own, as MPEG-TS from FFmpeg over the loopback, and readers that are too slow."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources import Source, SourceOptions, open_source, stream
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.ffmpeg import FFMPEG_OPTIONS
from stpr.runtime.sources.network import connect_stream
from stpr.runtime.sources.stream import StreamCapture

FFMPEG = shutil.which("ffmpeg")
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="FFmpeg's command is not installed")
FPS = 20
BLOCK = bytes(1 << 20)
FORMS = {"ts": "-f mpegts", "mp4": "-f mp4 -movflags frag_keyframe+empty_moov"}


class Encoded(BaseHTTPRequestHandler):
    """What FFmpeg makes of a test picture, at its own pace, from the moment of the request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        source = f"testsrc2=size=160x120:rate={FPS}"
        command = f"{FFMPEG} -v error -re -f lavfi -i {source} -c:v libx264 -preset ultrafast -tune zerolatency -g 20"
        form = FORMS[self.path.rpartition(".")[2]].split()
        if slow := re.search(r"slow([\d.]+)\.", self.path):
            command = command.replace(f"rate={FPS}", f"rate={slow[1]}").replace("-g 20", "-g 1 -flush_packets 1")
        if "whole" in self.path:  # as a film that lies there: all at once, and then the end
            command = command.replace("-re -f lavfi", "-f lavfi -t 12")
        begun = time.monotonic()
        with subprocess.Popen([*command.split(), *form, "-"], stdout=subprocess.PIPE) as encoder:
            assert encoder.stdout is not None
            with suppress(OSError):
                while piece := encoder.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                    self.wfile.write(piece)
                    if "hang" in self.path and time.monotonic() - begun > 4:
                        time.sleep(5)
                        break
            encoder.kill()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def address(form: str = "ts") -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Encoded) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/live.{form}"
        server.shutdown()
        thread.join()


class Slow:
    """A real capture on a machine that needs `decode` seconds of work for a frame, and `show` for its picture."""

    def __init__(self, url: str, *, decode: float = 0.0, show: float = 0.0) -> None:
        self._device = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self.decode, self.show = decode, show
        self.grabbed_at = 0.0

    def grab(self) -> bool:
        work(self.decode)
        grabbed = self._device.grab()
        self.grabbed_at = time.monotonic()
        return grabbed

    def retrieve(self) -> tuple[bool, Image]:
        work(self.show)
        read, image = self._device.retrieve()
        return read, np.asarray(image, np.uint8)

    def get(self, number: int) -> float:
        return self._device.get(number)

    def release(self) -> None:
        self._device.release()


def work(seconds: float) -> None:
    """Keep this thread busy as a decoder does, without Python's lock."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.sha256(BLOCK)


def read_all(capture: Capture, begun: list[float] | None = None) -> None:
    """To the end; notes when each wait for a frame began."""
    while capture.read() is not None:
        if begun is not None:
            begun.append(time.monotonic())


@pytest.mark.parametrize("form", FORMS)
def test_the_burst_from_before_the_start_is_passed_over(form: str) -> None:
    with address(form) as url, closing(open_source(url)) as source:
        frames = [frame for frame, _ in zip(source, range(15), strict=False)]
        ages = [time.monotonic() - frame.captured_at for frame in frames[-1:]]
    assert source.origin.is_live
    assert 0 < frames[0].index <= source.dropped  # OpenCV had read several frames to know the stream
    steps = np.diff([frame.captured_at for frame in frames])
    assert steps == pytest.approx(
        np.diff([frame.index for frame in frames]) / FPS, abs=0.01
    )  # the camera's own times, to the network's
    assert max(ages) < stream.BUDGET_SECONDS  # as promised, on a busy machine too; what was passed over is older


def test_a_reader_that_shows_too_slowly_stays_near_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BUDGET_SECONDS", 0.4)
    with address() as url:
        device = Slow(url, show=2.5 / FPS)
        with closing(StreamCapture(device, threads=1, stall_seconds=5)) as capture:  # type: ignore[arg-type]
            ages, before = [], 0
            for turn in range(15):
                shot = capture.read()
                assert shot is not None
                assert shot.seen_at is not None
                before = capture.dropped if turn == 0 else before
                ages.append(device.grabbed_at - shot.seen_at)
    assert max(ages) <= 0.4 + 0.02
    assert capture.dropped > before + 3


def test_a_reader_that_can_not_catch_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BUDGET_SECONDS", 0.4)
    monkeypatch.setattr(stream, "CATCH_UP_SECONDS", 1.0)
    with address() as url:
        device = Slow(url)
        with closing(StreamCapture(device, threads=1, stall_seconds=5)) as capture:  # type: ignore[arg-type]
            assert capture.read() is not None
            device.decode = 3 / FPS
            with pytest.raises(SourceError, match=r"decodes it too slowly and is \d+\.\d s behind") as caught:
                read_all(capture)
    assert caught.value.code == "late"


def test_a_clock_that_is_slow_is_not_taken_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BUDGET_SECONDS", 0.2)
    monkeypatch.setattr(stream, "CATCH_UP_SECONDS", 1.2)

    class SlowClock(Slow):
        def get(self, number: int) -> float:
            return 0.8 * super().get(number)

    with address() as url, closing(StreamCapture(SlowClock(url), threads=1, stall_seconds=5)) as capture:  # type: ignore[arg-type]
        begun, shown = time.monotonic(), 0
        while time.monotonic() - begun < 5:
            shot = capture.read()
            assert shot is not None
            shown += 1
    assert shown > FPS


def test_a_stream_that_hangs_is_noticed_when_its_time_is_over() -> None:
    """Not twice as late: what the decoder has held back comes out when the wait is given up."""
    options = SourceOptions(stall_seconds=1.5)
    with address() as url, closing(connect_stream(url.replace("live", "hang"), options)) as capture:
        begun = [time.monotonic()]
        with pytest.raises(SourceError, match=r"^no frame came for 1\.5 s"):
            read_all(capture, begun)
        assert 1.4 < time.monotonic() - begun[-1] < 2.5


def test_a_film_that_says_no_length_is_told_from_a_camera_that_broke() -> None:
    said = r"^it sent a video of 1\d s within \d\.\d s, without .* download it"
    with (
        address() as url,
        closing(connect_stream(url.replace("live", "whole"), SourceOptions())) as capture,
        pytest.raises(SourceError, match=said),
    ):
        read_all(capture)


def test_a_stream_of_a_frame_a_second_is_watched_at_that_rate() -> None:
    with address() as url, closing(open_source(url.replace("live", "slow1"))) as source:
        frames = [frame for frame, _ in zip(source, range(3), strict=False)]
    assert np.diff([frame.captured_at for frame in frames]) == pytest.approx(1.0, abs=0.05)
    assert {frame.connection for frame in frames} == {0}


def test_a_stream_of_too_few_frames_is_refused_with_the_reason() -> None:
    options = SourceOptions(stall_seconds=1.0)
    with (
        address() as url,
        closing(connect_stream(url.replace("live", "slow0.9"), options)) as capture,
        pytest.raises(SourceError, match=r"^it gives a frame every 1\.1 s, too few to be opened in time; choose"),
    ):
        read_all(capture)


def encoded(codec: str, path: Path, *, begins: float) -> bytes:
    """Two seconds of MPEG-TS in this codec."""
    source = ["-f", "lavfi", "-i", f"testsrc2=size=160x120:rate={FPS}:duration=2", "-c:v", codec, "-g", "20"]
    begin = ["-output_ts_offset", str(begins), "-f", "mpegts", str(path)]
    subprocess.run([str(FFMPEG), "-v", "quiet", "-y", *source, *begin], check=True)
    return path.read_bytes()


@pytest.mark.parametrize("again", [0, 2], ids=["from zero", "further"])
def test_a_codec_that_changes_under_way_is_told(again: float, tmp_path: Path) -> None:
    """Whether the times go on or begin again; then the file announces the frames of its first part alone."""
    parts = encoded("libx264", tmp_path / "a.ts", begins=0), encoded("mpeg2video", tmp_path / "b.ts", begins=again)
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with (
        closing(open_source(str(tmp_path / "both.ts"))) as source,
        pytest.raises(
            SourceError, match=r"was watched up to 1\.\d s: there its codec changed from h264 to mp.*split it"
        ),
    ):
        list(source)

    class Changing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for part in parts:
                    for at in range(20):
                        self.wfile.write(part[at * len(part) // 20 : (at + 1) * len(part) // 20])
                        time.sleep(0.1)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Changing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/live.ts"
            with (
                closing(connect_stream(url, SourceOptions())) as capture,
                pytest.raises(SourceError, match=r"^its codec changed from h264 to mp"),
            ):
                read_all(capture)
        finally:
            server.shutdown()


@contextmanager
def sender(source: str, *words: str) -> Iterator[None]:
    """FFmpeg, sending a test picture at its own pace."""
    command = [str(FFMPEG), "-v", "quiet", "-re", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-g", "20"]
    with subprocess.Popen([*command, "-preset", "ultrafast", "-tune", "zerolatency", *words]) as process:
        yield
        process.kill()


def opened(url: str) -> Source:
    """The stream, as soon as its sender is up."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return open_source(url)
        except SourceError as error:
            if error.code not in {"refused", "timeout"} or time.monotonic() > deadline:
                raise


def listens(port: int) -> bool:
    """Whether somebody listens, without a connection: FFmpeg as a server takes one alone."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("udp://127.0.0.1:6811", ("-f", "mpegts", "udp://127.0.0.1:6811?pkt_size=1316")),
        ("rtmp://127.0.0.1:6812/live/a", ("-f", "flv", "-listen", "1", "rtmp://127.0.0.1:6812/live/a")),
    ],
    ids=["udp", "rtmp"],
)
def test_other_protocols_from_a_real_sender(url: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """RTMP without sound: FFmpeg waits for it until OpenCV's patience ends, unless it is told to look for less."""
    monkeypatch.delenv(FFMPEG_OPTIONS, raising=False)
    with ExitStack() as running:
        running.enter_context(sender(f"testsrc2=size=160x120:rate={FPS}", *words))
        deadline = time.monotonic() + 20
        while url.startswith("rtmp") and not listens(6812) and time.monotonic() < deadline:
            time.sleep(0.02)
        source = running.enter_context(closing(opened(url)))
        frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    assert source.origin.is_live
    assert len(frames) == 10
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert {frame.connection for frame in frames} == {0}


def test_a_stream_in_segments_is_seen_at_its_own_pace(tmp_path: Path) -> None:
    """HLS: a second of frames at a time, none of which may be dropped for its age."""
    command = [str(FFMPEG), "-v", "quiet", "-re", "-f", "lavfi", "-i", f"testsrc2=size=160x120:rate={FPS}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(FPS)]
    command += ["-f", "hls", "-hls_time", "1", "-hls_flags", "delete_segments", str(tmp_path / "live.m3u8")]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(tmp_path)))
    with server, subprocess.Popen(command) as encoder:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            deadline = time.monotonic() + 20
            while len(list(tmp_path.glob("*.ts"))) < 4 and time.monotonic() < deadline:
                time.sleep(0.1)
            with closing(open_source(f"http://127.0.0.1:{server.server_port}/live.m3u8")) as source:
                arrivals, frames = [], []
                for frame, _ in zip(source, range(3 * FPS), strict=False):
                    arrivals.append(time.monotonic())
                    frames.append(frame)
        finally:
            encoder.kill()
            server.shutdown()
    assert source.origin.is_live
    assert np.diff([frame.index for frame in frames]) == pytest.approx(1.0)
    assert np.diff([frame.captured_at for frame in frames]) == pytest.approx(1 / FPS, abs=0.01)
    assert np.percentile(np.diff(arrivals), 90) < 3 / FPS
    ages = [at - frame.captured_at for at, frame in zip(arrivals, frames, strict=True)]
    assert 0.5 < ages[-1] < 3.0


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_whose_pictures_are_late_is_not_told_to_send_others() -> None:
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            time.sleep(2)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            with pytest.raises(SourceError, match=r"nothing came within 0\.5 s") as caught:
                open_source(f"http://127.0.0.1:{server.server_port}/live.ts", SourceOptions(stall_seconds=0.5))
        finally:
            server.shutdown()
    assert caught.value.code == "timeout"
