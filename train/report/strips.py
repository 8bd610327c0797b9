"""Draw misclassified test clips as film strips: a few frames of each, decoded again from its video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.figure import Figure

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.contract.sampling import centre_frames
from stpr.train.data.videos import VideoFile, probe
from stpr.train.report.figures import INK, blank_figure
from stpr.train.report.letters import MOST_LETTERS, drawn, short, style
from stpr.train.report.mistakes import Mistake
from stpr.train.report.quantities import percent

MOST_STRIPS: Final = 24
FRAMES: Final = 5  # per strip
WIDTH, HEIGHT, GAP = 112, 84, 2  # of a frame, and between frames, in pixels
COLUMNS: Final = 2
BACKGROUND: Final = 236


def strips_figure(mistakes: Sequence[Mistake]) -> Figure:
    """One strip per mistake, titled with true class, predicted class, score and file name."""
    columns = min(COLUMNS, len(mistakes))
    rows = math.ceil(len(mistakes) / columns)
    figure = blank_figure(5.2 * columns, 1.25 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, mistake in zip(figure.axes, mistakes, strict=False):
        strip, why = _strip(mistake.video)
        axes.imshow(strip, interpolation="antialiased")
        score = "" if mistake.score is None else f", {percent(mistake.score)}"
        words = f"{short(mistake.label)} taken for {short(mistake.predicted)}{score}"
        axes.set_title(drawn(words), loc="left", fontsize=8, pad=13, color=INK, **style(words))
        name = short(mistake.video.name, 2 * MOST_LETTERS)
        axes.text(0, 1.03, drawn(name), transform=axes.transAxes, fontsize=6.5,
                  color="#666666", va="bottom", **style(name))  # fmt: skip
        axes.text(0.5, 0.5, why, transform=axes.transAxes, fontsize=9, color=INK, ha="center", va="center")
    return figure


def _strip(video: Path) -> tuple[Image, str]:
    """Frames side by side `(HEIGHT, W, 3)` RGB, and ""; blank frames and the reason if the video can't be read."""
    try:
        return np.hstack(_spaced(_frames(video))), ""
    except DataError:
        blank = np.full((HEIGHT, FRAMES * (WIDTH + GAP) - GAP, 3), BACKGROUND, np.uint8)
        return blank, "the video can't be decoded" if video.is_file() else "the video is gone"


def _frames(path: Path) -> list[Image]:
    """The centre frames of equal segments of a video, resized. Raises DataError if the video can't be read."""
    wanted = centre_frames(probe(path).frames, FRAMES)
    with VideoFile(path) as video:
        found = {index: _fitted(picture) for index, picture in video.frames(wanted)}
    return [found[index] for index in wanted]


def _fitted(picture: Image) -> Image:
    """Resize a picture to fit, keeping its aspect ratio, and centre it in `(HEIGHT, WIDTH, 3)`."""
    height, width = picture.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    place = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    place[top : top + size[1], left : left + size[0]] = small
    return place


def _spaced(pictures: Sequence[Image]) -> list[Image]:
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    return [part for picture in pictures for part in (gap, picture)][1:]
