"""Read YUV4MPEG2: raw frames after a header line with their size. FFmpeg and GStreamer write it.

YUV4MPEG2 W320 H240 F15:1 C420jpeg | FRAME | Y, U and V of a frame | FRAME | …        (| marks the end of a line)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image

MAGIC: Final = b"YUV4MPEG2"
FRAME: Final = b"FRAME"
LONGEST_LINE: Final = 1 << 10  # bytes
LONGEST: Final = 64 << 20  # bytes of a frame
# Chroma subsampling: columns and rows of pixels that share a colour; 0 without colour.
SHARED: Final = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "411": (4, 1), "mono": (0, 0)}
PLACES: Final = ("420jpeg", "420mpeg2", "420paldv")  # 420 with different chroma positions
# YUV to RGB by BT.601: one row per channel, the last column is the offset. For levels 16 to 235, or full range.
STUDIO: Final = np.array([[1.164, 0, 1.596, -222.9], [1.164, -0.392, -0.813, 135.6], [1.164, 2.017, 0, -276.8]])
FULL: Final = np.array([[1, 0, 1.402, -179.5], [1, -0.344, -0.714, 135.5], [1, 1.772, 0, -226.8]])


class RawFrames:
    """A stream of raw frames, after its header line."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        """`read` blocks for some bytes and returns b"" at the end. Raises SourceError for an invalid header."""
        self._read, self._held = read, bytearray()
        words = (self._line() or b"").decode("latin-1").split()
        fields = {word[0]: word[1:] for word in words if not word.startswith("X")}
        if not (fields.get("W", "").isdecimal() and fields.get("H", "").isdecimal()):
            raise SourceError("the YUV4MPEG2 on standard input says no size (W… H…) in its first line; pipe all of it.")
        kind = fields.get("C", "420")
        if (shared := SHARED.get("420" if kind in PLACES else kind)) is None:
            raise SourceError(
                f"the YUV4MPEG2 on standard input has frames of kind {kind}, known are {', '.join(SHARED)} of 8 bits;"
                " let FFmpeg write it with -pix_fmt yuv420p."
            )
        self._width, self._height, self._shared = int(fields["W"]), int(fields["H"]), shared
        across, down = shared
        self._colours = (0, 0) if across == 0 else (-(-self._height // down), -(-self._width // across))
        self._bytes = self._width * self._height + 2 * self._colours[0] * self._colours[1]
        over, _, under = fields.get("F", "").partition(":")
        known = over.isdecimal() and under.isdecimal() and int(over) > 0 < int(under)
        self.fps = int(over) / int(under) if known else None  # announced frames per second
        self._matrix = FULL if "XCOLORRANGE=FULL" in words else STUDIO
        if not 0 < self._bytes <= LONGEST:
            raise SourceError(
                f"the YUV4MPEG2 on standard input has frames of {fields['W']} x {fields['H']}; let FFmpeg make them"
                " smaller with -vf scale=1280:-2."
            )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes of every frame, of the last one maybe too few; ends early at invalid data."""
        while (line := self._line()) is not None and line.startswith(FRAME):
            while len(self._held) < self._bytes and (piece := self._read()):
                self._held += piece
            yield bytes(self._held[: self._bytes])
            del self._held[: self._bytes]

    def decoded(self, frame: bytes) -> Image | None:
        """Decode a frame to RGB; None if it is cut off."""
        if len(frame) < self._bytes:
            return None
        planes = np.frombuffer(frame, np.uint8)
        light = planes[: self._width * self._height].reshape(self._height, self._width)
        if self._colours == (0, 0):
            colours = [np.full_like(light, 128)] * 2
        else:
            colours = [
                plane.repeat(self._shared[1], 0).repeat(self._shared[0], 1)[: self._height, : self._width]
                for plane in planes[light.size :].reshape(2, *self._colours)
            ]
        return np.asarray(cv2.transform(cv2.merge([light, *colours]), self._matrix), np.uint8)

    def _line(self) -> bytes | None:
        """Read a line without its end; None at the end, or if it is too long."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > LONGEST_LINE or not (piece := self._read()):
                return None
            self._held += piece
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line
