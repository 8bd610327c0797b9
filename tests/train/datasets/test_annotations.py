from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.contract.names import in_order
from stpr.train.datasets.annotations import Video


def test_clips_are_in_the_order_in_which_they_were_filmed() -> None:
    names = ["b/1.mp4", "a/clip10.mp4", "a/clip2.mp4", "a/take2_1.mp4", "a/take10_1.mp4", "a/take2_10.mp4", "a/x.mp4"]
    assert [str(path) for path in sorted(map(Path, names), key=in_order)] == [
        *("a/clip2.mp4", "a/clip10.mp4", "a/take2_1.mp4", "a/take2_10.mp4", "a/take10_1.mp4", "a/x.mp4", "b/1.mp4")
    ]


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("wave/anna_2_13.mp4", "wave/anna_2_"),
        ("wave/anna 7.mp4", "wave/anna "),
        ("wave/anna.mp4", "wave/anna"),
        ("wave/2026.mp4", "wave/"),
    ],
)
def test_a_recording_is_what_comes_before_the_last_number(name: str, recording: str) -> None:
    assert Video(Path(name), "wave", "train").recording == recording
