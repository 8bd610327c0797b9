"""Recorded sources: all frames of a file or folder, in order, as fast as they are read.

Times are the file's timestamps, since rates vary, and some files contain pauses.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import cv2
import numpy as np

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.interlaced import WHY, shows_memory
from stpr.runtime.contract.mp4 import ALL_HIDDEN, frames_shown, seconds_shown, shows_none
from stpr.runtime.contract.names import in_order, openable, shown
from stpr.runtime.contract.no_video import why_no_video
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.capture import read_rgb
from stpr.runtime.sources.ffmpeg import open_with_ffmpeg
from stpr.runtime.sources.frame import Frame, Origin

CODECS = {"AV01": "AV1", "av01": "AV1"}  # common names of codecs
CONVERT = "convert it: ffmpeg -i OLD -c:v libx264 NEW.mp4"
FOLDER_FPS = 25.0  # assumed rate of a folder of images
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Some containers only estimate their frame count (duration x rate); more missing than this is damage.
MISSING_FRAMES, MISSING_SHARE = 3, 0.05
# A frame with no successor for so many seconds is followed by a pause, unless frames come that seldom: up to so many
# times as long as is usual.
PAUSE_SECONDS, SELDOM = 1.0, 2.0
# An RGB image and its media time in seconds; None for one that can't be read.
Timed: TypeAlias = tuple[Image | None, float]

log = logging.getLogger(__name__)


class Lost(Protocol):
    """Says why a video behind an address has ended, if its server is to blame."""

    def __call__(self, waited: float, *, early: bool) -> SourceError | None:
        """`waited`: the longest wait for a frame, in seconds; `early`: whether it is shorter than it announced."""


class RecordedSource:
    """Images with media times; waits for the consumer, drops nothing."""

    dropped = 0
    reconnects = 0

    def __init__(self, name: str, images: Iterable[Timed], *, fps: float, frames: int = 0) -> None:
        """`fps`: mean rate; `frames`: estimated number of frames, 0 if unknown."""
        self.origin = Origin(name, is_live=False, fps=fps)
        self.seconds = frames / fps
        self._images = images
        self._usual = 1 / fps  # recent seconds per frame
        self.skipped = 0
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, one behind the reader, since a frame's duration is known with the next frame."""
        held: Frame | None = None
        try:
            for frame in self._readable():
                if held is not None:
                    yield self._standing(held, frame.captured_at - held.captured_at)
                held = frame
        except SourceError:
            if held is not None:
                yield self._standing(held, self._usual)
            raise
        if held is not None and not self._stopped:
            yield self._standing(held, self._usual)

    def stop(self) -> None:
        """End the iteration at the next frame."""
        self._stopped = True

    def close(self) -> None:
        """Nothing to do; the file is released when the iteration ends."""
        self.stop()

    def _readable(self) -> Iterator[Frame]:
        """Yield readable frames until stopped; raises SourceError if there is none."""
        index = -1
        for index, (image, at) in enumerate(self._images):
            if self._stopped:
                return
            if image is None:
                self.skipped += 1
            else:
                yield Frame(image, index, at, self.origin)
        if self.skipped == index + 1 > 0:
            raise SourceError(f"none of the {self.skipped} images of {self.origin.name} can be decoded; replace them.")

    def _standing(self, frame: Frame, seconds: float) -> Frame:
        """Set the frame's duration; before a pause, that of its predecessor is used."""
        self._usual = min(seconds, SELDOM * self._usual)
        return dataclasses.replace(frame, stands=seconds if seconds <= PAUSE_SECONDS else self._usual)


def open_recorded(path: Path, threads: int | None = None) -> RecordedSource:
    """Open a video file, decoded with `threads` (None: all cores), or a folder of images. Raises SourceError."""
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return open_file(path, threads)
    raise SourceError(f"there is no video or folder {shown(path)}; check the path.")


def open_file(path: Path, threads: int | None = None) -> RecordedSource:
    """Open a video file; raises SourceError if that fails, or it has no frame rate."""
    with openable(path) as name:
        device = open_with_ffmpeg(name, [cv2.CAP_PROP_N_THREADS, threads] if threads else [])
    if not device.isOpened() and not path.stat().st_size:
        raise SourceError(f"{shown(path)} is empty; copy or record it again.")
    if not device.isOpened():
        raise SourceError(f"{shown(path)} {_why_closed(path)}.")
    if shows_memory(name):
        raise SourceError(f"{shown(path)} {WHY}.")
    return open_video(device, shown(path), seconds_shown(path))


def _why_closed(path: Path) -> str:
    """Why OpenCV can't open a file, to follow its name."""
    try:
        with path.open("rb") as file:
            why = why_no_video(file)
    except OSError as error:
        return f"can't be read ({error.strerror}); check its permissions and the disk"
    return why or "can't be decoded: it is damaged, truncated or not a video; copy or record it again"


def open_video(
    device: cv2.VideoCapture,
    name: str,
    seconds: float | None = None,
    why: str | None = None,
    lost: Lost | None = None,
) -> RecordedSource:
    """A source for a video opened by OpenCV; raises SourceError if it has no frame rate.

    `seconds`: the length that it shows, if known, else the announced length is used. `why`: the reason if nothing can
    be decoded, usually the codec. `lost`, for a video behind an address, is asked at its end for the reason if its
    server is to blame.
    """
    fps = device.get(cv2.CAP_PROP_FPS)
    if not 0 < fps <= 1000:
        raise SourceError(f"{name} has no plausible frame rate ({fps:g} fps); convert it to mp4.")
    frames = frames_shown(frames_announced(device), fps, seconds)
    why = why or f"can't be watched on this machine, {no_frame(device)}; {CONVERT}"
    why = f"shows nothing: {ALL_HIDDEN}" if shows_none(fps, seconds) else why
    return RecordedSource(name, _video(device, name, fps, frames, _Blame(why, lost)), fps=fps, frames=frames)


