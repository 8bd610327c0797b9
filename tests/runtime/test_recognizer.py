from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.motion import grey, pairs_before
from stpr.runtime.contract.preprocess import Array, preprocess
from stpr.runtime.contract.sampling import centre_frames
from stpr.runtime.decision import Prediction
from stpr.runtime.engines import open_engine
from stpr.runtime.model import Model, open_model
from stpr.runtime.recognizer import predictions, run, step
from stpr.runtime.result import Result
from stpr.runtime.session import Session
from stpr.runtime.sources import Frame, Origin, open_source
from stpr.runtime.sources.files import RecordedSource, at_rate
from tests.factories import FRAMES, MOTION, SIDE, WIDTH, make_bundle, make_preprocess_spec, make_video
from tests.runtime.runs import FEATURES, JUDGED, ONE, Camera, Listening, Watched, noise, recorded
from tests.runtime.varying import make_varying

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module", params=[None, MOTION], ids=["frames", "motion"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_bundle(tmp_path_factory.mktemp("bundles"), motion=request.param))


def clip(count: int, fps: float, seed: int = 0) -> RecordedSource:
    return RecordedSource("clip", at_rate(noise(count, seed), fps), fps=fps)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seconds=st.integers(1, 3), fps=st.sampled_from([4, 8, 15, 30]), seed=st.integers(0, 99))
def test_live_equals_offline(bundle: Bundle, seconds: int, fps: int, seed: int) -> None:
    """Frames pushed one by one give the logits of the clip graph on the same frames."""
    images = noise(seconds * fps, seed)
    head = Listening(bundle)
    with Model(bundle, encoder=open_engine("onnxruntime", bundle.graph(GraphName.ENCODER), ONE), head=head) as model:
        made = list(predictions(model, clip(seconds * fps, fps, seed)))
    assert len(made) == seconds * FRAMES
    assert [prediction.state for prediction in made] == ["warming_up"] * (FRAMES - 1) + ["known"] * (
        len(made) - FRAMES + 1
    )
    # The last window of the file is its last second: the frames that training would take of it.
    start = (seconds - 1) * fps
    chosen = [start + index for index in centre_frames(fps, FRAMES)]
    feeds = {"frames": np.stack([preprocess(images[index], make_preprocess_spec()) for index in chosen])[np.newaxis]}
    if motion := bundle.manifest.motion:
        times = [index / fps for index in range(len(images))]
        greys = [
            [[grey(images[end], motion) for end in pair] for pair in pairs_before(times, at, motion)] for at in chosen
        ]
        feeds["greys"] = np.array([greys])
    whole = open_engine("onnxruntime", bundle.graph(GraphName.CLIP), ONE).run(feeds)
    for key in ("logits", "routing", "familiarity"):
        assert np.abs(head.heard[-1][key] - whole[key]).max() < 1e-6
    assert made[-1].label == bundle.manifest.class_names[int(whole["logits"][0].argmax())]


def test_each_frame_is_encoded_at_most_once_and_only_if_wanted(bundle: Bundle) -> None:
    encoder, head = Watched(FEATURES), Watched(JUDGED)
    model = Model(bundle, encoder=encoder, head=head)
    encoder.shapes.clear()
    head.shapes.clear()
    source = clip(90, fps=30)
    session = Session(model, source.origin)
    made = [result.prediction for result in run(session, source) if result.prediction is not None]
    assert encoder.shapes == [(1, SIDE, SIDE, 3)] * len(made)
    assert head.shapes == [(1, FRAMES, WIDTH)] * (len(made) - (FRAMES - 1))
    assert len(made) == 3 * FRAMES == session.timing.encoded
    assert session.timing.predictions == len(head.shapes)
    assert session.timing.frames == 90


def test_every_frame_gives_a_result_and_filters_see_each_in_their_order(bundle: Bundle) -> None:
    seen: list[tuple[str, int]] = []

    def first(result: Result) -> Result:
        seen.append(("first", result.frame.index))
        return Result(result.frame, None, result.fps)

    def second(result: Result) -> Result:
        assert result.prediction is None  # what the first one made of it
        seen.append(("second", result.frame.index))
        return result

    source = clip(60, fps=30)
    results = list(run(Session(recorded(bundle), source.origin, [first, second]), source))
    assert [result.frame.index for result in results] == list(range(60))
    assert all(result.prediction is None for result in results)
    last = 59  # shown once more when the source has ended
    assert seen == [(name, index) for index in (*range(60), last) for name in ("first", "second")]


def test_a_prediction_says_which_bundle_which_source_when_and_on_what(bundle: Bundle) -> None:
    made = list(predictions(recorded(bundle), clip(30, fps=15)))
    assert [prediction.frame for prediction in made] == [1, 5, 9, 13, 16, 20, 24, 28]
    last = made[-1]
    assert (last.label, last.routing) == ("jump", {"1": 0.4, "2": 0.6})
    assert (last.bundle.name, last.bundle.stage, last.bundle.digest) == ("toy", 2, bundle.digest)
    assert last.source == "clip"
    assert last.media_time == pytest.approx(28 / 15)
    assert datetime.fromisoformat(last.time).tzinfo is not None
    assert 0 <= last.latency_ms < 1000


