"""The table, the picture and the page of a comparison, from made-up figures."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest

from stpr.train.compare.jobs import Outcome
from stpr.train.compare.presets import Row
from stpr.train.report.comparison import notes, show_comparison, table, write_comparison
from stpr.train.report.comparison_figure import _apart, comparison_figure
from stpr.train.run.metrics import UNKNOWN, Metrics

OURS, LDA, BROKEN = Row("ours", ()), Row("lda", ("method=streaming_lda",)), Row("text", ("class_vectors.kind=text",))


def made_up(*accuracy: list[float | None], **changes: Any) -> Metrics:
    """A run of stages of one class each; on equally many clips, so that all seen is the mean."""
    classes = [f"class_{number}" for number in range(len(accuracy))]
    seen = [sum(filter(None, row)) / len(row) for row in accuracy]
    metrics = Metrics(
        method="stpr", seed=0, classes=classes, stages=[[name] for name in classes], accuracy=list(accuracy), seen=seen,
        final=seen[-1], average_incremental=sum(seen) / len(seen), backward_forgetting=0.0, seconds=90.0,
        environment={}, routing=[], curves=[[]] * len(classes),
        confusion=[
            [int(one == two and share is not None) for two in classes]
            for one, share in zip(classes, accuracy[-1], strict=True)
        ],
    )  # fmt: skip
    return msgspec.structs.replace(metrics, **changes)


@pytest.fixture
def outcomes() -> list[Outcome]:
    """Two rows of two seeds and one that failed; `ours` has 0.9 and 0.8, so 85.0 ± 7.07."""
    return [
        Outcome(
            OURS, 0, made_up([1.0], [0.8, 1.0], routing_accuracy=0.75, oracle_accuracy=1.0), kept=2_000_000, recipe="ab"
        ),
        Outcome(
            OURS, 1, made_up([1.0], [0.6, 1.0], routing_accuracy=0.85, oracle_accuracy=1.0), kept=2_000_000, recipe="cd"
        ),
        Outcome(LDA, 0, made_up([1.0], [0.9, 0.9], backward_forgetting=0.1), kept=400, recipe="ef"),
        Outcome(LDA, 1, made_up([1.0], [0.9, 0.9], backward_forgetting=0.1), kept=400, recipe="01"),
        Outcome(BROKEN, 0, failure="no text tower."),
        Outcome(BROKEN, 1, failure="no text tower."),
    ]


def cells(outcomes: list[Outcome]) -> list[list[str]]:
    """The table's lines, the best of a column between asterisks."""
    return [[f"**{cell.text}**" if cell.best else cell.text for cell in line] for line in table(outcomes)[1]]


def test_means_and_sample_deviations_by_hand(outcomes: list[Outcome]) -> None:
    headings, (ours, lda, broken) = table(outcomes)[0], cells(outcomes)
    assert headings[1:5] == ["seeds", "final accuracy", "average incremental", "backward forgetting"]
    assert headings[5:] == ["routing accuracy", "oracle accuracy", "oracle gap", "kept", "time"]
    assert ours == [
        "ours", "2", "85.0 ± 7.1", "92.5 ± 3.5", "**0.0 ± 0.0**", "80.0 ± 7.1", "100.0 ± 0.0", "15.0 ± 7.1",
        "2.0 MB", "1 min 30 s",
    ]  # fmt: skip
    assert lda[:5] == ["lda", "2", "**90.0 ± 0.0**", "**95.0 ± 0.0**", "10.0 ± 0.0"]
    assert lda[5:8] == [UNKNOWN] * 3
    assert broken == ["text", "0 of 2", *[UNKNOWN] * 8]


def test_one_seed_has_no_deviation_and_closed_forms_no_routing(outcomes: list[Outcome]) -> None:
    assert table(outcomes[2:3])[0] == [
        "row", "seeds", "final accuracy", "average incremental", "backward forgetting", "kept", "time"
    ]  # fmt: skip
    assert cells(outcomes[2:3]) == [["lda", "1", "90.0", "95.0", "10.0", "400 B", "1 min 30 s"]]  # alone is not best
    assert not any("deviation" in note or "Oracle gap" in note for note in notes(outcomes[2:3]))


def test_rows_that_are_equal_are_both_best(outcomes: list[Outcome]) -> None:
    other = [Outcome(Row("b", ("x=1",)), 0, made_up([1.0], [0.9, 0.90002]))]
    assert [line[2] for line in cells([outcomes[2], *other])] == ["**90.0**", "**90.0**"]


def test_a_method_that_keeps_videos_is_never_marked_as_best(outcomes: list[Outcome]) -> None:
    bound = Outcome(Row("all at once", ("method=joint",)), 0, made_up([1.0], [1.0, 1.0], method="joint"))
    assert [line[2] for line in cells([*outcomes, bound])] == ["85.0 ± 7.1", "**90.0 ± 0.0**", UNKNOWN, "100.0"]


