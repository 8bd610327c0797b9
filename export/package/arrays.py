"""What a bundle holds as arrays beside its graphs: its golden clip, and where its classes lie."""

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
    """`golden.npz`: a clip's pixels `(1, T, *shape)` and what PyTorch gave for it."""
    given = answers(model, pixels)
    frames, greys = model.encoder.pixels.split(pixels)
    # Pixels first: they are the same at the next stage, whose update then leaves out what both files begin with.
    arrays: dict[str, Any] = {"frames": frames} if greys is None else {"frames": frames, "greys": greys}
    return _packed(arrays | {name: getattr(given, name) for name in ("features", *decided(model))})


def place_file(model: StPR) -> bytes | None:
    """`place.npz`: where the classes lie among frame features; None where no column may move with a drift."""
    statistics = model.head.combiner.statistics
    if not isinstance(statistics, ClipStatistics):
        return None
    middle, deviation = statistics.whereabouts()
    if not deviation.any():
        return None
    return _packed({"middle": middle.cpu().numpy(), "deviation": deviation.cpu().numpy()})


def _packed(arrays: Mapping[str, Any]) -> bytes:
    # In memory first: a disk that fills up in the middle of a zip file raises from its destructor too.
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
