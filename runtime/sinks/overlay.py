"""Draw results on a copy of the frame: label, score, runners-up, each expert's routing weight, recent events.

Lengths are in units of 1/480 of the picture's shorter side, so that small and large frames look the same.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stpr.runtime.canvas import GREY, TRACK, WHITE, Canvas, plain, stage_colour
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import Prediction
from stpr.runtime.result import Result
from stpr.runtime.sinks.strip import HEIGHT as STRIP_HEIGHT
from stpr.runtime.sinks.strip import Strip

SMALLEST_SIDE = 480  # smaller frames are enlarged first, so that text is legible
PANEL, SHADE = (14, 17, 22), 0.68
ACCENT, RIGHT, WRONG = (64, 196, 255), (86, 214, 120), (255, 104, 96)
MARGIN, PADDING, CARD_WIDTH = 12, 12, 456
LABEL_HEIGHT, DETAILS_HEIGHT, ROW_HEIGHT = 64, 100, 30
ROUTING_SHARE = 0.46  # share of the lower card's width, right of the runners-up
MOST_NUMBERED_BARS = 12


class Overlay:
    """Draws the results of one source, with the events of the last half minute."""

    def __init__(self) -> None:
        self._strip = Strip()

    def draw(self, result: Result) -> Image:
        """Return a new RGB picture, at least 480 pixels on its shorter side.

        If the true class is known, the prediction is marked as right or wrong.
        """
        self._strip.see(result)
        picture, prediction = _enlarged(result.frame.image), result.latest
        unit = min(picture.shape[:2]) / SMALLEST_SIDE
        width, floor = picture.shape[1] / unit - 2 * MARGIN, picture.shape[0] / unit - MARGIN
        upper = _card(picture, unit, top=MARGIN, height=LABEL_HEIGHT)
        _draw_label(upper, prediction, truth=result.truth, fps=result.fps)
        if self._strip.tells_events:
            floor -= STRIP_HEIGHT
            strip = _card(picture, unit, top=floor, height=STRIP_HEIGHT, width=width)
            self._strip.draw(replace(strip, left=strip.left + PADDING), width - 2 * PADDING)
            floor -= MARGIN / 2
        if prediction is not None and prediction.top:
            lower = _card(picture, unit, top=floor - DETAILS_HEIGHT, height=DETAILS_HEIGHT)
            _draw_runners_up(lower, prediction)
            _draw_routing(lower, prediction)
        return picture


def _enlarged(image: Image) -> Image:
    """A copy, enlarged to SMALLEST_SIDE if smaller, with even sides, which video encoders require."""
    height, width = image.shape[:2]
    scale = max(1.0, SMALLEST_SIDE / min(height, width))
    size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
    if size == (width, height):
        return image.copy()
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _card(picture: Image, unit: float, *, top: float, height: float, width: float = CARD_WIDTH) -> Canvas:
    """Darken a part of the picture as a background for text."""
    first, last = round(top * unit), round((top + height) * unit)
    left, right = round(MARGIN * unit), round((MARGIN + width) * unit)
    part = picture[first:last, left:right]
    cv2.addWeighted(np.full_like(part, PANEL), SHADE, part, 1 - SHADE, 0.0, dst=part)
    picture[first:last, left : left + max(2, round(3 * unit))] = ACCENT
    return Canvas(picture, unit, MARGIN, top)


def _draw_label(card: Canvas, prediction: Prediction | None, *, truth: str | None, fps: float) -> None:
    right = CARD_WIDTH - PADDING
    label = None if prediction is None else prediction.label
    speed = f"{fps:.0f} fps" + (f"  {prediction.latency_ms:.0f} ms" if prediction is not None else "")
    card.text_right(speed, (right, 54), size=11, colour=GREY)
    if label is None or prediction is None:
        state = "warming up" if prediction is None else prediction.state.replace("_", " ")
        card.text(state, (PADDING, 32), size=22, colour=GREY)
    else:
        card.text(plain(label), (PADDING, 32), size=22, colour=WHITE, room=right - PADDING - 80)
        card.text_right(f"{prediction.score:.0%}", (right, 32), size=22, colour=ACCENT)
    if truth is None and prediction is not None and prediction.state == "unknown":
        card.text(f"most like {plain(prediction.top[0][0])}", (PADDING, 54), size=11, colour=GREY, room=270)
    if truth is not None:
        colour = GREY if label is None else RIGHT if label == truth else WRONG
        card.box(PADDING, 44, 10, 10, colour)
        verdict = "it is " if label is None else "right: " if label == truth else "wrong, it is "
        card.text(f"{verdict}{plain(truth)}", (PADDING + 18, 54), size=11, colour=colour, room=270)


def _draw_runners_up(card: Canvas, prediction: Prediction) -> None:
    """Draw the most likely classes; for an unknown clip without scores, which are meaningless then."""
    width = CARD_WIDTH * (1 - ROUTING_SHARE) - 2 * PADDING
    known = prediction.label is not None
    for row, (label, score) in enumerate(prediction.top):
        y = 10 + row * ROW_HEIGHT
        colour, strong = (WHITE, ACCENT) if known and row == 0 else (GREY, GREY)
        card.text(plain(label), (PADDING, y + 12), size=12, colour=colour, room=width - 48 * known)
        if known:
            card.text_right(f"{score:.0%}", (PADDING + width, y + 12), size=12, colour=colour)
            card.box(PADDING, y + 17, width, 5, TRACK)
            card.box(PADDING, y + 17, width * score, 5, strong)


def _draw_routing(card: Canvas, prediction: Prediction) -> None:
    """Draw one bar per stage, relative to the largest weight; a negative weight is an empty bar.

    The largest has its stage's colour, like its events, unless the clip is unknown.
    """
    routing = prediction.routing
    left, width = CARD_WIDTH * (1 - ROUTING_SHARE) + PADDING, CARD_WIDTH * ROUTING_SHARE - 2 * PADDING
    floor, tall = DETAILS_HEIGHT - 24, 42
    winner = max(routing, key=routing.__getitem__)
    strong = GREY if prediction.label is None else stage_colour(int(winner))
    largest = max(routing[winner], 1e-9)
    card.text("stage", (left, 22), size=12, colour=GREY)
    card.text_right(f"{winner}: {routing[winner]:.2f}", (left + width, 22), size=12, colour=strong)
    step = width / len(routing)
    for column, (stage, weight) in enumerate(routing.items()):
        x, bar = left + column * step, min(step * 0.72, 40)
        x += (step - bar) / 2
        card.box(x, floor - tall, bar, tall, TRACK)
        height = tall * max(0.0, weight) / largest
        card.box(x, floor - height, bar, height, strong if stage == winner else GREY)
        if len(routing) <= MOST_NUMBERED_BARS or stage == winner:
            card.text_middle(stage, (x + bar / 2, floor + 15), size=11, colour=strong if stage == winner else GREY)
