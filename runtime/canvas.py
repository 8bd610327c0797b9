"""Drawing with OpenCV for overlays and timelines: boxes, text, and layout of names without overlap."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2

from stpr.runtime.contract.preprocess import Image

Colour: TypeAlias = tuple[int, int, int]
Place: TypeAlias = tuple[float, float]  # x, y

FONT: Final = cv2.FONT_HERSHEY_DUPLEX
FONT_HEIGHT: Final = 22  # height of capitals in pixels at scale 1
SILENT: Final = ("Cf", "Cc", "Mn", "Sk")  # Unicode categories without a glyph of their own
SMALLEST_TEXT: Final = 0.75  # smallest text, relative to the requested size
WHITE, GREY, TRACK = (245, 247, 250), (168, 176, 188), (58, 64, 74)  # on a darkened picture
# One colour per stage, repeated from the eleventh stage on. All can be told apart by deuteranopes and protanopes, and
# the first five are far apart (tests/runtime/test_canvas.py).
STAGES: Final[tuple[Colour, ...]] = (
    (64, 196, 255),
    (255, 183, 77),
    (124, 211, 128),
    (244, 130, 176),
    (124, 113, 231),
    (205, 158, 71),
    (104, 255, 217),
    (222, 255, 169),
    (125, 132, 221),
    (115, 192, 220),
)


@dataclass(frozen=True, slots=True)
class Canvas:
    """An RGB picture with a unit in pixels; positions are in units from the canvas's corner."""

    image: Image
    unit: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Draw a filled box."""
        corner = self._pixel(x, y)
        # At least one pixel, so that a weight near 0 is visible.
        end = (max(corner[0] + 1, self._pixel(x + width, y)[0]), max(corner[1] + 1, self._pixel(x, y + height)[1]))
        cv2.rectangle(self.image, corner, (end[0] - 1, end[1] - 1), colour, cv2.FILLED)

    def text(self, words: str, at: Place, *, size: float, colour: Colour, room: float = 1e9) -> None:
        """Draw text from x on the baseline y; if wider than `room`, it shrinks by at most a quarter, then is cut."""
        size *= min(1.0, max(SMALLEST_TEXT, room / max(self.measure(words, size), 1e-6)))
        words, thickness = self.cut(words, size, room), self._thickness(size)
        cv2.putText(self.image, words, self._pixel(*at), FONT, self._scale(size), colour, thickness, cv2.LINE_AA)

    def text_right(self, words: str, at: Place, *, size: float, colour: Colour) -> None:
        """Draw text that ends at x."""
        self.text(words, (at[0] - self.measure(words, size), at[1]), size=size, colour=colour)

    def text_middle(self, words: str, at: Place, *, size: float, colour: Colour) -> None:
        """Draw text centred at x."""
        self.text(words, (at[0] - self.measure(words, size) / 2, at[1]), size=size, colour=colour)

    def cut(self, words: str, size: float, room: float) -> str:
        """Cut text to the width `room`, with capitals of height `size`."""
        whole = words = _drawable(words)
        while self.measure(words, size) > room and whole:
            whole = whole[:-1]
            words = f"{whole.rstrip()}..."
        return words

    def measure(self, words: str, size: float) -> float:
        """The width of text with capitals of height `size`."""
        (width, _), _ = cv2.getTextSize(_drawable(words), FONT, self._scale(size), self._thickness(size))
        return width / self.unit

    def _thickness(self, size: float) -> int:
        return max(1, round(size * self.unit / 16))

    def _scale(self, size: float) -> float:
        return size * self.unit / FONT_HEIGHT

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round((self.left + x) * self.unit), round((self.top + y) * self.unit)


def plain(label: str) -> str:
    """A class name for display, with spaces for underscores."""
    return label.replace("_", " ")


def stage_colour(stage: int) -> Colour:
    """The colour of a stage (from 1)."""
    return STAGES[(stage - 1) % len(STAGES)]


def shelves(extents: Sequence[tuple[float, float]], *, gap: float) -> list[int]:
    """Assign each extent (from, to) to a row, from 0, without overlap; `extents` must be sorted by start."""
    ends: list[float] = []
    found = []
    for start, end in extents:
        shelf = next((index for index, last in enumerate(ends) if last + gap <= start), len(ends))
        ends[shelf : shelf + 1] = [end]
        found.append(shelf)
    return found


def _drawable(words: str) -> str:
    """Transliterate text to ASCII on one line, since OpenCV's fonts have no other letters; emoji become names."""
    if words.isascii() and words.isprintable():
        return words
    from anyascii import anyascii  # imported late: most names don't need it

    return "".join(
        " " if letter.isspace() else anyascii(letter) or ("" if unicodedata.category(letter) in SILENT else "?")
        for letter in unicodedata.normalize("NFC", words)
    )
