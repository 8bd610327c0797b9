"""Reproduce a network's own image processor with the contract's preprocessing, and measure the difference.

Geometry is read from `preprocessor_config.json`; mean, scale and channel order are measured on plain pictures. Then the
outputs of both are compared on one picture, so that no step of the processor is ignored silently.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import transformers
from msgspec.structs import replace
from transformers.image_processing_base import ImageProcessingMixin

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import Image, PreprocessSpec, preprocess

LEAST: Final = 3.0  # of 255: at 224 pixels interpolation gives 0.2 to 1.6, a centre crop 5 % too small 21
TOLD: Final = 1.0  # of 255: rounding and similar interpolation mostly stay below; above, a note is shown
COARSE: Final = (9, 12)  # cells of the compared picture, coarse enough for networks with small inputs
WHOLE_FROM: Final = 384  # input size from which ConvNeXt resizes whole frames without cropping
Values = npt.NDArray[np.floating[Any]]


class Seen(NamedTuple):
    """The input format of a network."""

    spec: PreprocessSpec
    swaps: bool  # BGR
    note: str = ""  # a note on small differences from its own processor


def read_processor(place: str, source: str) -> Seen:
    """Read the input format of the network in a folder or at a hub id.

    Raises RecipeError if our preprocessing differs from its own processor by more than interpolation.
    """
    settings, _ = ImageProcessingMixin.get_image_processor_dict(place)
    try:
        own = transformers.AutoImageProcessor.from_pretrained(place, backend="pil")
    except (ImportError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        note = f"pictures are prepared as {source}'s settings say; its own processor can't be loaded ({reason})"
        return Seen(preprocess_spec(settings), bool(settings.get("do_flip_channel_order", False)), note)
    spec = preprocess_spec({"image_mean": [0.0] * 3, "image_std": [1.0] * 3} | settings, type(own).__name__)
    spec, swaps = _values(own, spec)
    return Seen(spec, swaps, _compared(own, spec, swaps, source))


def _tried(own: Any, image: Image) -> Any:
    """Run the processor on a picture; raises RecipeError if it fails with its own settings."""
    try:
        return own(image, return_tensors="np")["pixel_values"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RecipeError(
            f"[backbone] the {type(own).__name__.removesuffix('Pil')} of this network fails with its own"
            f" preprocessor_config.json ({reason}); fix that file, or name another network."
        ) from error


def _values(own: Any, spec: PreprocessSpec) -> tuple[PreprocessSpec, bool]:
    """Measure mean, standard deviation and order of the channels, whatever the processor's settings call them."""
    side = 2 * max(spec.height, spec.width)
    black, white, red = (_middle(own, np.full((side, side, 3), colour, np.uint8)) for colour in (0, 255, (255, 0, 0)))
    swaps = bool(abs(red[2] - white[2]) < abs(red[0] - white[0]))
    if swaps:
        black, white = black[::-1], white[::-1]
    std = 1 / (white - black)
    mean = -black * std
    if np.allclose(mean, spec.mean, atol=1e-4) and np.allclose(std, spec.std, rtol=1e-4):
        return spec, swaps  # the stated values, which have no rounding errors
    return replace(spec, mean=_three(mean), std=_three(std)), swaps


def _three(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


def _middle(own: Any, image: Image) -> npt.NDArray[np.float64]:
    """The processor's output at the centre of a picture, `(3,)`."""
    pixels = _own(own, image)
    return pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].astype(np.float64)


def _own(own: Any, image: Image) -> Values:
    """The processor's output `(3, H, W)`."""
    pixels: Values = np.asarray(_tried(own, image), np.float32)
    return pixels.reshape(pixels.shape[-3:])


