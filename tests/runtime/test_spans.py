from __future__ import annotations

import numpy as np
import pytest

from stpr.runtime.spans import clips_of_spans, span_slots


@pytest.mark.parametrize(
    ("frames", "shares", "slots"),
    [
        (8, (0.875, 1.0, 1.125), (7, 8, 9)),
        (4, (0.9, 1.0, 1.1), (4,)),
        (4, (0.1, 1.0), (2, 4)),
        (16, (0.7, 1.5), (11, 24)),
    ],
)
def test_spans_cover_whole_slots_once(frames: int, shares: tuple[float, ...], slots: tuple[int, ...]) -> None:
    assert span_slots(frames, shares) == slots


def test_spans_end_at_the_newest_slot() -> None:
    features = np.arange(12, dtype=np.float32)[:, None]
    clips = clips_of_spans(features, (2, 4, 8, 12), 4)[..., 0]
    # Middles of four parts: of two slots each twice, of eight every second, of twelve every third.
    assert clips.tolist() == [[10, 10, 11, 11], [8, 9, 10, 11], [5, 7, 9, 11], [1, 4, 7, 10]]


def test_spans_longer_than_what_was_seen_wait() -> None:
    features = np.arange(5, dtype=np.float32)[:, None]
    assert clips_of_spans(features, (4, 6), 4)[..., 0].tolist() == [[1, 2, 3, 4]]
    assert clips_of_spans(features[:3], (4, 6), 4).shape == (0, 4, 1)
