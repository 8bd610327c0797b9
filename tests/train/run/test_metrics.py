from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.run.metrics import (
    RENAMED,
    Metrics,
    accuracy_row,
    average_incremental,
    backward_forgetting,
    caveats,
    confusion,
    read_metrics,
    routing_accuracy,
    scored_on,
    seen_accuracy,
    write_metrics,
)

SCHEMA_0 = Path(__file__).with_name("metrics_schema_0.json")
shares = st.floats(0, 1, width=32)
tables = st.integers(1, 8).flatmap(
    lambda size: st.tuples(*(st.lists(shares, min_size=n, max_size=n) for n in range(1, size + 1)))
)


@st.composite
def guesses(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """True and predicted places of clips, at least one of each class, and the sizes of the stages."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    place = st.integers(0, sum(sizes) - 1)
    labels = [*range(sum(sizes)), *draw(st.lists(place, max_size=20))]
    predicted = draw(st.lists(place, min_size=len(labels), max_size=len(labels)))
    return labels, predicted, sizes


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[0.9]], 0.0),
        ([[1.0], [0.5, 0.8]], 0.5),
        ([[0.9], [0.8, 0.7], [0.6, 0.5, 1.0]], ((0.9 - 0.6) + (0.7 - 0.5)) / 2),
        ([[0.5], [0.7, 0.7], [0.8, 0.6, 0.0]], ((0.5 - 0.8) + (0.7 - 0.6)) / 2),
        ([[1.0], [0.0, 1.0], [1.0, 1.0, 0.0]], 0.0),  # forgotten and found again: only the end counts
    ],
)
def test_backward_forgetting_by_hand(table: list[list[float]], expected: float) -> None:
    assert backward_forgetting(table) == pytest.approx(expected)


@given(tables)
def test_backward_forgetting_keeps_its_bounds(table: tuple[list[float], ...]) -> None:
    assert -1 <= backward_forgetting(table) <= 1


@given(st.lists(shares, min_size=1, max_size=8))
def test_what_never_changes_is_not_forgotten(diagonal: list[float]) -> None:
    assert backward_forgetting([diagonal[: stage + 1] for stage in range(len(diagonal))]) == 0


@given(tables, shares)
def test_the_last_stage_can_not_be_forgotten_yet(table: tuple[list[float], ...], other: float) -> None:
    changed = [*table[:-1], [*table[-1][:-1], other]]
    assert backward_forgetting(changed) == backward_forgetting(table)


@pytest.mark.parametrize(("seen", "expected"), [([0.8], 0.8), ([1.0, 0.5], 0.75), ([0.9, 0.6, 0.3], 0.6)])
def test_average_incremental_by_hand(seen: list[float], expected: float) -> None:
    assert average_incremental(seen) == pytest.approx(expected)


def test_accuracies_by_hand() -> None:
    #  stage 1 = places 0 and 1 (four clips, three right), stage 2 = place 2 (two clips, one right)
    labels, predicted = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 0]
    assert accuracy_row(labels, predicted, [2, 1]) == [0.75, 0.5]
    assert seen_accuracy(labels, predicted) == pytest.approx(4 / 6)  # pooled over clips, not the mean of the two
    assert confusion(labels, predicted, 3).tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert confusion(labels, predicted, 4).shape == (4, 4)


@pytest.mark.parametrize(
    ("routing", "stages", "expected"),
    [
        ([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8]], [1, 2, 2, 1], 0.5),
        ([[-0.5, -0.2, -0.9], [0.1, 0.2, 0.3]], [2, 3], 1.0),  # raw cosines
        ([[1.0], [1.0]], [1, 1], None),  # a single expert
        ([[0.5, 0.5], [0.5, 0.5]], [1, 2], None),  # equal weights choose nothing
    ],
)
def test_routing_accuracy_by_hand(routing: list[list[float]], stages: list[int], expected: float | None) -> None:
    assert routing_accuracy(np.asarray(routing), stages) == expected


@given(guesses())
def test_tables_of_the_same_guesses_agree(case: tuple[list[int], list[int], list[int]]) -> None:
    labels, predicted, sizes = case
    table = confusion(labels, predicted, sum(sizes))
    assert table.sum() == len(labels)
    assert table.sum(axis=1).tolist() == np.bincount(labels, minlength=sum(sizes)).tolist()
    assert seen_accuracy(labels, predicted) == pytest.approx(np.trace(table) / len(labels))
    edges = [0, *np.cumsum(sizes)]
    clips = [int(table[start:end].sum()) for start, end in itertools.pairwise(edges)]
    row = accuracy_row(labels, predicted, sizes)
    assert np.dot(np.asarray(row, dtype=float), clips) / len(labels) == pytest.approx(seen_accuracy(labels, predicted))
    assert accuracy_row(labels, labels, sizes) == [1.0] * len(sizes)


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "two lists of one length"),
        ([0, 1], [0], "two lists of one length"),
        ([[0]], [[0]], "two lists of one length"),
        ([0, -1], [0, 0], "not be negative"),
        ([0, 1], [0, 3], "below 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: list[Any], predicted: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(labels, predicted, 3)


def test_every_clip_needs_a_stage() -> None:
    with pytest.raises(ValueError, match=r"test clips must be of the stages of \[1\] classes"):
        accuracy_row([0, 1], [0, 1], [1])


@pytest.mark.parametrize(
    ("sizes", "expected"), [([1, 1, 1], [1.0, 0.5, None]), ([1, 1, 3], [1.0, 0.5, None]), ([2], [2 / 3])]
)
def test_the_accuracy_of_a_stage_without_clips_is_unknown(sizes: list[int], expected: list[float | None]) -> None:
    assert accuracy_row([0, 1, 1], [0, 1, 0], sizes) == expected
    assert accuracy_row([2], [2], [1, 1, 1]) == [None, None, 1.0]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[0.9], [None, 0.7]], 0.0),
        ([[0.9], [None, 0.7], [None, 0.5, 1.0]], 0.7 - 0.5),
        ([[0.9], [None, 0.7], [0.6, None, 1.0]], 0.9 - 0.6),
        ([[None], [0.8, 0.7], [0.6, 0.4, 1.0]], 0.7 - 0.4),
    ],
)
def test_backward_forgetting_is_over_what_is_known(table: list[list[float | None]], expected: float) -> None:
    assert backward_forgetting(table) == pytest.approx(expected)


def make_metrics(**changes: Any) -> Metrics:
    fields: dict[str, Any] = {
        "method": "stpr",
        "seed": 0,
        "classes": ["wave", "clap", "jump"],
        "stages": [["wave", "clap"], ["jump"]],
        "accuracy": [[0.9], [0.8, 1.0]],
        "seen": [0.9, 0.85],
        "final": 0.85,
        "average_incremental": 0.875,
        "backward_forgetting": 0.1,
        "seconds": 3.5,
        "environment": {"command": "stpr-train motions"},
        "confusion": [[1, 0, 0], [0, 2, 0], [1, 0, 3]],
        "routing": [[0.9, 0.1], [0.2, 0.8]],
        "curves": [[{"contrast": 1.5}], []],
    }
    return Metrics(**{**fields, **changes})


def test_metrics_come_back_as_written(tmp_path: Path) -> None:
    written = write_metrics(tmp_path, make_metrics())
    assert written == tmp_path / "metrics.json"
    assert read_metrics(tmp_path) == make_metrics()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["clap", "wave", "jump"]}, "classes of `stages` in order"),
        ({"classes": [], "stages": []}, "classes of `stages` in order"),
        ({"accuracy": [[0.9]]}, "a row for each of the 2 stages"),
        ({"accuracy": [[0.9, 0.0], [0.8, 1.0]]}, "row i of i entries"),
        ({"seen": [0.9]}, "a row for each of the 2 stages"),
        ({"seen": [0.9, 85.0]}, r"fractions in 0\.\.1"),
        ({"accuracy": [[90.0], [0.8, 1.0]]}, r"fractions in 0\.\.1"),
        ({"confusion": [[1, 0], [0, 1]]}, "3 x 3"),
        ({"routing": [[1.0, 0.0]]}, "2 rows of equal length"),
        ({"routing": [[1.0], [0.5, 0.5]]}, "2 rows of equal length"),
        ({"accuracy": [[0.9], [1.1, 1.0]]}, r"fractions in 0\.\.1"),
        ({"accuracy": [[0.9], [0.8, None]]}, "a stage just learnt must be known"),
        ({"accuracy": [[None], [0.8, 1.0]]}, "a stage just learnt must be known"),
        ({"accuracy": [[0.9], [None, 1.0]]}, "`accuracy` must be null .* where `confusion` has no clips"),
        ({"confusion": [[0, 0, 0], [0, 0, 0], [1, 0, 3]]}, "`accuracy` must be null .* where `confusion` has no clips"),
        ({"routing": [None, [0.2, 0.8]]}, "`routing` must be null where `accuracy` is"),
    ],
)
def test_metrics_that_contradict_each_other_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_metrics(**changes)
    content = {**msgspec.to_builtins(make_metrics()), **changes}
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_metrics(tmp_path)
    assert "\n" not in caught.value.message


GONE: dict[str, Any] = {
    "accuracy": [[0.9], [None, 1.0]],
    "confusion": [[0, 0, 0], [0, 0, 0], [1, 0, 3]],
    "routing": [None, [0.2, 0.8]],
}


def test_an_untested_stage_is_written_as_null(tmp_path: Path) -> None:
    written = make_metrics(**GONE)
    content = json.loads(write_metrics(tmp_path, written).read_bytes())
    assert (content["accuracy"][1], content["routing"][0]) == ([None, 1.0], None)
    assert read_metrics(tmp_path) == written
    assert (written.untested_stages, written.untested_classes) == ([1], ["wave", "clap"])
    assert not written.forgetting_known


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"notes": ["Beware."]}, ["Beware."]),
        (GONE, ["1 of 2 stages could not be tested because its videos are gone: 1."]),
        (
            {"confusion": [[1, 0, 0], [0, 0, 0], [1, 0, 3]]},
            ["Stage 1 was tested without 'clap': no test video of theirs is left."],
        ),
        (
            {
                "stages": [["wave"], ["clap"], ["jump"]],
                "accuracy": [[0.9], [0.8, 1.0], [None, None, 1.0]],
                "seen": [0.9, 0.85, 1.0],
                "confusion": GONE["confusion"],
                "routing": [],
            },
            ["2 of 3 stages could not be tested because their videos are gone: 1, 2."],
        ),
    ],
)
def test_caveats_name_what_was_not_tested(changes: dict[str, Any], said: list[str]) -> None:
    metrics = make_metrics(**changes)
    assert caveats(metrics) == said
    assert metrics.forgetting_known == (None not in metrics.accuracy[-1])


def test_before_a_second_stage_nothing_can_be_forgotten() -> None:
    first = make_metrics(
        classes=["wave"], stages=[["wave"]], accuracy=[[0.9]], seen=[0.9], confusion=[[9]], routing=[[1.0]]
    )
    assert first.forgetting_known


def test_a_file_of_schema_0_is_read_under_the_keys_of_today(tmp_path: Path) -> None:
    """A real run's file, as written before there was a schema number; only epochs were taken out of its curves."""
    shutil.copy(SCHEMA_0, tmp_path / "metrics.json")
    old = json.loads(SCHEMA_0.read_bytes())
    found = read_metrics(tmp_path)
    assert (found.schema, found.routing_accuracy, found.oracle_accuracy) == (2, old["routed"], old["right_expert"])
    for one, before in zip(found.unknown, old["unknown"], strict=True):
        assert one is not None
        assert one.false_positive_rate == before["false_alarms"]
        assert one.false_positive_rate_at_recall == before["false_alarms_at_recall"]
        assert (one.recall, one.auroc, one.target_recall) == (before["recall"], before["auroc"], None)
    rewritten = json.loads(write_metrics(tmp_path, found).read_bytes())
    assert next(iter(rewritten)) == "schema"
    assert all(rewritten[key] == value for key, value in old.items() if key not in (*RENAMED, "unknown"))
    assert read_metrics(tmp_path) == found


def test_a_file_of_schema_1_is_read_under_the_keys_of_today(tmp_path: Path) -> None:
    content = msgspec.to_builtins(make_metrics(decision_weights={"motion": 3.0}))
    content |= {"schema": 1, "heard": content.pop("decision_weights")}
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(content))
    assert read_metrics(tmp_path) == make_metrics(decision_weights={"motion": 3.0})


