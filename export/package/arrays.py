"""The array files of a bundle: its golden clip, and the place of its classes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from stpr.export.graphs.cut import decided
from stpr.export.parity.reference import answers
from stpr.runtime.contract.preprocess import Array
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.model.threads import one_thread


@one_thread()
def golden_file(model: StPR, pixels: Array) -> bytes:
    """The content of `golden.npz`: a clip's pixels `(1, T, *shape)` and PyTorch's outputs."""
    given = answers(model, pixels)
    frames, greys = model.encoder.pixels.split(pixels)
    # Pixels first: they are identical at the next stage, so its update omits the common beginning of the files.
    arrays: dict[str, Any] = {"frames": frames} if greys is None else {"frames": frames, "greys": greys}
    return _packed(arrays | {name: getattr(given, name) for name in ("features", *decided(model))})


def place_file(model: StPR) -> bytes | None:
    """The content of `place.npz`: place of the classes among frame features; None if no column may drift."""
    statistics = model.head.combiner.statistics
    if not isinstance(statistics, ClipStatistics):
        return None
    middle, deviation = statistics.class_place()
    if not deviation.any():
        return None
    return _packed({"middle": middle.cpu().numpy(), "deviation": deviation.cpu().numpy()})


def _packed(arrays: Mapping[str, Any]) -> bytes:
    # In memory first, since a full disk in the middle of a zip file raises from its destructor too.
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
