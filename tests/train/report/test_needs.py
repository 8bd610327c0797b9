from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.report.needs import ClassFigures, advice, class_figures, least_recognised
from stpr.train.report.run import write_report
from stpr.train.run.checkpoint import BackboneRecord, StageRecord
from stpr.train.run.metrics import UNKNOWN
from tests.train.report.test_run import Page, made_up, save

METRICS = msgspec.structs.replace(made_up([2, 1]), confusion=[[3, 1, 1], [0, 4, 0], [2, 0, 2]])


def counted(run: Path, stage: int, stages: tuple[tuple[str, ...], ...], clips: tuple[int, ...]) -> None:
    """The record of a stage that was learnt from so many clips of each class."""
    record = StageRecord(
        stage=stage, stages=stages, clip=ClipSpec(frames=8, span_seconds=1.0),
        preprocess=PreprocessSpec(height=8, width=8, resize="stretch", crop_fraction=1.0, mean=(0.5, 0.5, 0.5),
                                  std=(0.5, 0.5, 0.5)),
        temperature=0.05, unknown=None, backbone=BackboneRecord(source="tiny", digest=""), method="stpr", seed=0,
        sha256="", kept=(), clips=clips,
    )  # fmt: skip
    (run / f"stage-{stage}").mkdir()
    (run / f"stage-{stage}" / "stage.json").write_bytes(msgspec.json.encode(record))


def one(name: str, right: int, tested: int, learnt: int | None) -> ClassFigures:
    return ClassFigures(name, 1, right, tested, learnt)


def test_the_page_has_the_worst_class_first_with_its_training_clips(tmp_path: Path) -> None:
    run = save(tmp_path, "run", METRICS)
    counted(run, 2, (("class_0", "class_1"), ("class_2",)), (7,))
    assert [figure.learnt for figure in class_figures(run, METRICS)] == [None, None, 7]  # stage 1 was deleted
    page = write_report(run)
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    rows = f"| class_2 | 2 | 50.0 % | 4 | 7 |\n| class_0 | 1 | 60.0 % | 5 | {UNKNOWN} |\n"
    assert rows in text
    assert "class_2 is recognised least: 50.0 % of 4 test clips" in Page.of(page).text
    counted(run, 1, (("class_0", "class_1"),), (20, 30))
    assert "learnt from 7 clips, half of the classes from 20 or more: add clips" in Page.of(write_report(run)).text


@pytest.mark.parametrize(
    ("figures", "says", "not_said"),
    [
        ([one("a", 1, 4, 5), one("b", 4, 4, 20), one("c", 4, 4, 30)], "half of the classes from 20 or more", "variety"),
        ([one("a", 1, 4, 30), one("b", 4, 4, 20), one("c", 4, 4, 5)], "it may lack variety", "add clips"),
        ([one("a", 1, 4, None), one("b", 4, 4, None)], "the run did not record how many", "add clips"),
        ([one("a", 4, 4, 5), one("b", 4, 4, 20)], "clips. a was learnt from the fewest: 5.", "least"),
        ([one("a", 4, 4, 5), one("b", 0, 0, 5)], "don't tell which class needs more", "fewest"),
        ([one("a", 4, 4, 5)], "don't tell which class needs more", "fewest"),
    ],
)
def test_the_advice_says_no_more_than_the_figures(figures: list[ClassFigures], says: str, not_said: str) -> None:
    said = advice(figures)
    assert says in said
    assert not_said not in said


def test_of_equals_the_one_learnt_from_fewer_clips_comes_first() -> None:
    few, many, worse, right, untested = (
        one("few", 1, 2, 3), one("many", 1, 2, 9), one("worse", 0, 2, 9), one("right", 2, 2, 1), one("old", 0, 0, 1)
    )  # fmt: skip
    assert least_recognised([many, few, right, untested, worse], 8) == [worse, few, many]
    assert least_recognised([many, few, worse], 1) == [worse]
