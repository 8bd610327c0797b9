"""One action is quicker than another: the same frame features read as clips of several spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.sampling import centre_frames


def span_slots(frames: int, shares: Sequence[float]) -> tuple[int, ...]:
    """How many slots each span covers, given as shares of the clip's; never fewer than two, none twice."""
    return tuple(dict.fromkeys(max(2, round(share * frames)) for share in shares))


def clips_of_spans(features: Array, slots: Sequence[int], frames: int) -> Array:
    """Clips `(S, frames, D)` of the newest features of `(n, D)`, oldest first, one for each span that n slots cover.

    The middle of each of `frames` equal parts of a span is taken, as training takes a video's: a span of `frames` slots
    is those very slots.
    """
    covered = [count for count in slots if count <= len(features)]
    rows = [len(features) - count + np.array(centre_frames(count, frames)) for count in covered]
    return features[np.array(rows, dtype=np.int64).reshape(len(rows), frames)]
