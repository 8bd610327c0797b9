"""Open URLs: MJPEG over HTTP is read by our code, everything else by OpenCV's FFmpeg."""

from __future__ import annotations

import re
import time
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import cv2
import msgspec

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import address_text, masked, shown
from stpr.runtime.contract.no_video import why_no_video
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.ffmpeg import open_with_ffmpeg
from stpr.runtime.sources.files import CODECS, fourcc, frames_announced
from stpr.runtime.sources.jpegs import BEGIN, decoded, jpegs
from stpr.runtime.sources.pictures import PictureCapture
from stpr.runtime.sources.reasons import PORTS, ask_http, fault, no_stream, parted, why_no_stream
from stpr.runtime.sources.relay import Relay
from stpr.runtime.sources.stream import Kind, StreamCapture

STALL_SECONDS: Final = 5.0  # time without a frame after which a stream is lost
PIECE: Final = 1 << 16
PLAYLISTS: Final = (".m3u8", ".mpd", ".sdp")  # contain links to the video
PLAYLIST_TYPES: Final = ("mpegurl", "dash+xml", "sdp")
SEGMENTED, SEGMENTED_TYPES = PLAYLISTS[:2], PLAYLIST_TYPES[:2]  # those whose video comes in segments
SEGMENT_PATIENCE: Final = 3  # times the time without a frame, since segments often last six seconds
ENDLESS: Final = (1 << 31) - 1  # content length that some cameras announce for an endless stream
PICTURES: Final = {"bmp", "jpeg", "jpg", "png", "webp"}  # types of still images
HEAD: Final = 1 << 16  # bytes to search for the layout of an mp4
# FFmpeg probes for five seconds if it can't tell which tracks will follow, as with RTMP without audio, until OpenCV
# gives up the connection.
LOOK_MICROSECONDS: Final = 2_500_000
# FFmpeg reads up to 20 frames to measure the rate, which only a video file needs: a stream opens sooner without.
AT_ONCE: Final = {"fpsprobesize": "0"}
# Go on where a server has cut the connection; the relay is on this machine, so behind no proxy.
RELAYED: Final = {"reconnect": "1", "reconnect_delay_max": "4", "http_proxy": "none"}
FILM_PATIENCE: Final = 2  # times the time without a frame, in which FFmpeg connects again
SELDOM_PATIENCE: Final = 2  # times the time without a frame; FFmpeg opens MPEG-TS with its third frame
MJPEG: Final = "MJPG"