def _compared(own: Any, spec: PreprocessSpec, swaps: bool, source: str) -> str:
    """A note on a small difference, "" if there is none; raises RecipeError for a large one."""
    image = example(spec)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    ours: Values = ((preprocess(image, spec).astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    theirs, kind = _own(own, image), type(own).__name__.removesuffix("Pil")
    if theirs.shape != ours.shape:
        raise RecipeError(
            f"[backbone] source {source!r}: its {kind} makes pictures of {_size(theirs)}, and here they become"
            f" {_size(ours)}; give one size in its preprocessor_config.json, as {{'height': N, 'width': N}}."
        )
    if swaps:
        ours = ours[::-1]
    off = float((np.abs(ours - theirs) * (std[::-1] if swaps else std)[:, None, None]).mean() * 255)
    if off > (bound := max(LEAST, _one_pixel(ours, std))):
        raise RecipeError(
            f"[backbone] source {source!r}: pictures as prepared here differ from its {kind}'s by {off:.1f} of 255 on"
            f" average (interpolation and rounding stay below {bound:.1f}), so its features would mean something else;"
            f" {_cause(own)}, or name another network."
        )
    if off <= max(TOLD, bound / 4):
        return ""
    return f"pictures differ from {kind}'s by {off:.1f} of 255 on average, as interpolation and rounding do"


def _one_pixel(pixels: Values, std: Values) -> float:
    """Difference of a picture `(3, H, W)` from itself shifted by one pixel, of 255: the most rounding can cause."""
    return float((np.abs(pixels[:, 1:, 1:] - pixels[:, :-1, :-1]) * std[:, None, None]).mean() * 255)


def _cause(own: Any) -> str:
    """The processor's setting that we don't support, and the fix."""
    size, crop = getattr(own, "size", None), getattr(own, "crop_size", None)
    if getattr(own, "do_center_crop", False) and size and crop and min(_sides(crop)) > min(_sides(size)):
        padded = f"it pads pictures of {min(_sides(size))} to {min(_sides(crop))}"
        return f"{padded}: set size to crop_size or more in its preprocessor_config.json"
    return "set size, crop_size and do_center_crop in its preprocessor_config.json to a plain resize or a middle"


def _size(pixels: Values) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[2]}"


def example(spec: PreprocessSpec) -> Image:
    """A test picture, not square, with colour and detail, twice as wide as the network's input."""
    side = max(spec.height, spec.width)
    cells = np.random.default_rng(0).integers(0, 256, (*COARSE, 3), dtype=np.uint8)
    picture = cv2.resize(cells, (2 * side, side * 3 // 2), interpolation=cv2.INTER_CUBIC)
    return np.asarray(picture, np.uint8)


def preprocess_spec(processor: dict[str, Any], kind: str = "") -> PreprocessSpec:
    """Convert an image processor's settings (`preprocessor_config.json`) to a PreprocessSpec; `kind` is its class."""
    size = _sides(processor["size"])
    crop = _sides(processor["crop_size"]) if processor.get("crop_size") else size
    stretches = isinstance(processor["size"], dict) and "height" in processor["size"]
    if kind.startswith("ConvNext"):
        stretches, crop = stretches or min(size) >= WHOLE_FROM, size
    cuts = bool(processor.get("do_center_crop", not stretches))
    height, width = crop if cuts or not stretches else size
    kept = min(crop) / min(size) if processor.get("crop_size") else processor.get("crop_pct") or 1.0
    if kind.startswith("ConvNext"):
        kept = processor.get("crop_pct") or 1.0
    if stretches:
        kept = min(crop) / min(size) if cuts and crop != size else 1.0
    normalises = processor.get("do_normalize", True)
    return PreprocessSpec(
        height=height,
        width=width,
        resize="stretch" if stretches else "crop",
        crop_fraction=min(1.0, kept),
        mean=tuple(processor["image_mean"]) if normalises else (0.0, 0.0, 0.0),
        std=tuple(processor["image_std"]) if normalises else (1.0, 1.0, 1.0),
    )


def _sides(size: Any) -> tuple[int, int]:
    """Height and width, in any of the notations that processors use."""
    if isinstance(size, int):
        return size, size
    if not isinstance(size, dict):
        size = {key: value for key, value in dict(size).items() if value}
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])