def test_notes_name_seeds_class_orders_and_failures(outcomes: list[Outcome]) -> None:
    said = " ".join(notes(outcomes))
    assert "over the seeds 0, 1, all in one class order" in said
    assert notes(outcomes)[-1] == "text failed (seed 0, 1): no text tower."
    untested = Outcome(LDA, 0, made_up([1.0], [None, 0.9]))
    gone = "lda: 1 of 2 stages could not be tested because its videos are gone: 1."
    assert notes([untested, dataclasses.replace(untested, seed=1)]).count(gone) == 1
    other = made_up([1.0], [0.9, 0.9])
    other = msgspec.structs.replace(other, classes=["x", "y"], stages=[["x"], ["y"]])
    assert "each its own class order" in notes([outcomes[0], Outcome(OURS, 1, other)])[0]


def test_all_files_hold_the_same_results(tmp_path: Path, outcomes: list[Outcome]) -> None:
    page = write_comparison(tmp_path / "out", outcomes, title="a <b>", about={"command": "stpr-train compare 'a|b'"})
    text, lines = page.read_text(encoding="utf-8"), (page.parent / "table.md").read_text(encoding="utf-8")
    assert {path.name for path in page.parent.iterdir()} == {"table.csv", "table.md", "curves.png", "index.html"}
    assert "| lda | 2 | **90.0 ± 0.0** |" in lines
    number = '<td style="text-align:right">'
    assert f"<td>lda</td>\n{number}2</td>\n{number}<strong>90.0 ± 0.0</strong></td>" in text
    assert "<title>a &lt;b&gt;</title>" in text
    assert "<h1>a &lt;b&gt;</h1>" in text
    assert "stpr-train compare 'a\\|b'" in lines
    assert "stpr-train compare 'a|b'" in text
    assert "text failed (seed 0, 1): no text tower." in text
    assert "src='" not in text
    assert text.count('src="data:image/png;base64,') == text.count("src=") == 1
    picture = cv2.imread(str(page.parent / "curves.png"))
    assert picture is not None
    assert picture.std() > 10
    with (page.parent / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["seed"]) for row in rows] == [
        (outcome.row.name, str(outcome.seed)) for outcome in outcomes
    ]
    assert float(rows[1]["final"]) == 0.8
    assert rows[1]["kept_bytes"] == "2000000"
    assert rows[2]["routing_accuracy"] == rows[4]["final"] == rows[4]["seconds"] == rows[0]["failed"] == ""
    assert rows[4]["failed"] == "no text tower."


def test_names_with_markup_are_literal(
    tmp_path: Path, outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    name = r"[b]_a_ $x_1$ |*c*| `d` <i>"
    renamed = [dataclasses.replace(outcome, row=Row(name, (name,))) for outcome in outcomes[:2]]
    page = write_comparison(tmp_path, renamed, title=name, about={name: name})
    text = page.read_text(encoding="utf-8")
    cell = "[b]_a_ $x_1$ |*c*| `d` &lt;i&gt;"
    assert text.count(f"<td>{cell}</td>") == 5
    assert f"<h1>{cell}</h1>" in text
    markdown = page.with_name("table.md").read_text(encoding="utf-8")
    assert r"| \[b\]\_a\_ \$x_1\$ \|\*c\*\| \`d\` \<i\> | 2 |" in markdown
    (label,) = comparison_figure({name: [[0.5]]}).axes[0].texts
    assert (label.get_text(), label.get_parse_math()) == (f"{name}  50.0", False)
    show_comparison(renamed)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{name}      2      85.0 ± 7.1")


def test_without_a_single_figure_there_is_no_picture(tmp_path: Path, outcomes: list[Outcome]) -> None:
    (tmp_path / "curves.png").touch()  # of an earlier comparison in this folder
    text = write_comparison(tmp_path, outcomes[4:], title="none", about={}).read_text(encoding="utf-8")
    assert "<img" not in text
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(("rows", "seeds", "stages"), [(1, 1, 1), (6, 3, 5), (16, 2, 26)])
def test_lines_look_different_and_labels_do_not_overlap(rows: int, seeds: int, stages: int) -> None:
    curves = {f"row_{row}": [[0.5 + 0.001 * seed] * stages for seed in range(seeds)] for row in range(rows)}
    figure = comparison_figure(curves)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    drawn = [line for line in axes.get_lines() if line.get_clip_on()]
    looks = {(line.get_color(), line.get_linestyle(), str(line.get_marker())) for line in drawn}
    assert len(drawn) == len(looks) == rows
    assert len(axes.collections) == (rows if seeds > 1 else 0)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [f"{name}  {50 + 0.05 * (seeds - 1):.1f}" for name in curves]
    for one, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:one])


def test_labels_are_moved_apart_and_no_further() -> None:
    assert _apart([0.1, 0.5, 0.9], room=0.1, top=1.0) == pytest.approx([0.1, 0.5, 0.9])
    assert _apart([0.1, 0.1, 0.9], room=0.1, top=1.0) == pytest.approx([0.1, 0.2, 0.9])
    assert _apart([0.99, 1.0, 1.0], room=0.1, top=1.0) == pytest.approx([0.8, 0.9, 1.0])
