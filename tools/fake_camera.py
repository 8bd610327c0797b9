"""Fake network camera on localhost: plays a real clip as an endless stream, with a stamp in each frame's corner.

    python tools/fake_camera.py KIND VIDEO --port 8554 --view 1

prints the stream's address. KIND is the codec of an RTSP stream served by GStreamer (h264, h265, mjpeg) or an HTTP
stream (http-mjpeg, http-ts, http-mp4). The stamp encodes the camera, the frame's number and the time it was taken.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image

RTSP: Final = ("h264", "h265", "mjpeg")
HTTP: Final = ("http-mjpeg", "http-ts", "http-mp4")
KINDS: Final = (*RTSP, *HTTP)
SYSTEM_PYTHON: Final = "/usr/bin/python3"  # which has GStreamer's bindings
BLOCK: Final = 8  # pixels a side, of 8 x 8 blocks: a bit each
BITS: Final = (6, 16, 26, 16)  # view, number, milliseconds, checksum of the others


class Stamp(NamedTuple):
    """The camera that took a frame, the frame's number, and when it was taken (time.time)."""

    view: int
    number: int
    at: float


def stamped(image: Image, stamp: Stamp) -> Image:
    """The frame with the stamp in its corner."""
    values = [stamp.view, stamp.number, round(1000 * stamp.at)]
    values = [value % (1 << bits) for value, bits in zip(values, BITS, strict=False)]
    text = "".join(f"{value:0{bits}b}" for value, bits in zip([*values, _sum(values)], BITS, strict=True))
    blocks = np.array([*map(int, text)], np.uint8).reshape(8, 8) * 255
    image[: 8 * BLOCK, : 8 * BLOCK] = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[..., None]
    return image


def read_stamp(image: Image, now: float) -> Stamp | None:
    """The stamp of a frame that was taken within the last days; None if it can't be read."""
    corner = image[: 8 * BLOCK, : 8 * BLOCK].mean(axis=2).reshape(8, BLOCK, 8, BLOCK).mean(axis=(1, 3))
    text = "".join("1" if light > 127 else "0" for light in corner.ravel())
    values, at = [], 0
    for bits in BITS:
        values.append(int(text[at : at + bits], 2))
        at += bits
    if values[-1] != _sum(values[:-1]):
        return None
    period = (1 << BITS[2]) / 1000
    age = (now - values[2] / 1000) % period
    return Stamp(values[0], values[1], now - (age if age < period / 2 else age - period))


def _sum(values: list[int]) -> int:
    return zlib.crc32(repr(values).encode()) % (1 << BITS[3])


class Scene(NamedTuple):
    """What a camera looks at."""

    video: Path
    view: int
    size: tuple[int, int]  # width, height
    fps: int

    def frames(self) -> Iterator[Image]:
        """Yield BGR frames at the given rate, endlessly; a late frame delays all later ones by as much."""
        pictures, due = self._pictures(), time.monotonic()
        for number in itertools.count():
            due = max(due + 1 / self.fps, time.monotonic() - 1 / self.fps)
            time.sleep(max(0.0, due - time.monotonic()))
            yield stamped(next(pictures).copy(), Stamp(self.view, number, time.time()))

    def _pictures(self) -> Iterator[Image]:
        device = cv2.VideoCapture(str(self.video))
        found: list[Image] = []
        while len(found) < 100:
            read, image = device.read()
            if not read:
                break
            found.append(np.asarray(cv2.resize(image, self.size), np.uint8))
        return itertools.cycle(found)


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("video", type=click.Path(path_type=Path, exists=True))
@click.option("--port", type=int, default=8554, show_default=True)
@click.option("--view", type=click.IntRange(0, 63), default=0, help="In the stamp.")
@click.option("--size", default="320x240", show_default=True)
@click.option("--fps", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--login", metavar="USER:PASSWORD", help="Of an RTSP stream.")
@click.option("--auth", type=click.Choice(["basic", "digest"]), default="digest", show_default=True)
def main(*, kind: str, video: Path, port: int, view: int, **options: Any) -> None:
    """Serve VIDEO as a camera stream."""
    width, _, height = options["size"].partition("x")
    scene = Scene(video, view, (int(width), int(height)), options["fps"])
    if kind in RTSP:
        click.echo(f"rtsp://127.0.0.1:{port}/live")
        given = {"port": port, "codec": kind, **options}
        command = [SYSTEM_PYTHON, str(Path(__file__).with_name("gst_rtsp.py"))]
        command += [f"--{name}={value}" for name, value in given.items() if value is not None]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as server_process, suppress(BrokenPipeError):
            assert server_process.stdin is not None
            for frame in scene.frames():
                server_process.stdin.write(frame.tobytes())
        sys.exit(server_process.returncode)
    click.echo(f"http://127.0.0.1:{port}/live{ {'http-mjpeg': '', 'http-ts': '.ts', 'http-mp4': '.mp4'}[kind] }")
    Handler.kind, Handler.scene = kind, scene
    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


class Handler(BaseHTTPRequestHandler):
    """Serves the stream from the moment of the request."""

    kind = "http-mjpeg"
    scene = Scene(Path(), 0, (0, 0), 0)

    def do_GET(self) -> None:
        """Send the stream until the client disconnects."""
        self.send_response(200)
        types = {"http-mjpeg": "multipart/x-mixed-replace; boundary=frame", "http-ts": "video/mp2t"}
        self.send_header("Content-Type", types.get(self.kind, "video/mp4"))
        self.end_headers()
        with suppress(OSError):
            if self.kind == "http-mjpeg":
                self._send_pictures()
            else:
                self._send_encoded()

    def log_message(self, format: str, *args: object) -> None:
        """Don't log requests."""

    def _send_pictures(self) -> None:
        for frame in self.scene.frames():
            jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def _send_encoded(self) -> None:
        width, height = self.scene.size
        form = "mpegts" if self.kind == "http-ts" else "mp4 -movflags frag_every_frame+empty_moov+default_base_moof"
        command = (
            f"{shutil.which('ffmpeg')} -v error -f rawvideo -pix_fmt bgr24 -s {width}x{height} -r {self.scene.fps}"
            " -use_wallclock_as_timestamps 1 -i - -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p"
            f" -g {self.scene.fps} -fps_mode passthrough -flush_packets 1 -f {form} -"
        )
        with subprocess.Popen(command.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as encoder:
            threading.Thread(target=self._fill, args=(encoder,), daemon=True).start()
            try:
                while piece := encoder.stdout.read1(1 << 16):  # type: ignore[union-attr]
                    self.wfile.write(piece)
            finally:
                encoder.kill()

    def _fill(self, encoder: subprocess.Popen[bytes]) -> None:
        assert encoder.stdin is not None
        with suppress(OSError, ValueError):  # it was killed, or left
            for frame in self.scene.frames():
                encoder.stdin.write(frame.tobytes())


if __name__ == "__main__":
    main()