def frames_announced(device: cv2.VideoCapture) -> int:
    """The announced number of frames; 0 if unknown, as for live streams."""
    return max(0, round(device.get(cv2.CAP_PROP_FRAME_COUNT)))


def open_folder(path: Path) -> RecordedSource:
    """The images of a folder in natural order (2 before 10), as if captured at FOLDER_FPS; hidden files are ignored.

    An image that can't be decoded is logged, counted and skipped; its place in time stays empty.
    """
    try:
        files = sorted(filter(_is_picture, path.iterdir()), key=in_order)
    except OSError as error:
        raise SourceError(f"{shown(path)} can't be listed ({error.strerror}); check its permissions.") from error
    if not files:
        raise SourceError(
            f"{shown(path)} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); name a folder that does."
        )
    images = at_rate(map(_read_image, files), FOLDER_FPS)
    return RecordedSource(shown(path), images, fps=FOLDER_FPS, frames=len(files))


def at_rate(images: Iterable[Image | None], fps: float) -> Iterator[Timed]:
    """Add media times to images, as if captured at this rate."""
    return ((image, index / fps) for index, image in enumerate(images))


def fourcc(device: cv2.VideoCapture) -> str:
    """The four-character code of the codec; "" if not printable."""
    letters = int(max(0, device.get(cv2.CAP_PROP_FOURCC))).to_bytes(8, "little")[:4].decode("latin-1").strip("\0 ")
    return letters if letters.isascii() and letters.isprintable() else ""


def no_frame(device: cv2.VideoCapture) -> str:
    """A message that no frame can be decoded, with the codec."""
    name = CODECS.get(code := fourcc(device), code) or "unknown to it"
    return f"the OpenCV here ({cv2.__version__}) can't decode any frame of it: its codec is {name}"


def codec_change(device: cv2.VideoCapture, began_with: str) -> str | None:
    """What to say at the end of decoding if the codec is no longer `began_with`: OpenCV can't follow the change."""
    now = fourcc(device)
    return f"its codec changed from {began_with} to {now}" if began_with and now and now != began_with else None


class _Blame(NamedTuple):
    """Reasons of a video that ends early."""

    empty: str  # if it has no frame
    lost: Lost | None  # see `open_video`


def _video(device: cv2.VideoCapture, name: str, fps: float, announced: int, blame: _Blame) -> Iterator[Timed]:
    """Yield all frames with times; raises SourceError if there is none, or it ends early."""
    read, at, codec = 0, 0.0, fourcc(device)
    longest = 0.0  # wait for a frame: OpenCV gives up after it, but may first return frames that it had held back
    asked_at = time.monotonic()
    try:
        while (image := read_rgb(device)) is not None:
            longest = max(longest, time.monotonic() - asked_at)
            at = _media_time(device, at + 1 / fps if read else 0.0, at)
            if read == 0:  # some containers count from zero what is first shown later
                announced -= max(0, round(device.get(cv2.CAP_PROP_PTS)))
            read += 1
            yield image, at
            asked_at = time.monotonic()
        longest = max(longest, time.monotonic() - asked_at)
        change = codec_change(device, codec)
    finally:
        device.release()
    # Counted or timed: where the rate varies an estimated count may be wrong, but the end is right.
    is_short = announced - max(read, at * fps + 1) > max(MISSING_FRAMES, MISSING_SHARE * announced)
    early = read == 0 or is_short
    if blame.lost is not None and (reason := blame.lost(longest, early=early)) is not None:
        raise SourceError(f"{name} broke off after {read} frames: {reason.message}", code=reason.code)
    if read == 0:
        raise SourceError(f"{name} {blame.empty}.")
    if change is not None:
        raise SourceError(
            f"{name} was watched up to {at:.1f} s: there {change}, which OpenCV can't follow; split it there and watch"
            " both parts."
        )
    if is_short:
        raise SourceError(
            f"{name} ended after {read} of the {announced} frames it announces: it is damaged, cut short or was trimmed"
            " without encoding it again; copy it again, or let ffmpeg -i OLD NEW.mp4 write what is there."
        )


def _media_time(device: cv2.VideoCapture, expected: float, before: float) -> float:
    """When the frame that was read is to be seen; as `expected` where the file does not say, as at some ends of AVIs.

    Never earlier than the frame `before`, so time that runs backwards is no time either.
    """
    stamped = device.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return stamped if stamped > before else expected


def _is_picture(file: Path) -> bool:
    """Whether it is one by its name; neither a folder nor a pipe, which may never give anything."""
    if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith("."):
        return False
    return file.is_file() or not file.exists()  # a link to nowhere is told when it is read


def _read_image(file: Path) -> Image | None:
    try:
        content = file.read_bytes()
        # A picture larger than OpenCV allows is an error of its own kind.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        fault = "it is damaged or not an image" if content else "it is empty"
    except (OSError, cv2.error) as error:
        image, fault = None, str(error)
    if image is None:
        log.warning("%s can't be read and is skipped: %s.", shown(file), " ".join(fault.split()).rstrip("."))
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
