from __future__ import annotations

from itertools import groupby, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime import motions
from stpr.runtime.contract.errors import DataError

X, Y, LOG_SIZE, ANGLE = range(4)
# class -> (channel that acts, its direction at the start, how often it may turn round)
ACTIONS = {
    "slide_right": (X, 1, {0}),
    "slide_left": (X, -1, {0}),
    "turn_clockwise": (ANGLE, 1, {0}),
    "turn_counterclockwise": (ANGLE, -1, {0}),
    "grow": (LOG_SIZE, 1, {0}),
    "shrink": (LOG_SIZE, -1, {0}),
    "sway": (X, None, {2, 3, 4}),
    "bob": (Y, None, {2, 3, 4}),
    "rise_then_fall": (Y, -1, {1}),
    "fall_then_rise": (Y, 1, {1}),
}
seeds = st.integers(min_value=0, max_value=2**63)


def trajectories(label: str, count: int = 300) -> np.ndarray:
    return np.stack([motions.trajectory(label, seed=seed, frames=32) for seed in range(count)])


def silhouette(poses: list[tuple[float, float, float, float]], seed: int) -> np.ndarray:
    """Masks `(F, H, W)` of the actor: what differs from the same scene without it."""
    away = (9.0, 9.0, 0.0, 0.0)
    frames = motions.draw(np.array([*poses, away]), actor_split="train", seed=seed).astype(int)
    return np.asarray(np.abs(frames[:-1] - frames[-1]).max(axis=-1) > 48)


def test_ten_classes_in_five_stages_of_two() -> None:
    assert [len(stage) for stage in motions.STAGES] == [2] * 5
    assert tuple(ACTIONS) == motions.CLASSES


def test_test_actors_are_never_seen_in_training() -> None:
    assert not set(motions.ACTORS["train"]) & set(motions.ACTORS["test"])


@pytest.mark.parametrize("label", motions.CLASSES)
def test_rendering_depends_on_its_arguments_alone(label: str) -> None:
    clip = motions.render(label, actor_split="test", seed=1, frames=6)
    np.testing.assert_array_equal(clip, motions.render(label, actor_split="test", seed=1, frames=6))
    assert (clip != motions.render(label, actor_split="test", seed=2, frames=6)).mean() > 0.5
    assert (clip != motions.render(label, actor_split="train", seed=1, frames=6)).mean() > 0.5


def test_one_seed_shows_one_actor_whatever_it_does() -> None:
    first, second = (motions.render(label, actor_split="test", seed=5, frames=16) for label in ("grow", "bob"))
    palettes = [clip.reshape(-1, 3).astype(int).mean(axis=0) for clip in (first, second)]
    assert np.abs(palettes[0] - palettes[1]).max() < 12


@pytest.mark.parametrize(("frames", "size"), [(1, 96), (28, 64), (36, 48), (32, 100)])
def test_shape_and_type(frames: int, size: int) -> None:
    clip = motions.render("sway", actor_split="train", seed=0, frames=frames, size=size)
    assert clip.shape == (frames, size, size, 3)
    assert clip.dtype == np.uint8


def test_an_unknown_class_is_named_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no class 'jump'; choose one of slide_right, .*fall_then_rise"):
        motions.render("jump", actor_split="test", seed=0)


@pytest.mark.parametrize("label", motions.CLASSES)
@given(seed=seeds)
@settings(max_examples=30)
def test_each_class_moves_its_channel_its_way(label: str, seed: int) -> None:
    channel, direction, turns = ACTIONS[label]
    steps = np.diff(motions.trajectory(label, seed=seed, frames=64)[:, channel])
    assert direction is None or np.sign(steps[1]) == direction
    assert int((np.sign(steps[1:]) != np.sign(steps[:-1])).sum()) in turns


@given(seed=seeds, frames=st.integers(min_value=2, max_value=64), label=st.sampled_from(motions.CLASSES))
@settings(max_examples=60)
def test_the_actor_stays_in_the_picture(seed: int, frames: int, label: str) -> None:
    poses = motions.trajectory(label, seed=seed, frames=frames)
    assert poses.shape == (frames, 4)
    assert poses[:, :2].min() > 0.05
    assert poses[:, :2].max() < 0.95
    assert np.abs(poses[:, ANGLE]).max() < np.pi / 2 + 0.4


