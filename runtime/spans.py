"""Read the same frame features as clips of several lengths, for faster and slower actions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.sampling import centre_frames


def span_slots(frames: int, shares: Sequence[float]) -> tuple[int, ...]:
    """The number of slots per span, given as shares of the clip's; at least two, without duplicates."""
    return tuple(dict.fromkeys(max(2, round(share * frames)) for share in shares))


def clips_of_spans(features: Array, slots: Sequence[int], frames: int) -> Array:
    """Clips `(S, frames, D)` from the newest of `(n, D)` features, oldest first, one per span that n slots cover.

    The centre of each of `frames` equal segments of a span is taken, as training does with a video; a span of `frames`
    slots is exactly these slots.
    """
    covered = [count for count in slots if count <= len(features)]
    rows = [len(features) - count + np.array(centre_frames(count, frames)) for count in covered]
    return features[np.array(rows, dtype=np.int64).reshape(len(rows), frames)]
