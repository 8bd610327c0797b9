"""The sinks of a run as one: which are opened, and what happens when some or all of them break."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import SINKS, Counts, open_sinks
from stpr.runtime.sinks.sink import MissedError, Sink
from tests.runtime.sinks.results import make_result


class Noting:
    """A sink that notes what it took and where; it breaks at a frame if told to."""

    def __init__(self, *, every_frame: bool = True, breaks_at: int = -1) -> None:
        self.every_frame, self.breaks_at = every_frame, breaks_at
        self.taken: list[int] = []
        self.thread: threading.Thread | None = None
        self.closed = False

    def write(self, result: Result) -> None:
        self.thread = threading.current_thread()
        if result.frame.index == self.breaks_at:
            raise StprError("no room left; make some.")
        self.taken.append(result.frame.index)

    def close(self) -> None:
        self.closed = True


def use(monkeypatch: pytest.MonkeyPatch, **sinks: Sink | None) -> None:
    def opening(sink: Sink | None) -> Callable[[Settings], Sink | None]:
        return lambda _: sink

    monkeypatch.setattr("stpr.runtime.sinks.SINKS", {name: opening(sink) for name, sink in sinks.items()})


def settings(**changes: object) -> Settings:
    return Settings(**{"source": "0", "headless": True, **changes})  # type: ignore[arg-type]


def test_the_settings_say_which_are_opened(tmp_path: Path) -> None:
    asked = settings(json=str(tmp_path / "out.jsonl"), record=tmp_path / "out.mp4")
    for given, wanted in ((settings(), {"text"}), (settings(json="-"), {"json"}), (asked, {"json", "text", "record"})):
        opened = {name: open_sink(given) for name, open_sink in SINKS.items()}
        assert {name for name, sink in opened.items() if sink is not None} == wanted
        for sink in opened.values():
            if sink is not None:
                sink.close()


def test_a_run_that_nobody_hears_of_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, absent=None)
    with pytest.raises(StprError, match=r"the run would have no output, .* add --json FILE or --serve"):
        open_sinks(settings())
    with closing(open_sinks(settings(serve="localhost:8080"))) as sinks:
        sinks.write(make_result())  # the page shows it


def test_all_run_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Noting(), Noting()
    use(monkeypatch, one=one, other=other, absent=None)
    with closing(open_sinks(settings())) as sinks:
        sinks.write(make_result())
    assert [sink.thread.name for sink in (one, other) if sink.thread is not None] == ["sink one", "sink other"]
    assert one.closed
    assert other.closed


def test_each_gets_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, words = Noting(), Noting(every_frame=False)
    use(monkeypatch, pictures=pictures, words=words)
    with closing(open_sinks(settings())) as sinks:
        for index in range(10):
            sinks.write(make_result(index, said=index % 4 == 0))
    assert pictures.taken == list(range(10))
    assert words.taken == [0, 4, 8]


def test_one_that_breaks_leaves_the_others_at_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = Noting()
    use(monkeypatch, bad=Noting(breaks_at=2), good=good)
    with closing(open_sinks(settings())) as sinks:
        for index in range(6):
            sinks.write(make_result(index))
    assert good.taken == list(range(6))
    assert sinks.broken == ["bad"]
    assert sinks.missed == {"bad": 4}
    assert caplog.messages == ["bad stopped, recognition continues: no room left; make some."]


def test_what_a_sink_can_not_take_now_is_counted_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Choosy(Noting):
        def write(self, result: Result) -> None:
            if result.frame.index % 2:
                raise MissedError(f"frame {result.frame.index} is odd.")
            super().write(result)

    choosy = Choosy()
    use(monkeypatch, choosy=choosy)
    with closing(open_sinks(settings())) as sinks:
        for index in range(100):
            sinks.write(make_result(index))
    assert choosy.taken == list(range(0, 100, 2))
    assert sinks.counts == {"choosy": Counts(written=50, dropped=0, failed=50)}
    assert (sinks.missed, sinks.broken) == ({"choosy": 50}, [])
    assert caplog.messages == [f"choosy: frame {index} is odd." for index in range(1, 100, 2)]


def test_when_none_is_left_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, one=Noting(breaks_at=0), other=Noting(breaks_at=1))

    def go_on() -> None:
        for index in range(1000):
            sinks.write(make_result(index))
            time.sleep(0.01)

    with (
        closing(open_sinks(settings())) as sinks,
        pytest.raises(StprError, match=r"stopped \(one, other\), see"),
    ):
        go_on()


def test_one_that_can_not_be_opened_leaves_none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Noting()

    def fail(settings: Settings) -> Sink:
        raise StprError(f"nothing can be sent for {settings.source}.")

    monkeypatch.setattr("stpr.runtime.sinks.SINKS", {"first": lambda _: first, "second": fail})
    with pytest.raises(StprError, match="nothing can be sent for 0"):
        open_sinks(settings())
    assert first.closed