class Found(NamedTuple):
    """An opened URL: an HTTP response with MJPEG, or OpenCV's capture."""

    opened: HTTPResponse | cv2.VideoCapture
    is_film: bool  # whether it has an end, so is a recording
    why: str | None = None  # the reason if it is known in advance that nothing can be decoded
    in_segments: bool = False  # a playlist, whose video comes some seconds at a time
    relay: Relay | None = None  # by which OpenCV reads a recording of an HTTP server


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for opening sources."""

    threads: int | None = None  # for decoding; None: one for a stream, since more delay frames; all cores for files
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    login: tuple[str, str] | None = None  # user and password for streams whose URL has none
    stall_seconds: float = STALL_SECONDS
    wait: bool = False  # wait for cameras and streams that are not up yet


def with_login(url: str, login: tuple[str, str] | None) -> str:
    """Add user and password to a URL, if given, and the URL supports them and has none."""
    scheme, _, rest = url.partition("://")
    if login is None or scheme not in PORTS or parted(url)[1] is not None:
        return url
    user, password = (quote(part, safe="") for part in login)
    return f"{scheme}://{user}:{password}@{rest}"


def connect_stream(url: str, options: SourceOptions) -> Capture:
    """Connect to a live stream; raises SourceError with the reason of a failure."""
    return live_capture(url, open_address(url, options), options)


def live_capture(url: str, found: Found, options: SourceOptions) -> Capture:
    """Make a capture of an address opened by `open_address`."""
    opened = found.opened
    if isinstance(opened, HTTPResponse):
        pictures = jpegs(lambda: opened.read1(PIECE))
        capture = PictureCapture(pictures, decoded, opened.close, stall_seconds=options.stall_seconds)
        if not capture.begins():
            capture.close()
            raise no_stream(url, "timeout", f"it answers, but no picture came within {options.stall_seconds:g} s")
        return capture
    # FFmpeg invents the timestamps of MJPEG over HTTP; over RTSP they are the camera's.
    made_up = url.startswith("http") and fourcc(opened) == MJPEG
    kind: Kind = "in segments" if found.in_segments else "untimed" if made_up else "timed"
    seconds = options.stall_seconds * (SEGMENT_PATIENCE if found.in_segments else 1)
    return StreamCapture(opened, threads=options.threads or 1, stall_seconds=seconds, kind=kind)


def open_address(url: str, options: SourceOptions) -> Found:
    """Open a URL; raises SourceError if that fails."""
    address_text(url)
    grows = False
    in_segments = url.startswith("http") and url.partition("?")[0].lower().endswith(SEGMENTED)
    why = None
    if url.startswith("http") and not url.partition("?")[0].lower().endswith(PLAYLISTS):
        answer = ask_http(url, options.stall_seconds)
        try:
            is_mjpeg = _is_mjpeg(answer)
        except (OSError, HTTPException) as error:
            answer.close()
            raise no_stream(url, *fault(error, url, options.stall_seconds)) from None
        if is_mjpeg:
            return Found(answer, is_film=False)
        grows, why = _is_growing(answer), _cannot_be_read(answer)
        in_segments = answer.headers.get_content_type().endswith(SEGMENTED_TYPES)
        answer.close()
        _refuse_what_is_no_film(url, answer)
        if _has_an_end(answer):
            return _open_film(url, options, why)
    begun = time.monotonic()
    # An HTTP server has answered already, so what comes slowly is worth a longer wait.
    seconds = options.stall_seconds * (SELDOM_PATIENCE if url.startswith("http") else 1)
    patience = options.stall_seconds * (SEGMENT_PATIENCE if in_segments else 1)
    device = _open_stream(url, options, (seconds, patience), AT_ONCE)
    if not device.isOpened():
        reason = why_no_stream(url, seconds)
        if reason.code == "codec" and time.monotonic() - begun >= seconds:
            reason = no_stream(url, "timeout", f"the server answers, but no picture came within {seconds:g} s")
        raise reason
    is_film = frames_announced(device) > 0 and not grows
    if is_film and url.startswith("http") and not in_segments:
        device.release()
        return _open_film(url, options, why)
    return Found(device, is_film, in_segments=in_segments)


def why_lost(url: str, found: Found, options: SourceOptions, waited: float, *, early: bool) -> SourceError | None:
    """Why a recording at a URL has ended; None if it is whole, or not due to its server.

    `waited`: the longest wait for a frame in seconds; `early`: whether it is shorter than it announced.
    """
    seconds, relay = options.stall_seconds, found.relay
    cut = None if relay is None else relay.cut
    if cut is None and waited >= seconds * (1 if relay is None else FILM_PATIENCE):
        cut = ("timeout", f"nothing more came within {seconds:g} s")
    if cut is not None:
        return SourceError(f"{cut[0]}, {cut[1]}; watch it again, or download it and watch the file.", code=cut[0])
    if not early:
        return None
    reason = why_no_stream(url, seconds)
    return None if reason.code == "codec" else reason


def _open_film(url: str, options: SourceOptions, why: str | None) -> Found:
    """Open a recording of an HTTP server; `why`: the reason if no frame of it can be decoded, but for its codec."""
    relay = Relay(url, options.stall_seconds)
    begun, seconds = time.monotonic(), options.stall_seconds * SELDOM_PATIENCE
    device = _open_stream(relay.address, options, (seconds, options.stall_seconds * FILM_PATIENCE), RELAYED)
    is_late = time.monotonic() - begun >= seconds
    if device.isOpened() and not is_late:
        return Found(device, is_film=True, why=None if fourcc(device) in CODECS else why, relay=relay)
    device.release()
    relay.close()
    if relay.cut is not None:
        raise no_stream(url, *relay.cut)
    if is_late:
        raise no_stream(url, "timeout", f"the server answers, but too little of the video came within {seconds:g} s")
    reason = why_no_stream(url, seconds)
    if reason.code != "codec":
        raise reason
    if (instead := _what_is_there(url, options.stall_seconds)) is not None:
        raise SourceError(f"no video at {masked(shown(url))}: what is there {instead}.", code="codec")
    raise no_stream(url, "codec", "the video there is damaged, truncated or in an unknown format")


def _what_is_there(url: str, seconds: float) -> str | None:
    """What an HTTP server has instead of a video, by its beginning; None if that is not known."""
    try:
        with ask_http(url, seconds) as answer:
            return why_no_video(BytesIO(answer.read(HEAD)))
    except (SourceError, OSError, HTTPException):
        return None


def _has_an_end(answer: HTTPResponse) -> bool:
    """Whether the response has a known length, which a camera's stream has not."""
    kind = answer.headers.get_content_type()
    return answer.length is not None and 0 < answer.length < ENDLESS and not kind.endswith(PLAYLIST_TYPES)


