"""Recorded sources: every frame of a file or folder, in order, as fast as they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.capture import read_rgb
from stpr.runtime.sources.frame import Frame, Origin

FOLDER_FPS = 25.0  # a folder of images has no clock: its frames count as captured at this rate
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Some containers only estimate their frame count (duration x rate); more missing than this is damage.
MISSING_FRAMES, MISSING_SHARE = 3, 0.05


class RecordedSource:
    """Images at a known rate; the reader is waited for and nothing is dropped."""

    dropped = 0
    reconnects = 0

    def __init__(self, name: str, images: Iterator[Image], *, fps: float, frames: int = 0) -> None:
        """`frames` is how many images there seem to be; 0 where nobody knows."""
        self.origin = Origin(name, is_live=False, fps=fps)
        self.seconds = frames / fps
        self._rate = fps
        self._images = images
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, at media time index / fps."""
        for index, image in enumerate(self._images):
            if self._stopped:
                return
            yield Frame(image, index, index / self._rate, self.origin)

    def stop(self) -> None:
        """End the iteration at the next frame."""
        self._stopped = True

    def close(self) -> None:
        """Nothing to wait for: the file is released with the iteration."""
        self.stop()


def open_recorded(path: Path) -> RecordedSource:
    """A video file or a folder of images. Raises SourceError for what is neither."""
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return open_file(path)
    raise SourceError(f"there is no video or folder {path}; check the path.")


def open_file(path: Path) -> RecordedSource:
    """A video file; raises SourceError unless it can be opened and says how fast it runs."""
    device = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not device.isOpened():
        raise SourceError(f"{path} can't be decoded: it is damaged, cut short or no video; copy or record it again.")
    fps = device.get(cv2.CAP_PROP_FPS)
    if not 0 < fps <= 1000:
        raise SourceError(f"{path} does not say at what rate it runs (it says {fps:g} fps); convert it to mp4.")
    frames = max(0, round(device.get(cv2.CAP_PROP_FRAME_COUNT)))
    return RecordedSource(str(path), _video(device, path), fps=fps, frames=frames)


def open_folder(path: Path) -> RecordedSource:
    """The images of a folder in natural order (2 before 10), as if captured at FOLDER_FPS."""
    files = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
    if not files:
        raise SourceError(f"{path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); name a folder that does.")
    return RecordedSource(str(path), map(_read_image, files), fps=FOLDER_FPS, frames=len(files))


def _video(device: cv2.VideoCapture, path: Path) -> Iterator[Image]:
    announced, read = round(device.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    try:
        while (image := read_rgb(device)) is not None:
            read += 1
            yield image
    finally:
        device.release()
    if read == 0 or announced - read > max(MISSING_FRAMES, MISSING_SHARE * announced):
        raise SourceError(
            f"{path} ended after {read} of the {announced} frames it announces: it is damaged or cut short;"
            " copy or record it again."
        )


def _read_image(file: Path) -> Image:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{file} can't be decoded as an image; remove or replace it.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
