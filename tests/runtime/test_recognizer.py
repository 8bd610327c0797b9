from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array, Image, preprocess
from stpr.runtime.contract.sampling import centre_frames
from stpr.runtime.decision import Prediction
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.recorded import RecordedEngine
from stpr.runtime.recognizer import Recognizer, open_recognizer
from stpr.runtime.sources import Frame
from stpr.runtime.sources.files import RecordedSource
from tests.factories import FRAMES, SIDE, WIDTH, make_bundle, make_preprocess_spec

FEATURES = {"features": np.zeros((1, WIDTH), np.float32)}
JUDGED = {
    "logits": np.array([[0.1, 0.3, 0.2]], np.float32),
    "routing": np.array([[0.4, 0.6]], np.float32),
    "familiarity": np.array([0.3], np.float32),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_bundle(tmp_path_factory.mktemp("bundles")))


class Camera:
    """A live source whose frames are `age` seconds old when they are handed out."""

    name, is_live, fps, dropped, reconnects = "camera", True, None, 0, 0

    def __init__(self, times: list[float], *, age: float = 0.0) -> None:
        self.times, self.age = times, age

    def __iter__(self) -> Iterator[Frame]:
        now = time.monotonic() - self.age - self.times[-1]
        for index, captured_at in enumerate(self.times):
            yield Frame(noise(1)[0], index, now + captured_at)

    def stop(self) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class Counting:
    """An engine that counts its runs."""

    name = "counting"

    def __init__(self, outputs: dict[str, Array]) -> None:
        self.outputs, self.runs, self.closed = outputs, 0, False

    def run(self, feeds: object) -> dict[str, Array]:
        del feeds
        self.runs += 1
        return self.outputs

    def close(self) -> None:
        self.closed = True


def noise(count: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)


def recorded(bundle: Bundle, head: dict[str, Array] = JUDGED) -> Recognizer:
    return Recognizer(bundle, encoder=RecordedEngine(repeat(FEATURES)), head=RecordedEngine(repeat(head)))


def predictions(recognizer: Recognizer, images: Image, *, fps: float) -> list[Prediction]:
    results = recognizer.run(RecordedSource("clip", iter(images), fps=fps))
    return [result.prediction for result in results if result.prediction is not None]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seconds=st.integers(1, 3), fps=st.sampled_from([4, 8, 15, 30]), seed=st.integers(0, 99))
def test_live_equals_offline(bundle: Bundle, seconds: int, fps: int, seed: int) -> None:
    """Frames pushed one by one give the logits of the clip graph on the same frames."""
    images = noise(seconds * fps, seed)
    heard: list[dict[str, Array]] = []

    class Listening:
        name = "listening"

        def __init__(self) -> None:
            self._head = open_engine("onnxruntime", bundle.graph(GraphName.HEAD), threads=1)

        def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
            heard.append(self._head.run(feeds))
            return heard[-1]

        def close(self) -> None:
            self._head.close()

    encoder = open_engine("onnxruntime", bundle.graph(GraphName.ENCODER), threads=1)
    with Recognizer(bundle, encoder=encoder, head=Listening()) as recognizer:  # type: ignore[arg-type]
        made = predictions(recognizer, images, fps=fps)
    assert len(made) == seconds * FRAMES
    assert [prediction.state for prediction in made] == ["warming_up"] * (FRAMES - 1) + ["known"] * (
        len(made) - FRAMES + 1
    )
    # The last window of the file is its last second: the frames that training would take of it.
    start = (seconds - 1) * fps
    chosen = [preprocess(images[start + index], make_preprocess_spec()) for index in centre_frames(fps, FRAMES)]
    engine = open_engine("onnxruntime", bundle.graph(GraphName.CLIP), threads=1)
    clip = engine.run({"frames": np.stack(chosen)[np.newaxis]})
    for key in ("logits", "routing", "familiarity"):
        assert np.abs(heard[-1][key] - clip[key]).max() < 1e-6
    assert made[-1].label == bundle.manifest.class_names[int(clip["logits"][0].argmax())]