def _cannot_be_read(answer: HTTPResponse) -> str | None:
    """Why an mp4 or mov with its index at the end can't be decoded; None if the server supports range requests."""
    if answer.headers.get("Accept-Ranges", "none") != "none":
        return None
    return (
        "can't be watched there: its index is at its end, and its server does not support range requests;"
        " download it, or rewrite it: ffmpeg -i OLD -c copy -movflags +faststart NEW.mp4"
    )


def _refuse_what_is_no_film(url: str, answer: HTTPResponse) -> None:
    """Raise SourceError for a web page, a single picture or sound, which is not the camera's video URL."""
    main, kind = answer.headers.get_content_maintype(), answer.headers.get_content_subtype()
    if answer.length is not None and main == "image" and kind in PICTURES:
        raise no_stream(url, "not found", f"it is a single picture ({kind}), not a stream")
    if main == "audio":
        raise no_stream(url, "not found", f"no picture there, it is sound alone ({kind})")
    if answer.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise no_stream(url, "not found", "it is a web page, not a stream")


def _is_mjpeg(answer: HTTPResponse) -> bool:
    """Whether it is MJPEG, by content type or, if that says nothing, by its first bytes."""
    if answer.headers.get_content_maintype() == "multipart":
        return True
    return answer.length is None and answer.peek(len(BEGIN)).lstrip().startswith((b"--", BEGIN))


def _is_growing(answer: HTTPResponse) -> bool:
    """Whether it is an mp4 that is still being written, of which OpenCV would only see the current part."""
    if answer.length is not None:
        return False
    head = b""
    try:
        while len(head) < HEAD and b"ftyp".startswith(head[4:8]) and not re.search(b"moof|mdat", head):
            if not (piece := answer.read1(HEAD)):
                break
            head += piece
    except (OSError, HTTPException):
        return False  # OpenCV will report the error
    return head[4:8] == b"ftyp" and b"mvex" in head


def _open_stream(
    url: str, options: SourceOptions, seconds: tuple[float, float], more: dict[str, str]
) -> cv2.VideoCapture:
    """Open with OpenCV, which gives up after so many `seconds` without success, and later without a frame."""
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(seconds[0] * 1000)]
    limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(seconds[1] * 1000)]
    limits += [cv2.CAP_PROP_N_THREADS, options.threads or 1]
    words = {"rtsp_transport": options.transport, "analyzeduration": str(LOOK_MICROSECONDS)}
    return open_with_ffmpeg(url, limits, words | more)
