from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.report.mistakes import Mistake, Pair, confused_pairs, most_telling, read_mistakes
from tests.train.report.test_run import made_up


def listed(run: Path, rows: list[list[str]]) -> Path:
    (run / "stage-1").mkdir(parents=True)
    with (run / "stage-1" / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return run


def mistake(name: str, predicted: str, score: float | None) -> Mistake:
    return Mistake(Path(name), "wave", predicted, score)


def test_clips_that_were_got_right_are_no_mistakes(tmp_path: Path) -> None:
    rows = [["/a.mp4", "wave, twice", "jump", "0.75"], ["/b.mp4", "jump", "jump", "0.5"], ["/c.mp4", "jump", "bow", ""]]
    found = read_mistakes(listed(tmp_path, [["path", "label", "predicted", "score"], *rows]), 1)
    assert found == [
        Mistake(Path("/a.mp4"), "wave, twice", "jump", 0.75), Mistake(Path("/c.mp4"), "jump", "bow", None)
    ]  # fmt: skip


def test_the_lists_of_earlier_runs_had_no_scores(tmp_path: Path) -> None:
    run = listed(tmp_path, [["path", "label", "predicted"], ["/a.mp4", "wave", "jump"]])
    assert read_mistakes(run, 1) == [Mistake(Path("/a.mp4"), "wave", "jump", None)]


@pytest.mark.parametrize(
    "rows", [[["path", "label"], ["/a", "b"]], [["path", "label", "predicted", "score"], ["/a", "b", "c", "high"]]]
)
def test_a_list_that_is_none_is_one_line(tmp_path: Path, rows: list[list[str]]) -> None:
    for run, stage in ((listed(tmp_path, rows), 1), (tmp_path, 2)):
        with pytest.raises(CheckpointError, match=r"predictions\.csv can't be read"):
            read_mistakes(run, stage)


def test_of_many_mistakes_every_pair_has_its_surest_one_and_the_commonest_pair_comes_first() -> None:
    jumps = [mistake(f"jump{number}", "jump", number / 10) for number in range(5)]
    bow, old = mistake("bow", "bow", 0.2), mistake("old", "run", None)
    assert most_telling([old, bow, *jumps], 4) == [jumps[4], jumps[3], bow, old]
    assert most_telling([bow], 4) == [bow]
    assert most_telling([], 4) == []


def test_pairs_are_by_count_and_in_one_direction() -> None:
    table = [[5, 2, 0], [3, 1, 0], [0, 0, 4]]
    metrics = msgspec.structs.replace(made_up([3]), confusion=table)
    assert confused_pairs(metrics) == [Pair("class_1", "class_0", 3, 4), Pair("class_0", "class_1", 2, 7)]