def test_each_frame_is_encoded_at_most_once_and_only_if_wanted(bundle: Bundle) -> None:
    encoder, head = Counting(FEATURES), Counting(JUDGED)
    recognizer = Recognizer(bundle, encoder=encoder, head=head)
    before = encoder.runs, head.runs
    made = predictions(recognizer, noise(90), fps=30)
    assert encoder.runs - before[0] == len(made) == 3 * FRAMES == recognizer.timing.encoded
    assert head.runs - before[1] == len(made) - (FRAMES - 1) == recognizer.timing.predictions
    assert recognizer.timing.frames == 90
    recognizer.close()
    assert encoder.closed
    assert head.closed


def test_every_frame_gives_a_result_that_knows_the_newest_prediction(bundle: Bundle) -> None:
    latest = None
    results = list(recorded(bundle).run(RecordedSource("clip", iter(noise(60)), fps=30)))
    assert [result.frame.index for result in results] == list(range(60))
    for result in results:
        latest = result.prediction or latest
        assert result.latest is latest
    assert latest is not None


def test_a_prediction_says_which_bundle_when_and_on_what(bundle: Bundle) -> None:
    made = predictions(recorded(bundle), noise(30), fps=15)
    assert [prediction.frame for prediction in made] == [1, 5, 9, 13, 16, 20, 24, 28]
    last = made[-1]
    assert (last.label, last.routing) == ("jump", {"1": 0.4, "2": 0.6})
    assert (last.bundle.name, last.bundle.stage, last.bundle.digest) == ("toy", 2, bundle.digest)
    assert datetime.fromisoformat(last.time).tzinfo is not None
    assert 0 <= last.latency_ms < 1000


def test_latency_runs_from_capture_for_live_sources_and_from_reading_for_files(bundle: Bundle) -> None:
    live = recorded(bundle)
    list(live.run(Camera([index / 10 for index in range(30)], age=0.5)))
    live_latency = live.timing.latency_ms()
    assert live_latency is not None
    assert 500 <= live_latency[0] < 2000
    files = recorded(bundle)
    predictions(files, noise(60), fps=10)
    file_latency = files.timing.latency_ms()
    assert file_latency is not None
    assert file_latency[0] < 100


def test_after_a_gap_the_run_warms_up_again(bundle: Bundle) -> None:
    times = [index / 10 for index in range(20)] + [10 + index / 10 for index in range(20)]
    states = [
        (result.frame.index >= 20, result.prediction.state)
        for result in recorded(bundle).run(Camera(times))
        if result.prediction is not None
    ]
    for after_gap in (False, True):
        of_part = [state for part, state in states if part == after_gap]
        assert of_part[: FRAMES - 1] == ["warming_up"] * (FRAMES - 1)
        assert set(of_part[FRAMES - 1 :]) == {"known"}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"logits": JUDGED["logits"]}, "gives no familiarity, routing"),
        ({**JUDGED, "logits": np.zeros((1, 2), np.float32)}, r"the head gives .*the manifest promises"),
        ({**JUDGED, "routing": np.zeros((1, 3), np.float32)}, r"the head gives .*the manifest promises"),
    ],
)
def test_a_head_that_breaks_the_manifests_word_is_refused_at_the_start(
    bundle: Bundle, head: dict[str, Array], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        recorded(bundle, head)


def test_an_engine_that_fails_to_open_leaves_no_other_open(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Counting(FEATURES)

    def open_graph(graph: Path, threads: int | None) -> Counting:
        assert threads == 1
        if graph.stem == "head":
            raise EngineError("no room for head.onnx")
        return encoder

    monkeypatch.setattr("stpr.runtime.engines.ENGINES", {"half": open_graph})
    with pytest.raises(EngineError, match=r"no room for head\.onnx"):
        open_recognizer(bundle, "half", threads=1)
    assert encoder.closed


def test_frames_of_any_size_are_brought_to_the_encoders(bundle: Bundle) -> None:
    seen = []

    class Looking(Counting):
        def run(self, feeds: object) -> dict[str, Array]:
            seen.append(feeds["frames"].shape)  # type: ignore[index]
            return super().run(feeds)

    recognizer = Recognizer(bundle, encoder=Looking(FEATURES), head=Counting(JUDGED))
    sizes = [np.zeros((30 + index, 50 - index, 3), np.uint8) for index in range(20)]
    list(recognizer.run(RecordedSource("clip", iter(sizes), fps=10)))
    assert set(seen) == {(1, SIDE, SIDE, 3)}
