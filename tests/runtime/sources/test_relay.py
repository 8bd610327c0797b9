"""Recordings behind real servers that break off: every cut is reported, and nothing that is whole."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import open_source
from stpr.runtime.sources.network import SourceOptions
from stpr.runtime.sources.relay import Relay
from tests.factories import make_video

FRAMES = 60
SOON = SourceOptions(stall_seconds=1.0)


class Cutting(BaseHTTPRequestHandler):
    """Serves /HOW/SHARE/FILE: `how` has words of how it is sent; SHARE is how much of it comes, 1 all of it."""

    folder = Path()
    asked = 0

    def do_GET(self) -> None:
        Cutting.asked += 1
        _, how, share, name = self.path.split("/")
        content = (self.folder / name).read_bytes()
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if "ranges" in how else None
        start, total = 0 if begin is None else int(begin[1]), len(content)
        self.send_response(200 if begin is None else 206)
        if begin is not None:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        chunked = "chunked" in how
        self.send_header(*("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(total - start)))
        self.end_headers()
        sent = content[start : max(start, round(total * float(share)))]
        with suppress(OSError):  # a reader that has gone
            for at in range(0, len(sent), 5000):
                piece = sent[at : at + 5000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if chunked and share == "1":
                self.wfile.write(b"0\r\n\r\n")
            if "silent" in how:
                time.sleep(2.5)
            if "reset" in how:
                time.sleep(0.3)  # what was sent is read before
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server(folder: Path) -> Iterator[str]:
    Cutting.folder, Cutting.asked = folder, 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Cutting) as serving:
        serving.daemon_threads = True
        serving.block_on_close = False
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def make_film(folder: Path, name: str) -> None:
    """A video in the container of its name; .mjpeg is one picture after the other, and says nothing about itself."""
    make_video(folder / name.replace(".mjpeg", ".avi"), frames=FRAMES, fps=15, size=(320, 240))
    if name.endswith(".mjpeg"):
        image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        pictures = [cv2.imencode(".jpg", np.roll(image, number))[1].tobytes() for number in range(FRAMES)]
        (folder / name).write_bytes(b"".join(pictures))


@pytest.mark.parametrize("name", ["film.ts", "film.mjpeg", "film.mkv"])
@pytest.mark.parametrize(
    ("how", "share", "said"),
    [
        ("length", "0.6", r"gone, the server hung up [\d,]+ bytes before the end; watch it again"),
        ("length", "0.97", r"gone, the server hung up [\d,]+ bytes before the end"),
        ("length-reset", "0.6", r"gone, the server hung up; watch"),
        ("length-silent", "0.6", r"timeout, nothing more came within 1 s; watch"),
        ("length-ranges", "0.6", r"gone, the server hung up [\d,]+ bytes before the end"),
    ],
)
def test_a_recording_that_is_cut_is_one_line(tmp_path: Path, name: str, how: str, share: str, said: str) -> None:
    make_film(tmp_path, name)
    seen = []
    with (
        server(tmp_path) as address,
        pytest.raises(SourceError, match=rf"(/{name} broke off after \d+ frames: |^no stream at .*: ){said}") as caught,
        closing(open_source(f"{address}/{how}/{share}/{name}", SOON)) as source,
    ):
        seen += [frame.index for frame in source]
    assert caught.value.code in {"gone", "timeout"}
    assert len(seen) < FRAMES


@pytest.mark.parametrize("name", ["film.mkv", "film.avi"])
def test_chunks_without_the_last_one_are_a_cut(tmp_path: Path, name: str) -> None:
    """Cut so late that the container, which estimates its frames, would not tell."""
    make_film(tmp_path, name)
    with (
        server(tmp_path) as address,
        closing(open_source(f"{address}/chunked/0.97/{name}", SOON)) as source,
        pytest.raises(
            SourceError, match=r"broke off after \d+ frames: gone, the server hung up without the last chunk"
        ),
    ):
        list(source)


@pytest.mark.parametrize("name", ["film.ts", "film.mjpeg", "film.mkv", "film.mp4", "film.avi"])
@pytest.mark.parametrize("how", ["length", "length-ranges", "length-ranges-silent", "chunked"])
def test_a_whole_recording_is_not_called_cut(tmp_path: Path, name: str, how: str) -> None:
    make_film(tmp_path, name)
    if (how == "chunked" and name in {"film.ts", "film.mjpeg"}) or ("ranges" not in how and name == "film.mp4"):
        pytest.skip("taken for a camera, or not to be read there")
    with server(tmp_path) as address, closing(open_source(f"{address}/{how}/1/{name}", SOON)) as source:
        assert len(list(source)) == FRAMES


def test_a_server_that_begins_anew_does_not_go_on(tmp_path: Path) -> None:
    """FFmpeg asks for the rest of what was cut; an answer from the beginning leaves the recording cut."""
    (tmp_path / "film").write_bytes(bytes(100_000))
    with server(tmp_path) as address, closing(Relay(f"{address}/length/0.5/film", 1.0)) as relay:
        for wanted, cut in (("bytes=0-", True), ("bytes=50000-", True)):
            answer = relay.ask(wanted)
            assert sum(map(len, relay.pieces(answer))) == 50_000
            assert (relay.cut is not None) is cut


def test_the_relay_answers_only_who_knows_its_address(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(bytes(1000))
    with server(tmp_path) as address, closing(Relay(f"{address}/length/1/film", 1.0)) as relay:
        with urlopen(relay.address, timeout=5) as answer:
            assert len(answer.read()) == 1000
        place = relay.address.removesuffix(relay.path)
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{place}/film", timeout=5)
    with pytest.raises(OSError, match="refused"):
        urlopen(relay.address, timeout=5)
