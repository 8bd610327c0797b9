"""What was seen, drawn on a copy of the frame: label, score, runners-up, and the routing weight of each stage's expert.

Lengths are in units of 1/480 of the picture's shorter side, so that small and large frames look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import Prediction

Colour: TypeAlias = tuple[int, int, int]
Place: TypeAlias = tuple[float, float]  # x, y

SMALLEST_SIDE = 480  # smaller frames are enlarged first: text on 96 pixels can't be read
PANEL, SHADE = (14, 17, 22), 0.68
WHITE, GREY, TRACK = (245, 247, 250), (168, 176, 188), (58, 64, 74)
ACCENT, RIGHT, WRONG = (64, 196, 255), (86, 214, 120), (255, 104, 96)
FONT = cv2.FONT_HERSHEY_DUPLEX
MARGIN, PADDING, CARD_WIDTH = 12, 12, 456
LABEL_HEIGHT, DETAILS_HEIGHT = 64, 118
ROUTING_SHARE = 0.46  # of the lower card's width, right of the runners-up
MOST_NUMBERED_BARS = 12
SMALLEST_TEXT = 0.75  # of the size that was meant


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A picture and its unit in pixels; positions are in units from the card's corner."""

    image: Image
    unit: float
    left: float
    top: float

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled box."""
        corner = self._pixel(x, y)
        # At least one pixel, so that a weight near 0 is still seen to be there.
        end = (max(corner[0] + 1, self._pixel(x + width, y)[0]), max(corner[1] + 1, self._pixel(x, y + height)[1]))
        cv2.rectangle(self.image, corner, (end[0] - 1, end[1] - 1), colour, cv2.FILLED)

    def text(self, words: str, at: Place, *, size: float, colour: Colour, room: float = 1e9) -> None:
        """Words from x on, on the baseline y; too long for `room`, they shrink by a quarter at most, then are cut."""
        size *= min(1.0, max(SMALLEST_TEXT, room / max(self._measure(words, size), 1e-6)))
        whole = words
        while self._measure(words, size) > room and whole:
            whole = whole[:-1]
            words = f"{whole.rstrip()}..."
        thickness = max(1, round(size * self.unit / 16))
        cv2.putText(self.image, words, self._pixel(*at), FONT, _scale(size * self.unit), colour, thickness, cv2.LINE_AA)

    def text_right(self, words: str, at: Place, *, size: float, colour: Colour) -> None:
        """Words that end at x."""
        self.text(words, (at[0] - self._measure(words, size), at[1]), size=size, colour=colour)

    def text_middle(self, words: str, at: Place, *, size: float, colour: Colour) -> None:
        """Words around x."""
        self.text(words, (at[0] - self._measure(words, size) / 2, at[1]), size=size, colour=colour)

    def _measure(self, words: str, size: float) -> float:
        (width, _), _ = cv2.getTextSize(words, FONT, _scale(size * self.unit), max(1, round(size * self.unit / 16)))
        return width / self.unit

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round((self.left + x) * self.unit), round((self.top + y) * self.unit)


def draw(image: Image, prediction: Prediction | None, *, truth: str | None, fps: float) -> Image:
    """A new RGB picture, at least 480 pixels on its shorter side; `truth` adds a mark: right or wrong."""
    picture = _enlarged(image)
    unit = min(picture.shape[:2]) / SMALLEST_SIDE
    height = picture.shape[0] / unit
    upper = _card(picture, unit, top=MARGIN, height=LABEL_HEIGHT)
    _draw_label(upper, prediction, truth=truth, fps=fps)
    if prediction is not None and prediction.top:
        lower = _card(picture, unit, top=height - MARGIN - DETAILS_HEIGHT, height=DETAILS_HEIGHT)
        _draw_runners_up(lower, prediction)
        _draw_routing(lower, prediction.routing)
    return picture


def _enlarged(image: Image) -> Image:
    """A copy, enlarged to the smallest side where it is smaller, with even sides (video encoders ask for them)."""
    height, width = image.shape[:2]
    scale = max(1.0, SMALLEST_SIDE / min(height, width))
    size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
    if size == (width, height):
        return image.copy()
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _card(picture: Image, unit: float, *, top: float, height: float) -> _Canvas:
    """Darken a part of the picture to write on."""
    first, last = round(top * unit), round((top + height) * unit)
    left, right = round(MARGIN * unit), round((MARGIN + CARD_WIDTH) * unit)
    part = picture[first:last, left:right]
    cv2.addWeighted(np.full_like(part, PANEL), SHADE, part, 1 - SHADE, 0.0, dst=part)
    picture[first:last, left : left + max(2, round(3 * unit))] = ACCENT
    return _Canvas(picture, unit, MARGIN, top)


def _draw_label(card: _Canvas, prediction: Prediction | None, *, truth: str | None, fps: float) -> None:
    right = CARD_WIDTH - PADDING
    label = None if prediction is None else prediction.label
    speed = f"{fps:.0f} fps" + (f"  {prediction.latency_ms:.0f} ms" if prediction is not None else "")
    card.text_right(speed, (right, 54), size=11, colour=GREY)
    if label is None or prediction is None:
        waiting = prediction is None or prediction.state == "warming_up"
        card.text("warming up" if waiting else "unknown", (PADDING, 32), size=22, colour=GREY)
    else:
        card.text(_plain(label), (PADDING, 32), size=22, colour=WHITE, room=right - PADDING - 80)
        card.text_right(f"{prediction.score:.0%}", (right, 32), size=22, colour=ACCENT)
    if truth is not None:
        colour = GREY if label is None else RIGHT if label == truth else WRONG
        card.box(PADDING, 44, 10, 10, colour)
        verdict = "" if label is None else "right: " if label == truth else "wrong, it is "
        card.text(f"{verdict}{_plain(truth)}", (PADDING + 18, 54), size=11, colour=colour, room=270)


def _draw_runners_up(card: _Canvas, prediction: Prediction) -> None:
    width = CARD_WIDTH * (1 - ROUTING_SHARE) - 2 * PADDING
    for row, (label, score) in enumerate(prediction.top):
        y = 10 + row * 35
        card.text(_plain(label), (PADDING, y + 13), size=12, colour=WHITE if row == 0 else GREY, room=width - 48)
        card.text_right(f"{score:.0%}", (PADDING + width, y + 13), size=12, colour=WHITE if row == 0 else GREY)
        card.box(PADDING, y + 20, width, 5, TRACK)
        card.box(PADDING, y + 20, width * score, 5, ACCENT if row == 0 else GREY)


def _draw_routing(card: _Canvas, routing: dict[str, float]) -> None:
    """One column per stage, as high as its weight against the largest; a negative weight is an empty column."""
    left, width = CARD_WIDTH * (1 - ROUTING_SHARE) + PADDING, CARD_WIDTH * ROUTING_SHARE - 2 * PADDING
    floor, tall = DETAILS_HEIGHT - 24, 58
    winner = max(routing, key=routing.__getitem__)
    largest = max(routing[winner], 1e-9)
    card.text("stage", (left, 23), size=12, colour=GREY)
    card.text_right(f"{winner}: {routing[winner]:.2f}", (left + width, 23), size=12, colour=ACCENT)
    step = width / len(routing)
    for column, (stage, weight) in enumerate(routing.items()):
        x, bar = left + column * step, min(step * 0.72, 40)
        x += (step - bar) / 2
        card.box(x, floor - tall, bar, tall, TRACK)
        height = tall * max(0.0, weight) / largest
        card.box(x, floor - height, bar, height, ACCENT if stage == winner else GREY)
        if len(routing) <= MOST_NUMBERED_BARS or stage == winner:
            card.text_middle(stage, (x + bar / 2, floor + 15), size=11, colour=ACCENT if stage == winner else GREY)


def _plain(label: str) -> str:
    return label.replace("_", " ")


def _scale(height: float) -> float:
    """OpenCV's factor for capitals of that many pixels: its fonts are 22 high."""
    return height / 22
