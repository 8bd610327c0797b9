from __future__ import annotations

import time
from pathlib import Path

import pytest

from stpr.runtime.bench.parts import PARTS, Parts
from stpr.runtime.bench.videos import Video
from stpr.runtime.bench.watch import Watched, Watcher
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.events import EventSettings
from stpr.runtime.untrimmed import Action
from tests.runtime.bench.conftest import FPS, film
from tests.runtime.runs import ONE


def watched(bundle: Path, video: Video, seen: list[float] | None = None) -> Watched:
    noted = [] if seen is None else seen
    parts = Parts()
    with parts.open_model(open_bundle(bundle), "onnxruntime", ONE) as model:
        (found,) = Watcher(model, parts, [EventSettings()]).watch(video, noted.append)
    return found


def test_what_is_heard_has_a_start_an_end_and_the_moment_it_was_said(telling: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    actions = (Action(4.0, 6.0, "wave"), Action(12.0, 14.0, "wave"))
    video = Video("a.avi", film(tmp_path / "a.avi", 20.0, [action[:2] for action in actions]), actions)
    found = watched(telling, video, seen)
    assert found.stream.seconds == seen[-1] == (20 * FPS - 1) / FPS
    assert seen == sorted(seen)
    assert [event.label for event in found.stream.events] == ["wave", "wave"]
    for event, action in zip(found.stream.events, actions, strict=True):
        assert action.start <= event.start < event.reported <= event.start + 1.0
        assert event.end is not None
        assert event.start <= event.end <= action.end + 1.0
    assert found.timing.frames == 160
    assert len(found.latencies) == found.timing.predictions == found.timing.encoded - 3


def test_an_action_that_goes_on_at_the_end_is_heard_to_the_end(telling: Path, tmp_path: Path) -> None:
    video = Video("a.avi", film(tmp_path / "a.avi", 8.0, [(4.0, 8.0)]), ())
    (event,) = watched(telling, video).stream.events
    assert event.end == pytest.approx(8.0, abs=0.3)


def test_windows_are_still_where_nothing_happens_in_any_span(telling: Path, tmp_path: Path) -> None:
    """Windows end every quarter of a second and look back 1.375 s at most; frames stand at eighths of a second."""
    path = film(tmp_path / "a.avi", 10.0, [])
    everything = watched(telling, Video("a.avi", path, ())).stream
    assert everything.still_windows == 40
    some = watched(telling, Video("a.avi", path, (Action(4.0, 6.0, "wave"),))).stream
    moments = [index / FPS for index in range(80) if index % 2 == 1]
    assert some.still_windows == sum(at < 4.0 or at - 1.375 > 6.0 for at in moments)
    assert everything.still_called == 37  # this bundle always names a class, once its window is full


def test_several_cameras_hear_what_one_hears_and_share_the_calls(telling: Path, tmp_path: Path) -> None:
    actions = (Action(4.0, 6.0, "wave"),)
    video = Video("a.avi", film(tmp_path / "a.avi", 10.0, [(4.0, 6.0)]), actions)
    one, parts, seen = watched(telling, video), Parts(), list[float]()
    with parts.open_model(open_bundle(telling), "onnxruntime", ONE) as model:
        several = Watcher(model, parts, [EventSettings()], 3).watch(video, seen.append)
    assert [each.stream for each in several] == [one.stream] * 3
    assert [each.timing.frames for each in several] == [80] * 3
    assert len(seen) == 240
    counts = {part: len(calls) for part, calls in parts.calls.items()}
    assert counts == {"decoding": 240, "encoder": 40, "head": 37, "all else": 40}
    assert all(ms > 0 for part in PARTS for ms in parts.calls[part])


def test_the_parts_add_up_to_the_whole(telling: Path, tmp_path: Path) -> None:
    video, shares = Video("a.avi", film(tmp_path / "a.avi", 10.0, []), ()), list[float]()
    for _ in range(5):
        parts = Parts()
        with parts.open_model(open_bundle(telling), "onnxruntime", ONE) as model:
            begun = time.perf_counter()
            (found,) = Watcher(model, parts, [EventSettings()]).watch(video, lambda _: None)
            took = 1000 * (time.perf_counter() - begun)
        handled = sum(sum(parts.calls[part]) for part in ("encoder", "head", "all else"))
        assert sum(found.latencies) <= handled * 1.001
        # No part is counted twice: this holds however busy the machine is.
        assert handled + sum(parts.calls["decoding"]) <= took
        # The rate is counted from the first frame on, which took the opening of the file and the first calls.
        shares.append((handled + sum(parts.calls["decoding"][1:])) / (1000 * found.timing.frames / found.timing.fps))
    assert max(shares) > 0.5  # and little is left out; a busy machine may be away between two parts, but not each time
