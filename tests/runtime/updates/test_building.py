"""Engines that have yet to be built take over a run that already answers, and only if they hold the golden clip."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.decision import Prediction
from stpr.runtime.model import open_model
from stpr.runtime.recognizer import step
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.sources import Frame, Origin
from stpr.runtime.updates import Models
from tests.factories import make_bundle
from tests.runtime.engines import fakes
from tests.runtime.engines.fakes import Machine
from tests.runtime.runs import ONE, noise

FPS, SECONDS = 30, 60.0
IMAGES = noise(97)
ORIGIN = Origin("stream", is_live=False, fps=FPS)
ONNXRUNTIME, TENSORRT = "onnxruntime CPUExecutionProvider", "tensorrt 10.3.0 on Fake Orin"


class Builder:
    """TensorRT's builder, at work until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on = threading.Event()
        real: Callable[..., Any] = fakes._Builder.build_serialized_network

        def slow(*arguments: Any) -> Any:
            assert self.may_go_on.wait(SECONDS)
            return real(*arguments)

        monkeypatch.setattr(fakes._Builder, "build_serialized_network", slow)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    return Builder(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path)


def frames() -> Iterator[Frame]:
    for index in itertools.count():
        yield Frame(IMAGES[index % len(IMAGES)], index, index / FPS, ORIGIN, stands=1 / FPS)


class Run:
    """A run on TensorRT, frame by frame."""

    def __init__(self, models: Models, session: Session) -> None:
        self.models, self.session, self.stream = models, session, frames()
        self.said: list[Prediction] = []

    def until(self, done: Callable[[], object], *, least: int = 0) -> None:
        end = time.monotonic() + SECONDS
        for count in itertools.count():
            if count >= least and done():
                return
            assert time.monotonic() < end
            (result,) = step([(self.session, next(self.stream))])
            self.said += [] if result.prediction is None else [result.prediction]
            self.models.after()
            time.sleep(0.0005)  # for the thread that builds


@contextmanager
def running(bundle: Path) -> Iterator[Run]:
    settings = Settings(source="stream", bundle=bundle, engine="tensorrt", threads=1)
    with closing(Models(settings)) as models, models.first() as model:
        yield Run(models, Session(model, ORIGIN))


def test_onnxruntime_answers_until_the_engines_are_built_and_no_frame_is_lost(
    machine: Machine, bundle: Path, builder: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(bundle) as run:
        run.until(lambda: True, least=90)
        assert run.session.model.engine == ONNXRUNTIME
        assert machine.tensorrt.built == []
        builder.may_go_on.set()
        run.until(lambda: run.session.model.engine == TENSORRT)
        run.until(lambda: True, least=90)
    why = r"the tensorrt engine of the encoder has yet to be built \(there is none yet\); onnxruntime answers meanwhile"
    assert re.search(why, caplog.text)
    assert f"{bundle}: now on {TENSORRT}, no frame lost." in caplog.text
    with open_model(open_bundle(bundle), "onnxruntime", ONE) as model:  # what one engine alone says from the start
        alone = Session(model, ORIGIN)
        made = [step([(alone, frame)])[0].prediction for frame in itertools.islice(frames(), run.said[-1].frame + 1)]
    wanted = [one for one in made if one is not None]
    assert [(one.frame, one.state, one.label) for one in run.said] == [
        (one.frame, one.state, one.label) for one in wanted
    ]
    assert [one.score for one in run.said] == pytest.approx([one.score for one in wanted], abs=1e-4)


def test_engines_that_are_kept_answer_at_once(
    machine: Machine, bundle: Path, builder: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    builder.may_go_on.set()
    with running(bundle) as run:
        run.until(lambda: run.session.model.engine == TENSORRT)
    with running(bundle) as run:
        assert run.session.model.engine == TENSORRT
    assert len(machine.tensorrt.built) == 2
    machine.install("10.7.0")
    caplog.clear()
    with running(bundle) as run:
        run.until(lambda: run.session.model.engine == "tensorrt 10.7.0 on Fake Orin")
    assert "yet to be built (the cached one is for something else (library was tensorrt 10.3.0))" in caplog.text


def test_engines_that_do_not_hold_the_golden_clip_never_answer(
    machine: Machine,
    bundle: Path,
    builder: Builder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder.may_go_on.set()
    real = fakes._Runtime.deserialize_cuda_engine

    def worse(self: Any, plan: bytes) -> Any:
        engine = real(self, plan)
        run = engine.session.run
        engine.session.run = lambda *given: [array * 1.01 for array in run(*given)]
        return engine

    monkeypatch.setattr(fakes._Runtime, "deserialize_cuda_engine", worse)
    with running(bundle) as run:
        run.until(lambda: "goes on" in caplog.text)
        run.until(lambda: True, least=30)
        assert run.session.model.engine == ONNXRUNTIME
    assert (
        f"{ONNXRUNTIME} goes on: {bundle} does not do on {TENSORRT} what it was exported to do (encoder: features:"
        " off by" in caplog.text
    )
    assert machine.live == 0


def test_engines_that_cannot_be_built_are_told_and_the_run_goes_on(
    machine: Machine, bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes._Builder, "build_serialized_network", lambda *_: None)
    with running(bundle) as run:
        run.until(lambda: "goes on" in caplog.text)
        run.until(lambda: True, least=30)
        assert run.session.model.engine == ONNXRUNTIME
    assert re.search(rf"{ONNXRUNTIME} goes on: .*encoder\.onnx can't run on .*can't build it here", caplog.text)
    assert machine.live == 0


def test_a_run_that_ends_while_they_are_built_gives_all_back(machine: Machine, bundle: Path, builder: Builder) -> None:
    begun = time.monotonic()
    with running(bundle) as run:
        run.until(lambda: True, least=3)
    assert time.monotonic() - begun < SECONDS / 2
    builder.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name == "building":
            thread.join(SECONDS)
    assert machine.live == 0


def test_without_a_gpu_the_run_does_not_begin(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.runtime.engines.tensorrt.find_library", lambda: (_ for _ in ()).throw(EngineError("no")))
    with pytest.raises(EngineError, match="no"), running(bundle):
        pass
