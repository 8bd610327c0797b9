"""Decode videos with OpenCV. Only this module of training deals with its colour order, frame counts and messages.

A container's frame count is an estimate: Matroska multiplies duration by rate, and a truncated file still announces
its original length. So every pass decodes to the end, counts the frames and compares.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.interlaced import WHY, shows_memory
from stpr.runtime.contract.mp4 import ALL_HIDDEN, frames_shown, seconds_shown, shows_none
from stpr.runtime.contract.no_video import why_no_video
from stpr.runtime.contract.preprocess import Image
from stpr.train.datasets.annotations import check_name

# How much of the announced length may be missing. Of 1,270 intact files of 9 kinds none missed a frame; files that
# lost their last tenth miss 8 to 39 %. Clips are drawn from the frames that exist, so a missed fault is harmless,
# while a false alarm stops a run.
SLACK_FRAMES: Final = 2
SLACK_PART: Final = 0.05
LEAD: Final = 10  # if an AVI's first frame lasts as long as this many frames, a gap follows it
CODECS: Final = {"AV01": "AV1", "av01": "AV1"}
NAMED: Final = 20  # most faults listed in one message
BLOCK: Final = 1 << 20  # bytes read at once
FASTEST: Final = 1000.0  # frames per second; a higher rate is an error in the file


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The number of decodable frames, and their mean rate by timestamps."""

    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self.frames / self.fps


