"""Preprocess one frame: geometry here, on uint8; normalisation is part of the graph, from the same spec.

Training, export and device all call `preprocess`, so the three agree bit for bit. All images are RGB.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.errors import ContractError

Image: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Array: TypeAlias = npt.NDArray[Any]


class PreprocessSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an RGB frame becomes encoder input. No field has a default, since silent defaults cause train-serve skew."""

    height: int
    width: int
    resize: Literal["crop", "stretch"]  # keep the aspect ratio and crop the centre, or resize the whole frame
    crop_fraction: float  # of the largest centred box with the output's (crop) or the frame's (stretch) aspect ratio
    mean: tuple[float, float, float]  # RGB, for pixels in [0, 1]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Reject impossible sizes and values."""
        if min(self.height, self.width) < 1:
            raise ContractError(f"preprocess height and width must be positive, got {self.height}x{self.width}.")
        if not 0 < self.crop_fraction <= 1:
            raise ContractError(f"preprocess crop_fraction must be in (0, 1], got {self.crop_fraction}.")
        if min(self.std) <= 0:
            raise ContractError(f"preprocess std must be positive, got {self.std}.")


def preprocess(image: Image, spec: PreprocessSpec) -> Image:
    """Crop and resize one frame `(H, W, 3)` uint8 RGB of any size to `(height, width, 3)` uint8 RGB."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ContractError(f"a frame must be uint8 (H, W, 3), got {image.dtype} {image.shape}.")
    image = _centre_box(image, spec)
    height, width = image.shape[:2]
    if (height, width) == (spec.height, spec.width):
        return np.ascontiguousarray(image)
    # Area averaging gives the antialiasing that shrinking needs, but blocks when enlarging.
    shrinks = height >= spec.height and width >= spec.width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (spec.width, spec.height), interpolation=method), dtype=np.uint8)


def _centre_box(image: Image, spec: PreprocessSpec) -> Image:
    """The centred crop box, `crop_fraction` of the largest one with the output's or the frame's aspect ratio."""
    height, width = image.shape[:2]
    down, across = height / spec.height, width / spec.width
    if spec.resize == "crop":
        down = across = min(down, across)
    box_height = max(1, round(spec.height * down * spec.crop_fraction))
    box_width = max(1, round(spec.width * across * spec.crop_fraction))
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return image[top : top + box_height, left : left + box_width]