def test_latency_runs_from_capture_for_live_sources_and_from_reading_for_files(bundle: Bundle) -> None:
    for source, low, high in (
        (Camera([index / 10 for index in range(30)], age=0.5), 500, 2000),
        (clip(60, fps=10), 0, 100),
    ):
        session = Session(recorded(bundle), source.origin)
        for _ in run(session, source):
            pass
        latency = session.timing.latency_ms()
        assert latency is not None
        assert low <= latency[0] < high


def test_after_a_gap_the_run_warms_up_again(bundle: Bundle) -> None:
    times = [index / 10 for index in range(20)] + [10 + index / 10 for index in range(20)]
    states = [(made.frame >= 20, made.state) for made in predictions(recorded(bundle), Camera(times))]
    for after_gap in (False, True):
        of_part = [state for part, state in states if part == after_gap]
        assert of_part[: FRAMES - 1] == ["warming_up"] * (FRAMES - 1)
        assert set(of_part[FRAMES - 1 :]) == {"known"}


def test_a_pause_inside_a_file_empties_the_window(bundle: Bundle, tmp_path: Path) -> None:
    """The file says that the picture stood for a minute; what is seen after it is no part of what was seen before."""
    file = make_varying(tmp_path / "pause.mp4", [40] * 49 + [60_000] + [40] * 50)
    made = list(predictions(recorded(bundle), open_source(str(file))))
    for after, first in ((False, 0.0), (True, 61.96)):
        part = [one for one in made if (one.frame >= 50) == after]
        assert [one.state for one in part] == ["warming_up"] * (FRAMES - 1) + ["known"] * (2 * FRAMES - FRAMES + 1)
        assert all(one.media_time is not None and first <= one.media_time < first + 2 for one in part)


def test_a_file_of_varying_rate_shows_the_frames_of_its_times(bundle: Bundle, tmp_path: Path) -> None:
    """As many predictions in a second, and of the frame that is to be seen just then, whatever the rate."""
    lengths = [40, 20, 80, 100] * 12  # 2.88 s
    made = list(predictions(recorded(bundle), open_source(str(make_varying(tmp_path / "clip.mp4", lengths)))))
    begins = np.cumsum([0, *lengths]) / 1000
    middles = (np.arange(len(made)) + 0.5) * bundle.manifest.clip.period
    assert len(made) == int(2.88 / bundle.manifest.clip.period)
    assert [one.frame for one in made] == [int(np.searchsorted(begins, middle, "right")) - 1 for middle in middles]
    assert [one.media_time for one in made] == pytest.approx([begins[one.frame] for one in made], abs=1e-3)


def test_what_came_by_another_connection_is_forgotten_however_short_the_break(bundle: Bundle) -> None:
    shown = frames(90, fps=30, seed=0)
    shown = shown[:45] + [dataclasses.replace(frame, connection=1) for frame in shown[45:]]
    session = Session(recorded(bundle), shown[0].source)
    results = [result for frame in shown for result in step([(session, frame)])]
    assert [result.frame.index for result in results if result.began] == [0, 45]
    for part in (results[:45], results[45:]):
        states = [result.prediction.state for result in part if result.prediction is not None]
        assert states == ["warming_up"] * (FRAMES - 1) + ["known"] * (len(states) - FRAMES + 1)
        assert len(states) == 1.5 * FRAMES


