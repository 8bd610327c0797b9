"""Bundles change while a stream runs: no frame is lost, nothing is said by a wrong class map, bad ones stay out."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.delta import write_delta
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.signature import new_keys, read_private_key, sign
from stpr.runtime.decision import Prediction
from stpr.runtime.filters import open_filters
from stpr.runtime.filters.events import Events
from stpr.runtime.model import open_model
from stpr.runtime.recognizer import run, run_all, step
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings, UpdateSettings
from stpr.runtime.sources import Frame, Origin
from stpr.runtime.updates import Models, Updater
from stpr.runtime.updates.ledger import LEDGER
from tests.factories import MOTION, make_bundle
from tests.runtime.runs import ONE, noise
from tests.runtime.updates.bundles import make_next, seal

FPS, SECONDS = 30, 60.0
IMAGES = noise(97)


def frames(count: int | None = None) -> Iterator[Frame]:
    """A recorded stream without an end, its frames always the same."""
    origin = Origin("stream", is_live=False, fps=FPS)
    for index in itertools.count() if count is None else range(count):
        yield Frame(IMAGES[index % len(IMAGES)], index, index / FPS, origin, stands=1 / FPS)


@dataclass
class Run:
    """A stream that runs under an updater as far as a test wants."""

    updater: Updater
    session: Session
    made: list[Prediction] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    stream: Iterator[Frame] = field(default_factory=frames)

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < end, self.updater.status
            (result,) = step([(self.session, next(self.stream))])
            self.seen.append(result.frame.index)
            self.made += [] if result.prediction is None else [result.prediction]
            self.updater.after([(self.session, result)])
            time.sleep(0.0005)  # for the updater's thread

    def until_stage(self, stage: int) -> None:
        self.until(lambda: self.session.model.id.stage == stage and self.updater.status.phase == "idle")

    def until_refused(self) -> str:
        self.until(lambda: "is refused" in (self.updater.status.last or ""))
        return self.updater.status.last or ""


@contextmanager
def running(watch: Path, bundle: Path | None = None, *, predictions: int = 2, **more: Any) -> Iterator[Run]:
    rules = UpdateSettings(predictions=predictions)
    settings = Settings(source="stream", watch=watch, bundle=bundle, threads=1, updates=rules, **more)
    models = Models(settings)
    with models.first() as model:
        session = Session(model, Origin("stream", is_live=False), open_filters(settings, model.manifest))
        with closing(Updater(models, [session], settings)) as updater:
            yield Run(updater, session)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "watched")


def said_alone(bundle: Path, stream: list[Frame]) -> dict[int, tuple[Any, ...]]:
    """What a bundle says of each frame of a stream that it has watched from the start."""
    with open_model(open_bundle(bundle), "onnxruntime", ONE) as model:
        session = Session(model, stream[0].source)
        made = [step([(session, frame)])[0].prediction for frame in stream]
    return {one.frame: told(one) for one in made if one is not None}


def told(one: Prediction) -> tuple[Any, ...]:
    return one.state, one.label, one.score, one.top, one.routing


@pytest.mark.parametrize(
    ("other_encoder", "swaps"), [(False, 20), pytest.param(True, 100, marks=pytest.mark.rare)], ids=["same", "other"]
)
def test_a_hundred_swaps_lose_no_frame_and_say_nothing_wrong(tmp_path: Path, other_encoder: bool, swaps: int) -> None:
    """Each prediction is the one that its bundle would have made, had it watched alone from the first frame on."""
    old = make_bundle(tmp_path / "watched", motion=MOTION)
    new = make_next(old, tmp_path / "made" / "stage-3", other_encoder=other_encoder)
    with running(tmp_path / "watched") as stream:
        for _ in range(swaps // 2):
            stream.updater.ask(new)
            stream.until_stage(3)
            stream.updater.roll_back()
            stream.until_stage(2)
        assert stream.updater.status.swaps == swaps
    assert stream.seen == list(range(len(stream.seen)))
    alone = {stage: said_alone(path, [*frames(len(stream.seen))]) for stage, path in ((2, old), (3, new))}
    digests = {stage: open_bundle(path).digest for stage, path in ((2, old), (3, new))}
    assert [one.frame for one in stream.made] == list(alone[2])  # none is missing, none comes twice
    wrong = [one for one in stream.made if told(one) != alone[one.bundle.stage][one.frame]]
    assert wrong == []
    assert all(one.bundle.digest == digests[one.bundle.stage] for one in stream.made)
    assert {one.bundle.stage for one in stream.made} == {2, 3}
    assert [one.state for one in stream.made].count("warming_up") == 3  # at the very start alone


def test_a_swap_under_several_cameras_takes_no_frame_from_any(tmp_path: Path) -> None:
    """One camera of other rate and start than the other, one that ends: what is said is what each bundle says alone."""
    old = make_bundle(tmp_path / "watched", motion=MOTION)
    new = make_next(old, tmp_path / "made" / "stage-3", other_encoder=True)
    origins = [Origin(name, is_live=False, fps=FPS) for name in ("door", "yard", "gate")]
    films = [[dataclasses.replace(frame, source=origin) for frame in frames(900)] for origin in origins]
    films[1], films[2] = films[1][::2], films[2][:40]
    due = [{round(FPS * frame.captured_at) + 7 * number: frame for frame in film} for number, film in enumerate(films)]
    rounds = ({number: film[turn] for number, film in enumerate(due) if turn in film} for turn in range(900))
    settings = Settings(source="", watch=tmp_path / "watched", threads=1, updates=UpdateSettings(predictions=4))
    models = Models(settings)
    made: list[Prediction] = []
    with models.first() as model:
        sessions = [Session(model, origin, open_filters(settings, model.manifest)) for origin in origins]
        with closing(Updater(models, sessions, settings)) as updater:
            updater.ask(new)
            for results in run_all(sessions, rounds):
                made += [result.prediction for _, result in results if result.prediction is not None]
                updater.after(results)
                if updater.status.swaps == 2 and updater.status.phase == "idle":
                    break
                if updater.status.swaps == 1 and updater.status.phase == "idle":
                    updater.roll_back()
                time.sleep(0.005)
            assert updater.status.swaps == 2, updater.status
    for film in films:
        alone = {stage: said_alone(path, film) for stage, path in ((2, old), (3, new))}
        for one in (one for one in made if one.source == film[0].source.name):
            state, label, score, *_ = alone[one.bundle.stage][one.frame]
            assert (one.state, one.label) == (state, label)
            assert abs(one.score - score) < 1e-5
    assert {one.bundle.stage for one in made} == {2, 3}


@pytest.mark.parametrize("kind", ["bundle", "update"])
def test_what_appears_in_the_folder_takes_over_and_a_restart_begins_with_it(
    tmp_path: Path, old: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    new = make_next(old, tmp_path / "server" / "stage-3")
    if kind == "update":
        new = write_delta(open_bundle(old), open_bundle(new), tmp_path / "server" / "update-2-to-3")
    watched = tmp_path / "watched"
    caplog.set_level("INFO")
    with running(watched) as stream:
        shutil.copytree(new, watched / new.name)
        stream.until_stage(3)
        made = stream.session.model.bundle.path
        assert stream.updater.status.last == f"{made}: stage 3 is marked good"
    assert made == (watched / "stage-3" if kind == "bundle" else watched / "toy" / "stage-3")
    assert f"{made}: stage 3 from frame " in caplog.text
    with running(watched) as stream:
        assert stream.session.model.bundle.path.resolve() == made.resolve()
        stream.updater.roll_back()
        stream.until_stage(2)
        with pytest.raises(BundleError, match="nothing ran here before"):
            stream.updater.roll_back()
    with running(watched) as stream:  # what was rolled back does not come again by itself
        assert stream.session.model.id.stage == 2
        began = time.monotonic()
        stream.until(lambda: time.monotonic() > began + 3)
        assert stream.session.model.id.stage == 2
        assert list(stream.updater.book.refused.values()) == ["rolled back"]


def corrupt(old: Path, target: Path) -> None:
    file = make_next(old, target) / "head.onnx"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def foreign(old: Path, target: Path) -> None:
    make_next(old, target, name="other")


def disagreeing(old: Path, target: Path) -> None:
    make_next(old, target, agrees=False)


def reordered(old: Path, target: Path) -> None:
    first, second, *others = open_bundle(old).manifest.classes
    make_next(old, target, classes=(second, first, *others), stage=2)


def untrue(old: Path, target: Path) -> None:
    """A golden clip that its graphs do not give."""
    make_next(old, target)
    manifest = open_bundle(target).manifest
    with np.load(target / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["logits"] = arrays["logits"][:, ::-1]
    np.savez(target / "golden.npz", allow_pickle=False, **arrays)
    seal(target, manifest)


def slower(old: Path, target: Path) -> None:
    clip = msgspec.structs.replace(open_bundle(old).manifest.clip, span_seconds=3.0)
    make_next(old, target, clip=clip)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (corrupt, "head.onnx is not the file that was exported"),
        (foreign, "is of 'other', but 'toy' is running"),
        (disagreeing, r"differs on \d of \d windows of old classes \(at most 10% of 2 may\), such as \w+ instead of"),
        (reordered, "'wave' is missing or has another place among its classes"),
        (untrue, r"does not do here what it was exported to do \(head: logits: off by"),
        (slower, "uses 4 frames in 3 s, the running one 4 in 1 s"),
    ],
)
def test_a_bad_one_is_refused_while_the_old_one_serves(
    tmp_path: Path, old: Path, make: Callable[[Path, Path], None], why: str
) -> None:
    make(old, tmp_path / "bad")
    with running(tmp_path / "watched") as stream:
        stream.until(lambda: len(stream.made) > 8)
        stream.updater.ask(tmp_path / "bad")
        said = stream.until_refused()
        count = len(stream.made)
        stream.until(lambda: len(stream.made) > count + 8)
    assert re.search(why, said), said
    assert said.startswith(f"{tmp_path / 'bad'} is refused, stage 2 goes on: ")
    assert {one.bundle.stage for one in stream.made} == {2}
    assert stream.seen == list(range(len(stream.seen)))
    alone = said_alone(old, [*frames(len(stream.seen))])
    assert [told(one) for one in stream.made] == list(alone.values())


def test_a_comparison_that_takes_long_holds_up_no_other_wish(
    tmp_path: Path, old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    new = make_next(old, tmp_path / "new")
    corrupt(old, tmp_path / "bad")
    with running(tmp_path / "watched", predictions=10**6) as stream:
        for _ in range(2):  # what was set aside may be asked for again
            stream.updater.ask(new)
            stream.until(lambda: stream.updater.status.phase == "in shadow")
            stream.updater.ask(tmp_path / "bad")
            assert stream.until_refused().startswith(f"{tmp_path / 'bad'} is refused, stage 2 goes on")
    assert caplog.messages.count(f"{new} is set aside: something else was asked for.") == 2
    assert {one.bundle.stage for one in stream.made} == {2}
    assert stream.seen == list(range(len(stream.seen)))


def test_one_that_could_not_be_compared_is_not_refused_for_good(tmp_path: Path, old: Path) -> None:
    """All that is seen now is called a new class: no fault of the bundle."""
    new = make_next(old, tmp_path / "watched" / "toy" / "stage-3", new_alone=True)
    for _ in range(2):  # a restart tries it again
        with running(tmp_path / "watched", old) as stream:
            assert re.search(
                r"new classes on \d+ of \d+ windows, .*; it is tried again after a restart, or on request\.$",
                stream.until_refused(),
            )
            assert stream.updater.book.refused == {}
    assert new.is_dir()


def test_there_must_be_memory_for_two(tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = make_next(old, tmp_path / "stage-3")
    monkeypatch.setattr("stpr.runtime.updates.memory.free_memory", lambda: 1_000_000)
    with running(tmp_path / "watched") as stream:
        stream.updater.ask(new)
        assert "MB beside the running bundle, and 1 MB are free" in stream.until_refused()
        monkeypatch.undo()
        stream.updater.ask(new)  # mended, and asked again
        stream.until_stage(3)


def test_a_bundle_that_the_run_did_not_survive_is_not_tried_again(tmp_path: Path, old: Path) -> None:
    new = make_next(old, tmp_path / "watched" / "stage-3")
    watched = tmp_path / "watched"
    with running(watched, predictions=100) as stream:
        stream.until(
            lambda: stream.updater.status.phase == "on trial" and b'"trial": {' in (watched / LEDGER).read_bytes()
        )
        book = (watched / LEDGER).read_bytes()
    (watched / LEDGER).write_bytes(book)  # as a kill would have left it
    with running(watched) as stream:
        assert stream.session.model.id.stage == 2
        assert stream.updater.book.refused == {open_bundle(new).digest: "the run ended before it was marked good"}


def test_a_clean_stop_during_the_trial_is_nobodys_fault(tmp_path: Path, old: Path) -> None:
    make_next(old, tmp_path / "watched" / "stage-3")
    with running(tmp_path / "watched", predictions=100) as stream:
        stream.until(lambda: stream.updater.status.phase == "on trial")
    with running(tmp_path / "watched") as stream:
        assert stream.updater.book.refused == {}
        stream.until_stage(3)


def test_a_half_copied_bundle_is_waited_for(tmp_path: Path, old: Path) -> None:
    new, target = make_next(old, tmp_path / "stage-3"), tmp_path / "watched" / "stage-3"
    with running(tmp_path / "watched") as stream:
        target.mkdir()
        shutil.copy(new / "manifest.json", target)
        for file in sorted(new.glob("*.*")):
            shutil.copy(file, target)
            began = time.monotonic()
            stream.until(lambda began=began: time.monotonic() > began + 0.3)  # type: ignore[misc]
        stream.until_stage(3)
        assert stream.updater.status.swaps == 1


def test_an_action_that_goes_on_over_a_swap_ends_once(tmp_path: Path, old: Path) -> None:
    """The filters are the session's own: they go on under the next bundle and know its stages."""
    with running(tmp_path / "watched") as stream:
        stream.updater.ask(make_next(old, tmp_path / "stage-3"))
        events = next(one for one in stream.session._filters if isinstance(one, Events))
        stream.until_stage(3)
        assert events in stream.session._filters
        assert events._stages["spin"] == 3