@pytest.mark.parametrize("schema", [3, -1, "1", None])
def test_a_file_of_an_unknown_schema_is_refused(tmp_path: Path, schema: Any) -> None:
    content = {**msgspec.to_builtins(make_metrics()), "schema": schema}
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(CheckpointError, match=rf"metrics\.json has schema {schema!r}, not 0 to 2; update stpr to read"):
        read_metrics(tmp_path)


def test_metrics_from_before_there_were_lists_and_notes_can_be_read(tmp_path: Path) -> None:
    content = msgspec.to_builtins(make_metrics(lists={"clips.csv": ["ab"]}, notes=["Beware."]))
    del content["lists"], content["notes"]
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(content))
    assert read_metrics(tmp_path) == make_metrics(lists={}, notes=[])


def test_a_method_without_experts_has_no_routing() -> None:
    assert make_metrics(routing=[]).routing == []


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"seed": 0', b"\xff\xfe", b'{"seed": "zero"}', b'{"sead": 0}']
)
def test_damaged_metrics_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"metrics\.json can't be read .*; move it away"):
        read_metrics(tmp_path)


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no metrics\.json: no stage is finished there yet"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    ("classes", "untested", "said"),
    [("a", "", "the one class"), ("ab", "", "all 2 classes"), ("ab", "b", "1 of 2 classes")],
)
def test_what_an_accuracy_covers(classes: str, untested: str, said: str) -> None:
    metrics: Any = SimpleNamespace(classes=list(classes), untested_classes=list(untested))
    assert scored_on(metrics) == said