def test_after_a_gap_nothing_is_said_to_have_moved_from_before_it(tmp_path: Path) -> None:
    """The first frames of both parts of the run come with the same pairs, and those in between with their own."""
    fed: list[Array] = []

    class Keeping(Watched):
        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            fed.append(feeds["greys"])
            return super().run(feeds)

    model = Model(open_bundle(make_bundle(tmp_path, motion=MOTION)), encoder=Keeping(FEATURES), head=Watched(JUDGED))
    del fed[:]
    origin = Origin("camera", is_live=True)
    session, images = Session(model, origin), noise(40)
    for index in range(40):  # so slow that the second frame opens a slot
        captured_at = index / 5 + (9 if index >= 20 else 0)
        step([(session, Frame(images[index % 20], index, captured_at, origin))])
    before, after = fed[: len(fed) // 2], fed[len(fed) // 2 :]
    np.testing.assert_array_equal(before, after)
    assert len({one.tobytes() for one in before}) == len(before) > 5
    assert session.trail is not None
    assert len(session.trail) == MOTION.pairs + 1


def frames(count: int, *, fps: float, seed: int) -> list[Frame]:
    """A camera's frames, as if seen at this rate."""
    origin = Origin(f"camera {seed}", is_live=False, fps=fps)
    return [Frame(image, index, index / fps, origin, stands=1 / fps) for index, image in enumerate(noise(count, seed))]


def told(prediction: Prediction) -> tuple[object, ...]:
    return prediction.source, prediction.frame, prediction.state, prediction.label


def test_cameras_that_share_batches_see_what_each_would_see_alone(bundle: Bundle) -> None:
    """Three cameras of different rates, one of which starts late and one of which pauses."""
    cameras = [frames(60, fps=30, seed=1), frames(60, fps=20, seed=2), frames(60, fps=12.5, seed=3)]
    cameras[2] = cameras[2][:30] + [
        dataclasses.replace(frame, captured_at=frame.captured_at + 9) for frame in cameras[2][30:]
    ]
    with open_model(bundle, "onnxruntime", ONE) as model:
        alone = [
            [made for frame in camera for made in [step([(session, frame)])[0].prediction] if made is not None]
            for camera in cameras
            for session in [Session(model, camera[0].source)]
        ]
        sessions = [Session(model, camera[0].source) for camera in cameras]
        shared: list[list[Prediction]] = [[], [], []]
        for turn in range(80):
            present = [index for index in range(3) if 0 <= turn - 10 * index < 60]
            results = step([(sessions[index], cameras[index][turn - 10 * index]) for index in present])
            assert [result.frame.source.name for result in results] == [f"camera {index + 1}" for index in present]
            for index, result in zip(present, results, strict=True):
                shared[index] += [] if result.prediction is None else [result.prediction]
    for single, together in zip(alone, shared, strict=True):
        assert [told(one) for one in together] == [told(one) for one in single]
        assert [one.score for one in together] == pytest.approx([one.score for one in single], abs=2e-6)
    assert sum(one.state == "warming_up" for one in shared[2]) == 2 * (FRAMES - 1)


def test_one_call_of_each_graph_serves_all_cameras(bundle: Bundle) -> None:
    encoder, head = Watched(FEATURES), Watched(JUDGED)
    model = Model(bundle, encoder=encoder, head=head)
    encoder.shapes.clear()
    head.shapes.clear()
    cameras = [frames(30, fps=30, seed=seed) for seed in range(4)]
    sessions = [Session(model, camera[0].source) for camera in cameras]
    for turn in range(30):
        step([(session, camera[turn]) for session, camera in zip(sessions, cameras, strict=True)])
    assert encoder.shapes == [(4, SIDE, SIDE, 3)] * FRAMES
    assert head.shapes == [(4, FRAMES, WIDTH)]
    assert step([]) == []


def test_a_step_of_two_models_or_of_one_camera_twice_is_refused(bundle: Bundle) -> None:
    here, there = (Session(recorded(bundle), Origin("camera", is_live=True)) for _ in range(2))
    frame = frames(1, fps=30, seed=0)[0]
    for sessions in ((here, there), (here, here)):
        with pytest.raises(ValueError, match="one frame of each session, and the sessions of one model"):
            step([(session, frame) for session in sessions])


def test_another_model_can_take_over_between_two_frames(bundle: Bundle, tmp_path: Path) -> None:
    """A second session of another bundle watches the same frames until its window is full, then takes over."""
    other = open_bundle(make_bundle(tmp_path, name="next"))
    old, new = recorded(bundle), recorded(other)
    source = clip(90, fps=30)
    serving, shadow = Session(old, source.origin), Session(new, source.origin)
    made = []
    for frame in source:
        (result,) = step([(serving, frame)])
        if shadow is not serving:
            step([(shadow, frame)])
            serving = shadow if frame.index == 50 else serving
        made += [] if result.prediction is None else [result.prediction]
    assert [one.bundle.name for one in made] == ["toy"] * 7 + ["next"] * 5
    assert [one.state for one in made[FRAMES - 1 :]] == ["known"] * 9


def test_the_python_of_the_readme_prints_one_line_per_prediction(bundle: Bundle, tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    code = found.group(1)
    shutil.copytree(bundle.path, tmp_path / re.findall(r"bundles/[\w/-]+", code)[0])
    video = make_video(tmp_path / "clip.avi", frames=60, fps=20)
    assert code.count('open_source("0")') == 1
    code = code.replace('open_source("0")', f"open_source({str(video)!r})")  # a camera that every machine has
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * FRAMES
    assert not any("None" in line for line in lines)
    assert [line.split()[0] for line in lines[: FRAMES - 1]] == ["warming_up"] * (FRAMES - 1)
    assert {line.split()[0] for line in lines[FRAMES - 1 :]} <= {"wave", "jump", "turn"}


def test_the_first_prediction_comes_while_the_source_still_runs(bundle: Bundle) -> None:
    begun = time.monotonic()
    next(iter(predictions(recorded(bundle), Camera([index / 10 for index in range(10**5)]))))
    assert time.monotonic() - begun < 5