def test_the_mean_pose_of_a_clip_does_not_depend_on_the_class() -> None:
    means = np.stack([trajectories(label).mean(axis=1) for label in motions.CLASSES])  # (class, clip, channel)
    spread = means.std(axis=(0, 1))
    standard_error = spread / np.sqrt(means.shape[1])
    assert (np.abs(means.mean(axis=1) - means.mean(axis=(0, 1))) < 4 * standard_error).all()
    np.testing.assert_allclose(means.std(axis=1), np.broadcast_to(spread, (10, 4)), rtol=0.15)


@pytest.mark.parametrize("channel", [X, Y, LOG_SIZE, ANGLE])
def test_no_drift_is_as_large_as_an_action(channel: int) -> None:
    ranges = {label: np.ptp(trajectories(label)[:, :, channel], axis=1) for label in motions.CLASSES}
    acting = [ranges[label].min() for label, action in ACTIONS.items() if action[0] == channel]
    drifting = [ranges[label].max() for label, action in ACTIONS.items() if action[0] != channel]
    assert min(acting) > max(drifting) > 0


@pytest.mark.parametrize("seed", range(6))
def test_the_picture_shows_the_pose(seed: int) -> None:
    masks = silhouette([(0.3, 0.6, 0, 0), (0.7, 0.4, 0, 0), (0.5, 0.5, -0.4, 0), (0.5, 0.5, 0.4, 0)], seed)
    rows, columns = np.indices(masks.shape[1:]) / motions.SIZE
    for mask, (x, y) in zip(masks[:2], [(0.3, 0.6), (0.7, 0.4)], strict=True):
        assert columns[mask].mean() == pytest.approx(x, abs=0.05)
        assert rows[mask].mean() == pytest.approx(y, abs=0.07)
    assert masks[3].sum() / masks[2].sum() == pytest.approx(np.exp(2 * 0.8), rel=0.3)


@pytest.mark.parametrize("seed", range(6))
def test_clockwise_moves_the_head_to_the_right(seed: int) -> None:
    upright, turned = silhouette([(0.5, 0.5, 0, 0), (0.5, 0.5, 0, np.pi / 2)], seed)
    # The silhouette must follow a quarter turn of the pixels, clockwise and not the other way.
    overlaps = [
        (rotated & turned).sum() / (rotated | turned).sum() for rotated in (np.rot90(upright, k) for k in (-1, 1))
    ]
    assert overlaps[0] > overlaps[1] + 0.1


def test_the_camera_moves_actor_and_scene_together() -> None:
    poses = np.tile([0.5, 0.5, 0.0, 0.0], (2, 1))
    around = motions.Around(camera=np.array([[0, 0], [4, -6]]) / 96)
    still, moved = motions.draw(poses, actor_split="train", seed=3, around=around).astype(int)
    difference = np.abs(np.roll(still, (-6, 4), axis=(0, 1)) - moved)[8:-8, 8:-8]
    assert np.median(difference) < np.median(np.abs(still - moved)[8:-8, 8:-8]) + 1
    assert np.percentile(difference, 95) < 40


@pytest.mark.parametrize(("fps", "shortest"), [(16.0, 28), (8.0, 14)])
def test_the_stream_plays_whole_actions_with_their_labels(fps: float, shortest: int) -> None:
    pairs = list(islice(motions.stream(7, fps), int(20 * fps)))
    assert {image.shape for image, _ in pairs} == {(96, 96, 3)}
    runs = [(label, len(list(run))) for label, run in groupby(label for _, label in pairs)]
    assert {label for label, _ in runs} <= set(motions.CLASSES)
    assert len(runs) > 3
    assert min(length for _, length in runs[:-1]) >= shortest
    again = list(islice(motions.stream(7, fps), 5))
    assert all((one[0] == two[0]).all() and one[1] == two[1] for one, two in zip(pairs, again, strict=False))
    assert next(motions.stream(8, fps))[0].tobytes() != pairs[0][0].tobytes()


def test_a_video_has_the_size_and_rate_it_was_written_with(tmp_path: Path) -> None:
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    frames[1] = (200, 0, 0)
    motions.write_video(tmp_path / "a.mp4", frames, size=(64, 48), fps=30.0)
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 30
    read = np.stack([video.read()[1] for _ in range(3)])
    assert read.shape == frames.shape
    np.testing.assert_allclose(read[..., ::-1].mean(axis=(1, 2)), frames.mean(axis=(1, 2)), atol=12)