def test_without_a_folder_there_are_no_updates(old: Path) -> None:
    settings = Settings(source="stream", bundle=old, threads=1)
    models = Models(settings)
    with models.first() as model:
        session = Session(model, Origin("stream", is_live=False))
        with closing(Updater(models, [session], settings)) as updater:
            for call in (lambda: updater.ask(old), updater.roll_back):
                with pytest.raises(BundleError, match="start it with --watch DIR"):
                    call()
            assert [result.frame.index for result in run(session, _Recorded())] == list(range(9))


class _Recorded:
    origin, dropped, reconnects, skipped = Origin("stream", is_live=False), 0, 0, 0

    def __iter__(self) -> Iterator[Frame]:
        return frames(9)

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_where_a_signature_is_required_updates_without_it_leave_nothing_and_signed_ones_take_over(
    old: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    fleet, other = tmp_path / "fleet", tmp_path / "other"
    names = {file: new_keys(file) for file in (fleet, other)}
    sign(old, read_private_key(fleet))
    new = make_next(old, tmp_path / "server" / "stage-3")
    (new / "signature.json").unlink()
    unsigned = write_delta(open_bundle(old), open_bundle(new), tmp_path / "unsigned")
    sign(new, read_private_key(other))
    foreign = write_delta(open_bundle(old), open_bundle(new), tmp_path / "foreign")
    sign(new, read_private_key(fleet))
    right = write_delta(open_bundle(old), open_bundle(new), tmp_path / "right")
    with running(old.parents[1], require_signature=tmp_path / "fleet.pub") as stream:
        stream.updater.ask(unsigned)
        assert f"has no signature (no signature.json), and a signature of key {names[fleet]}" in stream.until_refused()
        stream.updater.ask(foreign)
        stream.until(lambda: f"is signed by key {names[other]}" in (stream.updater.status.last or ""))
        assert not (old.parent / "stage-3").exists()
        shutil.copytree(right, old.parents[1] / "update")
        stream.until_stage(3)
        assert stream.session.model.id.digest == open_bundle(new).digest
