"""Serve raw frames from standard input over RTSP with GStreamer; runs with the system's own Python.

    apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad,ugly}
    some frames in BGR | /usr/bin/python3 tools/gst_rtsp.py --port 8554 --size 320x240 --fps 15 --codec h264

The stream is at rtsp://127.0.0.1:PORT/live. Frames that arrive while no client is connected are dropped.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from typing import Any, Final

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

# One key frame a second, as cameras send them.
ENCODERS: Final = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=1500 key-int-max={fps}"
    " ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=1500 key-int-max={fps}"
    " ! rtph265pay name=pay0 pt=96 config-interval=-1",
    "mjpeg": "jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    """Serve until killed, or until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--fps", type=int, required=True)
    parser.add_argument("--codec", choices=ENCODERS, default="h264")
    parser.add_argument("--login", help="USER:PASSWORD")
    parser.add_argument("--auth", choices=["basic", "digest"], default="digest")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    Gst.init(None)
    source = (
        "appsrc name=source is-live=true do-timestamp=true format=time block=false"
        f" caps=video/x-raw,format=BGR,width={width},height={height},framerate={options.fps}/1"
    )
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( {source} ! videoconvert ! video/x-raw,format=I420 ! {ENCODERS[options.codec].format(fps=options.fps)} )"
    )
    factory.set_shared(True)
    sources: list[Any] = []
    factory.connect("media-configure", lambda _, media: _configured(media, sources))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    server.get_mount_points().add_factory("/live", factory)
    if options.login:
        _lock(server, factory, options.login, options.auth)
    server.attach(None)
    threading.Thread(target=_feed, args=(sources, 3 * width * height), daemon=True).start()
    GLib.MainLoop().run()


def _configured(media: Any, sources: list[Any]) -> None:
    source = media.get_element().get_by_name("source")
    sources.append(source)
    media.connect("unprepared", lambda _: sources.clear())  # it is shared, so there is one at a time


def _feed(sources: list[Any], size: int) -> None:
    with os.fdopen(sys.stdin.fileno(), "rb", buffering=size) as frames:
        while len(frame := frames.read(size)) == size:
            for source in [*sources]:
                source.emit("push-buffer", Gst.Buffer.new_wrapped(frame))
    os._exit(0)


def _lock(server: Any, factory: Any, login: str, kind: str) -> None:
    """Allow this user only."""
    user, _, password = login.partition(":")
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if kind == "basic":
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        from gi.repository import GstRtsp

        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    server.set_auth(auth)
    allowed = GstRtspServer.RTSPPermissions()
    allowed.add_permission_for_role("viewer", "media.factory.access", True)
    allowed.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(allowed)


if __name__ == "__main__":
    main()
