"""Which test clips a proof rests on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stpr.export.parity import clips
from stpr.export.parity.clips import LabelledVideo, coverage


def write_list(run: Path, counts: dict[str, int]) -> None:
    """A stage's list of so many test clips of each class, in order."""
    rows = [(run / label / f"{index:03}.mp4", label) for label, count in counts.items() for index in range(count)]
    for path, _ in rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (run / "stage-1").mkdir()
    lines = ["path,label,predicted", *(f"{path},{label},{label}" for path, label in rows)]
    (run / "stage-1" / "predictions.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("many", [1, 2, 3, 7, 16, 40])
def test_however_many_are_taken_they_are_spread_over_the_classes_and_within_each(tmp_path: Path, many: int) -> None:
    write_list(tmp_path, {"a": 40, "b": 40, "c": 40})
    tested = clips.tested_videos(tmp_path, 1, None)
    assert len({video.path for video in tested}) == 120
    chosen = tested[: 3 * many]
    assert Counter(video.label for video in chosen) == {"a": many, "b": many, "c": many}
    places = sorted(int(video.path.stem) for video in chosen if video.label == "b")
    gaps = [after - before for before, after in zip(places, [*places[1:], 40], strict=True)]
    assert max(gaps) <= 4 * 40 / many  # no stretch of a list, such as one take, is left out


def test_classes_of_few_clips_give_all_they_have(tmp_path: Path) -> None:
    write_list(tmp_path, {"a": 1, "b": 5})
    tested = clips.tested_videos(tmp_path, 1, None)
    assert Counter(video.label for video in tested[:4]) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("chosen", "tested", "said"),
    [
        ("ab", "aabb", "2 of 4 test clips, 1 of each of 2 classes"),
        ("aba", "aabb", "3 of 4 test clips, 1 to 2 of each of 2 classes"),
        ("a", "aabb", "1 of 4 test clips, 0 to 1 of each of 2 classes"),
        ("aabb", "aabb", "all 4 test clips, 2 of each of 2 classes"),
    ],
)
def test_what_a_proof_rests_on_is_said(chosen: str, tested: str, said: str) -> None:
    videos = [[LabelledVideo(Path(label), label, label) for label in labels] for labels in (chosen, tested)]
    assert coverage(*videos) == said
