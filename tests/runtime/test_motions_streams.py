from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import DataError
from stpr.runtime.motions import CLASSES, FPS, SIZE
from stpr.runtime.motions_streams import SCENARIOS, Scene, scenes, write_streams
from stpr.runtime.untrimmed import read_annotations

STANDING = [name for name, scenario in SCENARIOS.items() if scenario.stands]


def first(name: str, count: int = 10, **changes: int) -> list[Scene]:
    return list(islice(scenes(name, split="train", seed=changes.get("seed", 3)), count))


def pace(frames: np.ndarray) -> float:
    """How much a picture changes from frame to frame, noise and all."""
    return float(np.abs(np.diff(frames.astype(float), axis=0)).mean())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_round_shows_each_class_once_and_a_seed_shows_the_same_again(name: str) -> None:
    found = first(name)
    assert sorted(scene.label for scene in found) == sorted(CLASSES)
    for one, same in zip(found, first(name), strict=True):
        assert one[1:] == same[1:]
        np.testing.assert_array_equal(one.frames, same.frames)
    assert [scene.start for scene in found] != [scene.start for scene in first(name, seed=4)] or name == "back_to_back"


@pytest.mark.parametrize("name", STANDING)
def test_actors_stand_before_and_after_the_action(name: str) -> None:
    for scene in first(name):
        before, acting, after = scene.start, scene.stop - scene.start, len(scene.frames) - scene.stop
        speed = SCENARIOS[name].speed
        assert 2.5 * FPS - 1 <= before <= 5 * FPS + 1
        assert 1.75 * FPS / speed - 1 <= acting <= 2.25 * FPS / speed + 1
        assert 1 * FPS - 1 <= after <= 2 * FPS + 1


def test_back_to_back_nobody_stands() -> None:
    assert all((scene.start, scene.stop) == (0, len(scene.frames)) for scene in first("back_to_back"))


def test_the_action_moves_more_than_the_standing() -> None:
    for scene in first("idle"):
        # Over half a second, so that an action's slow start and end count too.
        acting = np.abs(
            scene.frames[scene.start : scene.stop - 8].astype(int) - scene.frames[scene.start + 8 : scene.stop]
        )
        still = np.abs(scene.frames[: scene.start - 8].astype(int) - scene.frames[8 : scene.start])
        assert acting.mean() > 1.15 * still.mean()


def test_the_camera_shakes_more() -> None:
    shaken, held = (np.mean([pace(scene.frames[: scene.start]) for scene in first(name)]) for name in ("shake", "idle"))
    assert shaken > 1.1 * held


def test_the_light_is_switched_on_while_the_actor_stands() -> None:
    for scene in first("light"):
        brightness = scene.frames.mean(axis=(1, 2, 3))
        switched = int(np.diff(brightness).argmax()) + 1
        assert 0 < switched < scene.start
        assert brightness[switched:].min() > 1.5 * brightness[:switched].max()


def test_the_passer_by_is_gone_before_the_action() -> None:
    for scene in first("passers_by"):
        change = np.abs(scene.frames[1:].astype(int) - scene.frames[:-1]).mean(axis=(1, 2, 3))
        assert change[: scene.start - 1].max() > 1.3 * np.median(change[: scene.start - 1])
    quiet = [scene.frames[scene.stop :] for scene in first("passers_by")]
    assert np.mean([pace(frames) for frames in quiet]) < np.mean(
        [pace(scene.frames[: scene.start]) for scene in first("passers_by")]
    )


def test_training_and_test_actors_differ() -> None:
    train, test = (next(scenes("idle", split=split, seed=3)) for split in ("train", "test"))
    assert train.frames.shape != test.frames.shape or (train.frames != test.frames).mean() > 0.5


def test_written_videos_are_as_long_as_their_annotations_say(tmp_path: Path) -> None:
    names = ("idle", "back_to_back")
    file = write_streams(tmp_path / "out", names=names, split="test", actions=3, seed=1)
    annotated = read_annotations(file, labels=CLASSES)
    assert set(annotated) == {f"{name}.mp4" for name in names}
    for name in names:
        wanted = list(islice(scenes(name, split="test", seed=1), 3))
        starts = np.cumsum([0, *(len(scene.frames) for scene in wanted)])
        for action, scene, at in zip(annotated[f"{name}.mp4"], wanted, starts, strict=False):
            assert action.label == scene.label
            assert (action.start * FPS, action.end * FPS) == pytest.approx(
                (at + scene.start, at + scene.stop), abs=1e-2
            )
        capture = cv2.VideoCapture(str(file.parent / f"{name}.mp4"))
        assert capture.get(cv2.CAP_PROP_FPS) == FPS
        for at, drawn in enumerate(np.concatenate([scene.frames for scene in wanted])):
            _, seen = capture.read()
            assert seen.shape == (SIZE, SIZE, 3)
            assert np.abs(cv2.cvtColor(seen, cv2.COLOR_BGR2RGB).astype(int) - drawn).mean() < 12, at
        assert not capture.read()[0]
        capture.release()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match=r"holds something already; remove it, or choose another folder"):
        write_streams(tmp_path, names=("idle",), split="test", actions=1, seed=0)


def test_an_unknown_stream_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no stream 'crowd'; choose among idle, back_to_back, .*light"):
        write_streams(tmp_path / "out", names=("idle", "crowd"), split="test", actions=1, seed=0)
    assert not (tmp_path / "out").exists()
