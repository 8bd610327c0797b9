"""Open files and URLs with OpenCV's FFmpeg, each with its own options of FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import cv2

FFMPEG_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # OpenCV's only way to pass options to FFmpeg, read on opening
NONE: Final[Mapping[str, str]] = MappingProxyType({})

_ours = {""}  # all options that were set here: others are the user's


def open_with_ffmpeg(
    address: str, properties: Sequence[int] = (), options: Mapping[str, str] = NONE
) -> cv2.VideoCapture:
    """Open a file or URL with OpenCV's properties and FFmpeg's options; the user's own options have priority."""
    words = "|".join(f"{name};{value}" for name, value in options.items())
    if os.environ.get(FFMPEG_OPTIONS, "") in _ours:
        _ours.add(words)
        os.environ[FFMPEG_OPTIONS] = words
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, [*properties])
