"""Several sources under one model: who gets what, who breaks, who waits."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stpr.runtime.cameras import Cameras
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.model import Model
from stpr.runtime.recognizer import run, run_all
from stpr.runtime.session import Session
from stpr.runtime.sources.files import open_recorded
from stpr.runtime.sources.frame import Frame, Origin
from tests.factories import make_bundle, make_video
from tests.runtime.runs import FEATURES, JUDGED, Watched, noise


class Film:
    """A source of so many frames, which may break at its end or never come to it."""

    dropped = reconnects = skipped = 0

    def __init__(self, name: str, count: int, end: Exception | str = "ends", *, pause: float = 0.0) -> None:
        self.origin = Origin(name, is_live=True)
        self.count, self.end, self.pause = count, end, pause
        self.stopped = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            time.sleep(self.pause)
            yield Frame(noise(1, index)[0], index, index / 8, self.origin)
        if isinstance(self.end, Exception):
            raise self.end
        while self.end == "hangs" and not self.stopped:
            time.sleep(0.01)

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass


def test_every_frame_of_every_source_comes_once_and_in_order() -> None:
    films = [Film("a", 20), Film("b", 7, pause=0.005), Film("c", 0)]
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    ended = []
    for taken in Cameras(films):
        for number, frame in taken.items():
            if frame is None:
                ended.append(number)
            else:
                assert number not in ended
                assert frame.source is films[number].origin
                seen[number].append(frame.index)
    assert seen == {0: list(range(20)), 1: list(range(7)), 2: []}
    assert sorted(ended) == [0, 1, 2]


def test_no_more_than_one_frame_of_a_source_grows_old_while_a_round_is_handled() -> None:
    class Counted(Film):
        handed = 0

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                self.handed += 1
                yield frame

    films = [Counted("a", 10), Counted("b", 10)]
    for taken in Cameras(films):
        time.sleep(0.02)
        for number, frame in taken.items():
            assert frame is None or films[number].handed <= frame.index + 2


def test_one_that_breaks_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    films = [Film("dies", 3, SourceError("no frames any more.")), Film("lives", 30, pause=0.005)]
    seen: list[dict[int, Frame | None]] = []
    with pytest.raises(SourceError, match="no frames any more"):
        seen.extend(Cameras(films))
    assert sum(taken.get(1) is not None for taken in seen) == 30
    assert caplog.records[0].getMessage() == "dies has ended, the others continue: no frames any more."


def test_it_can_be_stopped_while_none_of_them_gives_anything() -> None:
    films = [Film("a", 1, "hangs"), Film("b", 1, "hangs")]
    cameras = Cameras(films)
    count = 0
    for taken in cameras:
        count += len(taken)
        if count == 2:
            cameras.stop()
    assert all(film.stopped for film in films)


def test_cameras_share_the_calls_and_each_is_told_what_it_would_be_told_alone(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path))
    videos = [make_video(tmp_path / f"{number}.avi", frames=24, fps=8) for number in range(3)]
    encoder, head = Watched(FEATURES), Watched(JUDGED)
    model = Model(bundle, encoder=encoder, head=head)
    alone = [list(run(Session(model, source.origin), source)) for source in map(open_recorded, videos)]
    encoder.shapes.clear()
    sources = [open_recorded(video) for video in videos]
    together: dict[str, list[tuple[int, str | None]]] = {}
    rounds = run_all([Session(model, source.origin) for source in sources], Cameras(sources))
    for _, result in itertools.chain.from_iterable(rounds):
        said = None if result.prediction is None else result.prediction.state
        together.setdefault(result.frame.source.name, []).append((result.frame.index, said))
        assert result.prediction is None or result.prediction.source == result.frame.source.name
    for video, results in zip(videos, alone, strict=True):
        assert together[str(video)] == [
            (result.frame.index, None if result.prediction is None else result.prediction.state) for result in results
        ]
    assert sum(shape[0] for shape in encoder.shapes) == 36
    assert len(encoder.shapes) < 36  # some were encoded together
