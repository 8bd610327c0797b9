from __future__ import annotations

import msgspec
import pytest

from stpr.runtime.bench.report import SCHEMA, BenchReport, Cost, Latency, measure_cost, report_lines, spreads
from stpr.runtime.bench.watch import Watched
from stpr.runtime.decision import BundleId
from stpr.runtime.events import EventSettings
from stpr.runtime.timing import Timing
from stpr.runtime.untrimmed import Action, DetectedEvent, Stream, figures

COST = Cost(
    machine="here",
    cpus=2,
    frames=10,
    encoded=5,
    predictions=3,
    fps=100.0,
    latency_ms=Latency(p50=1.0, p95=2.0, p99=3.0),
    peak_memory_mb=99.6,
)


def make_report(**streams: Stream) -> BenchReport:
    unknown = {"juggle": 1}
    return BenchReport(
        schema=SCHEMA,
        bundle=BundleId(name="toy", stage=2, digest="ab"),
        engine="onnxruntime",
        threads=None,
        annotations="truth.csv",
        tolerance=2.2,
        settings=EventSettings(),
        not_learnt=unknown,
        cost=COST,
        all=figures(list(streams.values()), tolerance=2.2, not_learnt=unknown) if streams else None,
        videos={name: figures([stream], tolerance=2.2, not_learnt=unknown) for name, stream in streams.items()},
    )


def watched(frames: int, seconds: float, latencies: list[float]) -> Watched:
    timing = Timing()
    for index in range(frames):
        timing.saw_frame(100 + index * seconds / (frames - 1))
    return Watched(Stream(1.0, [], []), timing, latencies)


def test_columns_stand_under_each_other_whatever_their_names() -> None:
    long = "a_name_of_an_action_that_is_longer_than_any_table_has_room_for"
    stream = Stream(60.0, [Action(1, 2, long), Action(5, 6, "bob")], [DetectedEvent(1.5, 2.5, long)], 10, 1)
    lines = report_lines(make_report(a=stream, another=stream))
    table = lines[: lines.index("")]
    assert len(table) == 4
    ends = [
        [index for index, letter in enumerate(line) if letter != " " and line[index + 1 : index + 2] in {" ", ""}]
        for line in table
    ]
    assert ends[1][-1] == ends[2][-1] == ends[0][-1]
    assert table[0].split() == [
        *(
            "video",
            "actions",
            "events",
            "right",
            "precision",
            "recall",
            "F1",
            "false/min",
            "delay",
            "p50",
            "p95",
            "overlap",
            "still",
        )
    ]
    assert table[1].split() == ["a", "2", "1", "1", "1.000", "0.500", "0.667", "0.00", "0.50", "0.50", "-", "10.0%"]
    assert table[3].split()[:4] == ["all", "4", "2", "2"]
    assert max(map(len, lines[lines.index("") + 1 : -5])) < 120
    assert any("…" in line for line in lines)


def test_one_video_needs_no_sum() -> None:
    lines = report_lines(make_report(a=Stream(60.0, [], [])))
    assert not any(line.startswith("all") for line in lines)
    assert lines[1].split() == ["a", "0", "0", "0", "-", "-", "-", "0.00", "-", "-", "-", "-"]


def test_seeds_are_told_by_mean_and_deviation() -> None:
    """F1 of 1 and 0.5 has mean 0.75 and sample deviation 0.354; nobody stands in these streams."""
    actions = [Action(1, 2, "bob"), Action(5, 6, "bob")]
    report = make_report(**{
        "seed-0/a.mp4": Stream(60.0, actions, [DetectedEvent(1.5, 2.5, "bob"), DetectedEvent(5.5, 6.5, "bob")]),
        "seed-1/a.mp4": Stream(60.0, actions, [DetectedEvent(1.5, 2.5, "bob"), DetectedEvent(30.0, 31.0, "bob")]),
    })  # fmt: skip
    found = spreads(report.videos)
    assert found.keys() == {"a"}
    lines = report_lines(msgspec.structs.replace(report, seeds=found))
    (row,) = (line for line in lines if line.startswith("a  "))
    assert row.split() == ["a", "0.750", "±", "0.354", "0.50", "±", "0.71", "-", "-"]


def test_what_a_class_was_confused_with_most_comes_first() -> None:
    said = ["bob", "sway", "bob", "grow", "shrink"]
    actions = [Action(10 * index, 10 * index + 2, "juggle") for index in range(5)]
    events = [DetectedEvent(10 * index + 1, 10 * index + 2, label) for index, label in enumerate(said)]
    lines = report_lines(make_report(a=Stream(60.0, actions, events)))
    (line,) = (line for line in lines if line.startswith("juggle"))
    assert line.split("-")[-1].strip() == "bob 2, sway 1, grow 1, ..."


def test_speed_alone_is_one_line() -> None:
    assert report_lines(make_report()) == [
        "10 frames, 5 encoded, 3 predictions, 100.0 fps, latency p50 1.0, p95 2.0, p99 3.0 ms, peak memory 100 MB"
    ]


def test_cost_is_that_of_all_videos_together() -> None:
    found = measure_cost([watched(11, 1.0, [1.0] * 99), watched(61, 2.0, [5.0])])
    assert (found.frames, found.predictions) == (72, 100)
    assert found.fps == pytest.approx(70 / 3)  # intervals over seconds: not the mean of 10 and 30
    assert found.latency_ms is not None
    assert found.latency_ms.p50 == 1.0
    assert found.latency_ms.p99 == pytest.approx(1.04)
    assert found.peak_memory_mb > 10


def test_without_predictions_there_is_no_latency() -> None:
    assert measure_cost([watched(2, 1.0, [])]).latency_ms is None