class VideoFile:
    """A video opened for one pass from first to last frame; close it, or use it in `with`.

    `announced` is the container's frame count (0 if implausible), `rate` its frames per second (15 if implausible, so
    that the two pictures of a motion pair are one frame apart). Raises DataError if it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        check_name(path)  # OpenCV aborts the process for a name that is not UTF-8
        with reading(path):
            if not path.is_file():
                raise DataError(f"the video {path} is missing; copy it there or put it on the skip list.")
            path.open("rb").close()  # an unreadable file is reported as such, not as damaged
            if not path.stat().st_size:
                raise DataError(f"the video {path} is empty; copy or record it again, or put it on the skip list.")
        self.path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            with path.open("rb") as file:
                why = why_no_video(file)
            if why is not None:
                raise DataError(f"{path} {why}, or put it on the skip list ([data] skip).")
            raise DataError(f"the video {path} can't be opened: it is damaged, cut off or no video; {_FIX}")
        self._rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = self._rate if 0 < self._rate <= FASTEST else 15.0  # frames a second
        seconds, held = seconds_shown(path), max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.announced = frames_shown(held, self.rate, seconds)
        self._hidden = shows_none(self.rate, seconds)
        self._codec_at_start = self._capture.get(cv2.CAP_PROP_FOURCC)
        self._decoded = 0
        self._started = 0  # frames with timestamp 0: one, unless a cut turned negative times into 0
        self._last_second = self._second = 0.0  # timestamps of the last and the second frame, relative to the first
        self._reached = 0.0  # position of the last frame by its timestamp, in frames
        self._first: Image | None = None  # picture, for as long as all others are the same
        self._moves = False

    def __enter__(self) -> VideoFile:
        """The video itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._capture.release()

    def frames(self, wanted: Collection[int]) -> Iterator[tuple[int, Image]]:
        """Decode to the end; yield index and picture `(H, W, 3)` RGB of the wanted frames, each once, in order.

        Raises DataError for frames that can't be decoded, at the end for those that OpenCV did not convert.
        """
        wanted = frozenset(wanted)
        while self._capture.grab():
            # The maximum, since the last frames of an AVI with B-frames get the timestamp 0.
            self._last_second = max(self._last_second, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            self._reached = max(self._reached, self._capture.get(cv2.CAP_PROP_PTS) + 1)
            self._decoded += 1
            if self._last_second == 0:
                self._started = self._decoded
            if self._decoded == 2:
                self._second = self._last_second
            if self._decoded - 1 in wanted:
                yield self._decoded - 1, self._picture()
        if self._first is not None and shows_memory(str(self.path)):
            raise DataError(f"the video {self.path} {WHY}, or put it on the skip list ([data] skip).")

    def info(self) -> VideoInfo:
        """Frame count and rate after a complete pass. Raises DataError if the video ended too early."""
        if self._decoded == 0 and self._hidden:
            raise DataError(f"the video {self.path} shows nothing: {ALL_HIDDEN}, or put it on the skip list.")
        if self._decoded == 0:
            raise DataError(f"the video {self.path} has no frame that can be decoded{self._codec()}; {_FIX}")
        if self._capture.get(cv2.CAP_PROP_FOURCC) != self._codec_at_start:
            raise DataError(
                f"the video {self.path} changes its codec after {self._decoded} frames, which OpenCV can't follow;"
                " split it there, or put it on the skip list ([data] skip)."
            )
        last_second = self._last_second - self._lead()
        timed = self._decoded > 1 and last_second > 0
        rate = (self._decoded - max(1, self._started)) / last_second if timed else self._rate
        if not 0 < rate <= FASTEST:
            raise DataError(f"the video {self.path} has no usable frame rate ({rate}); {_FIX}")
        # Compare counted frames or elapsed time: at a varying rate the announced count is wrong, but the time is right.
        # A part that was cut out without re-encoding may keep the timestamps and the announced end of the whole.
        reached = max(self._decoded, last_second * self._rate + 1, self._reached)
        if self.announced - reached > max(SLACK_FRAMES, SLACK_PART * self.announced):
            raise DataError(
                f"the video {self.path} announces {self.announced} frames but ends after {self._decoded}:"
                f" it is truncated, damaged, or was trimmed without re-encoding; {_FIX}"
            )
        return VideoInfo(self._decoded, rate)

    def _lead(self) -> float:
        """Seconds of an empty gap after an AVI's first frame: AVI has no timestamps, so a cut leaves a gap."""
        if self.path.suffix.lower() != ".avi" or self._decoded < 3:
            return 0.0
        usual = (self._last_second - self._second) / (self._decoded - 2)
        return self._second - usual if self._second > LEAD * usual > 0 else 0.0

    def _codec(self) -> str:
        """A message about the codec if the file names it, else ""."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        name = code.to_bytes(4, "little").decode("ascii", "replace").strip() if code > 0 else ""
        known = name and name.isprintable()
        return f": it is in the codec {CODECS.get(name, name)}, which OpenCV may not know here" if known else ""

    def _picture(self) -> Image:
        intact, picture = self._capture.retrieve()
        if not intact:
            raise DataError(f"frame {self._decoded - 1} of the video {self.path} can't be decoded; {_FIX}")
        image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        if not self._moves:
            self._moves = self._first is not None and not np.array_equal(self._first, image)
            self._first = None if self._moves else image
        return image


_FIX: Final = (
    "repair it (copy it again, or re-encode it: ffmpeg -i OLD NEW.mp4) or put it on the skip list ([data] skip), and"
    " continue with --resume."
)


def probe(path: Path) -> VideoInfo:
    """Count a video's frames by decoding it. Raises DataError if it is missing, damaged or truncated."""
    with VideoFile(path) as video:
        for _ in video.frames(range(3)):  # as many as tell whether its pictures are its own
            pass
        return video.info()


def check_all(faults: Sequence[DataError]) -> None:
    """Raise one DataError that lists all faulty videos, so that they can be repaired at once."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        causes, _, fixes = zip(*(fault.message.partition("; ") for fault in faults), strict=True)
        more = f", and {len(causes) - NAMED} more" if len(causes) > NAMED else ""
        fix = fixes[0] if len(set(fixes)) == 1 else _FIX
        raise DataError(f"{len(causes)} videos can't be used: {', '.join(causes[:NAMED])}{more}; {fix}")


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content, which may be larger than memory. Raises DataError if it can't be read."""
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while part := file.read(BLOCK):
            digest.update(part)
    return digest.hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert OSErrors from reading a video into DataErrors."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the video {path} can't be read ({error.strerror}); check its permissions and the disk, or put it on the"
            " skip list ([data] skip), and continue with --resume."
        ) from error


def quiet_decoder() -> None:
    """Silence FFmpeg and OpenCV on stderr; faults are reported as DataErrors.

    Commands call it before their first video: FFmpeg's level is read once per process, only from the environment.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
