"""What is behind an address: MJPEG is read by ourselves, everything else by OpenCV's FFmpeg."""

from __future__ import annotations

import os
import re
import time
from http.client import HTTPException, HTTPResponse
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import cv2
import msgspec

from stpr.runtime.contract.names import address_text
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.files import CODECS, fourcc, frames_announced
from stpr.runtime.sources.jpegs import BEGIN, decoded, jpegs
from stpr.runtime.sources.pictures import PictureCapture
from stpr.runtime.sources.reasons import PORTS, ask_http, fault, no_stream, parted, why_no_stream
from stpr.runtime.sources.stream import StreamCapture

STALL_SECONDS: Final = 5.0  # a stream without a frame for so long is lost
PIECE: Final = 1 << 16
PLAYLISTS: Final = (".m3u8", ".mpd", ".sdp")  # say where the film is, and are none
PLAYLIST_TYPES: Final = ("mpegurl", "dash+xml", "sdp")
ENDLESS: Final = (1 << 31) - 1  # bytes that some cameras announce for what has no end
PICTURES: Final = {"bmp", "jpeg", "jpg", "png", "webp"}  # kinds of images that do not move
HEAD: Final = 1 << 16  # bytes within which a film says how it is laid out
FFMPEG_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # OpenCV's only way to hand options on: read when it opens
# FFmpeg looks on for five seconds where it can't tell what more will come, as over RTMP without sound: until OpenCV
# gives the connection up.
LOOK_MICROSECONDS: Final = 2_500_000
MJPEG: Final = "MJPG"


class Found(NamedTuple):
    """What is behind an address: an HTTP answer with MJPEG, or what OpenCV has opened."""

    opened: HTTPResponse | cv2.VideoCapture
    is_film: bool  # it has an end: a recording
    why: str | None = None  # nothing could be decoded of it, where that can be told beforehand


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How sources are opened."""

    threads: int | None = None  # that decode; None: one for a stream, since more hold frames back; all cores for files
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    login: tuple[str, str] | None = None  # user and password of streams whose address holds none
    stall_seconds: float = STALL_SECONDS
    wait: bool = False  # for cameras and streams that are not up yet


def with_login(url: str, login: tuple[str, str] | None) -> str:
    """The address with user and password, where there are some and it is of a kind that has them and holds none."""
    scheme, _, rest = url.partition("://")
    if login is None or scheme not in PORTS or parted(url)[1] is not None:
        return url
    user, password = (quote(part, safe="") for part in login)
    return f"{scheme}://{user}:{password}@{rest}"


def connect_stream(url: str, options: SourceOptions) -> Capture:
    """A live stream; raises SourceError saying why there is none."""
    return live_capture(url, open_address(url, options).opened, options)


def live_capture(url: str, opened: HTTPResponse | cv2.VideoCapture, options: SourceOptions) -> Capture:
    """A capture of what `open_address` gave."""
    if isinstance(opened, HTTPResponse):
        pictures = jpegs(lambda: opened.read1(PIECE))
        capture = PictureCapture(pictures, decoded, opened.close, stall_seconds=options.stall_seconds)
        if not capture.begins():
            capture.close()
            raise no_stream(url, "timeout", f"it answers, but no picture came within {options.stall_seconds:g} s")
        return capture
    # FFmpeg makes up the times of MJPEG over HTTP; over RTSP they are the camera's.
    made_up = url.startswith("http") and fourcc(opened) == MJPEG
    return StreamCapture(
        opened, threads=options.threads or 1, stall_seconds=options.stall_seconds, has_clock=not made_up
    )


def open_address(url: str, options: SourceOptions) -> Found:
    """What an address gives; raises SourceError where that is nothing."""
    address_text(url)
    grows = ends = False
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
        grows, ends, why = _is_growing(answer), _has_an_end(answer), _cannot_be_read(answer)
        answer.close()
        _refuse_what_is_no_film(url, answer)
    begun = time.monotonic()
    device = _open_with_ffmpeg(url, options)
    if not device.isOpened():
        seconds = options.stall_seconds
        reason = why_no_stream(url, seconds)
        if reason.code == "codec" and ends:
            reason = no_stream(url, "codec", "the film there is damaged, cut short or of a kind that is not known here")
        elif reason.code == "codec" and time.monotonic() - begun >= seconds:
            reason = no_stream(url, "timeout", f"the server answers, but no picture came within {seconds:g} s")
        raise reason
    is_film = (ends or frames_announced(device) > 0) and not grows
    return Found(device, is_film, None if fourcc(device) in CODECS else why)


def _has_an_end(answer: HTTPResponse) -> bool:
    """Whether it is a film of so many bytes: a camera does not know how many it will send."""
    kind = answer.headers.get_content_type()
    return answer.length is not None and 0 < answer.length < ENDLESS and not kind.endswith(PLAYLIST_TYPES)


def _cannot_be_read(answer: HTTPResponse) -> str | None:
    """Why nothing can be decoded of a film that says at its end how it is laid out (mp4, mov).

    None for servers that send any part of a file.
    """
    if answer.headers.get("Accept-Ranges", "none") != "none":
        return None
    return (
        "can't be watched there: it says at its end how it is laid out, and its server sends no parts of files"
        " (ranges); download it, or write it anew: ffmpeg -i OLD -c copy -movflags +faststart NEW.mp4"
    )


def _refuse_what_is_no_film(url: str, answer: HTTPResponse) -> None:
    """Raise SourceError for a page or a single picture: the address is one of the camera, but not that of its video."""
    main, kind = answer.headers.get_content_maintype(), answer.headers.get_content_subtype()
    if answer.length is not None and main == "image" and kind in PICTURES:
        raise no_stream(url, "not found", f"it is one picture ({kind}) and no stream")
    if answer.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise no_stream(url, "not found", "it is a web page and no stream")


def _is_mjpeg(answer: HTTPResponse) -> bool:
    """By its type or, where that says nothing, by how it begins."""
    if answer.headers.get_content_maintype() == "multipart":
        return True
    return answer.length is None and answer.peek(len(BEGIN)).lstrip().startswith((b"--", BEGIN))


def _is_growing(answer: HTTPResponse) -> bool:
    """Whether it is mp4 that is written while it is sent: OpenCV takes what it has read of it so far for the whole."""
    if answer.length is not None:
        return False
    head = b""
    try:
        while len(head) < HEAD and b"ftyp".startswith(head[4:8]) and not re.search(b"moof|mdat", head):
            if not (piece := answer.read1(HEAD)):
                break
            head += piece
    except (OSError, HTTPException):
        return False  # OpenCV will find out what is wrong with it
    return head[4:8] == b"ftyp" and b"mvex" in head


def _open_with_ffmpeg(url: str, options: SourceOptions) -> cv2.VideoCapture:
    patience = round(options.stall_seconds * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
    limits += [cv2.CAP_PROP_N_THREADS, options.threads or 1]
    # A user's own setting stays.
    os.environ.setdefault(FFMPEG_OPTIONS, f"rtsp_transport;{options.transport}|analyzeduration;{LOOK_MICROSECONDS}")
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
