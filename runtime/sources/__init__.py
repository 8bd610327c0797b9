"""Sources of frames. Read in this order: frame, files (recorded), capture, network, live (a thread around a capture).

A source is `N` (camera), `v4l2://DEV`, `csi://N`, `rtsp://`, `http(s)://`, `rtmp://`, `srt://`, `udp://`, `file://`, a
file, a folder of images, `-` (MJPEG or YUV4MPEG2 on standard input), or `synthetic:motions` (the embedded set as an
endless stream, with the true label on each frame). A URL is a recording if it has an end (fetched: read in a thread),
otherwise live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPResponse
from pathlib import Path

from stpr.runtime import motions
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import local_path, masked, shown
from stpr.runtime.log import Overdue
from stpr.runtime.sources.capture import Capture, MotionsCapture, connect_camera, connect_csi, connect_v4l2
from stpr.runtime.sources.fetched import Fetched
from stpr.runtime.sources.files import open_recorded, open_video
from stpr.runtime.sources.frame import Frame, Origin, Source, WhenBehind
from stpr.runtime.sources.live import LiveSource
from stpr.runtime.sources.network import (
    SourceOptions,
    connect_stream,
    live_capture,
    open_address,
    why_lost,
    with_login,
)
from stpr.runtime.sources.outage import Outage
from stpr.runtime.sources.pipe import NAME as PIPE_NAME
from stpr.runtime.sources.pipe import open_pipe
from stpr.runtime.sources.waiting import Waiting

__all__ = ["SYNTHETIC", "Frame", "Origin", "Source", "SourceOptions", "WhenBehind", "open_source", "shows_login"]

SYNTHETIC = "synthetic:motions"
PIPE = "-"
DEFAULTS = SourceOptions()
PATHS = ("/", "./", "../")  # prefixes of paths, whatever follows
CAMERAS = ("/dev/video", "/dev/v4l/")  # prefixes of cameras


def open_source(uri: str, options: SourceOptions = DEFAULTS) -> Source:
    """Open a source; live ones connect immediately, or are waited for. Raises SourceError with a fix."""
    if uri.startswith(CAMERAS):
        uri = f"v4l2://{uri}"
    if "://" in uri and not uri.startswith(PATHS):
        scheme, separator, rest = uri.partition("://")
        uri = scheme.lower() + separator + rest
    name = f"camera {uri}" if uri.isdecimal() else PIPE_NAME if uri == PIPE else masked(shown(uri))
    if options.wait and (uri.isdecimal() or ("://" in uri and not uri.startswith(PATHS))):
        return Waiting(name, partial(_open_now, uri, options))
    with Overdue(Outage(name).awaits):
        return _open_now(uri, options)


def shows_login(uri: str) -> bool:
    """Whether a URL contains a password, which is visible in the list of processes."""
    return "://" in uri and not uri.startswith(PATHS) and "***" in masked(uri).partition("?")[0]


def _open_now(uri: str, options: SourceOptions) -> Source:
    if uri.isdecimal():
        return LiveSource(f"camera {uri}", partial(connect_camera, int(uri)))
    if uri == PIPE:
        return open_pipe()
    if uri == SYNTHETIC:
        return LiveSource(uri, MotionsCapture, fps=motions.FPS)
    scheme, separator, rest = uri.partition("://")
    if separator and not uri.startswith(PATHS):
        if scheme not in _SCHEMES:
            raise SourceError(f"sources of kind {shown(scheme)}:// are unknown; known are {', '.join(_SCHEMES)}.")
        return _SCHEMES[scheme](uri, rest, options)
    return _open_path(uri, options)


def _open_path(uri: str, options: SourceOptions) -> Source:
    if not uri:
        raise SourceError("the source has no name; write --source URI, such as rtsp://… or a file, or --camera 0.")
    path = Path(uri)
    if path.exists() and not path.is_dir() and not path.is_file():
        raise SourceError(
            f"{shown(uri)} is a pipe or a device, not a video file; pipe MJPEG from it: … | stpr-run --source {PIPE}"
        )
    if not path.is_dir() and not path.is_file():
        raise SourceError(
            f"there is no file or folder {masked(shown(uri))}; check the path (an address begins with its kind, such as"
            f" rtsp://), or try --source {SYNTHETIC}."
        )
    return open_recorded(path, options.threads)


def _open_file(uri: str, rest: str, options: SourceOptions) -> Source:
    host, slash, _ = rest.partition("/")
    if host not in {"", "localhost"} or not slash:
        raise SourceError(f"{shown(uri)} is not a file on this machine; write file:///PATH.")
    return open_recorded(local_path(uri), options.threads)


def _open_stream(uri: str, _: str, options: SourceOptions) -> Source:
    name, uri = masked(uri), with_login(uri, options.login)
    found = open_address(uri, options)
    if found.is_film and not isinstance(found.opened, HTTPResponse):
        lost = partial(why_lost, uri, found, options)
        return Fetched(open_video(found.opened, name, why=found.why, lost=lost), found.relay)
    first: list[Capture] = [live_capture(uri, found, options)]
    return LiveSource(name, lambda: first.pop() if first else connect_stream(uri, options))


def _open_v4l2(uri: str, device: str, _: SourceOptions) -> Source:
    if not device:
        raise SourceError("v4l2:// names no device; write v4l2:///dev/video0 or a link of /dev/v4l/by-id.")
    return LiveSource(uri, partial(connect_v4l2, device))


def _open_csi(uri: str, sensor: str, _: SourceOptions) -> Source:
    return LiveSource(uri, partial(connect_csi, sensor))


_SCHEMES: Mapping[str, Callable[[str, str, SourceOptions], Source]] = {
    "csi": _open_csi,
    "v4l2": _open_v4l2,
    "rtsp": _open_stream,
    "rtsps": _open_stream,
    "http": _open_stream,
    "https": _open_stream,
    "rtmp": _open_stream,
    "srt": _open_stream,
    "udp": _open_stream,
    "file": _open_file,
}
