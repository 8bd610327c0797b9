"""The embedded `motions` set: ten synthetic actions that can't be recognised from a single frame.

An action moves ONE channel of the pose (x, y, log size, angle) around a random centre; the other channels drift at
random. Every clip's mean pose is that centre, for all classes, so only the order of the frames distinguishes them.
Actors and scenes of the split `test` never occur in `train`. Everything is drawn from rounded coordinates with OpenCV's
integer operations, so the same arguments give the same pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions_figures import SHIFT, SUPERSAMPLE, Floats, Part, make_actor, make_scene

__all__ = [
    "ACTORS",
    "CLASSES",
    "DRIFT",
    "FPS",
    "RADIUS",
    "SIZE",
    "STAGES",
    "Around",
    "Split",
    "draw",
    "hand_held",
    "keyed_rng",
    "render",
    "stream",
    "trajectory",
    "write_video",
]

Split = Literal["train", "test"]

STAGES: tuple[tuple[str, str], ...] = (
    ("slide_right", "slide_left"),
    ("turn_clockwise", "turn_counterclockwise"),
    ("grow", "shrink"),
    ("sway", "bob"),
    ("rise_then_fall", "fall_then_rise"),
)
CLASSES: tuple[str, ...] = tuple(label for stage in STAGES for label in stage)
ACTORS: dict[Split, range] = {"train": range(1000), "test": range(1000, 1500)}  # ids of actors, and of scenes
FPS = 16.0
SIZE = 96

X, Y, LOG_SIZE, ANGLE = range(4)
# class -> (channel that acts; half periods: 1 is a trip, 2 a trip and back, None an oscillation; sign of the start)
_ACTIONS: dict[str, tuple[int, int | None, int]] = {
    "slide_right": (X, 1, -1),
    "slide_left": (X, 1, 1),
    "turn_clockwise": (ANGLE, 1, -1),
    "turn_counterclockwise": (ANGLE, 1, 1),
    "grow": (LOG_SIZE, 1, -1),
    "shrink": (LOG_SIZE, 1, 1),
    "sway": (X, None, 1),
    "bob": (Y, None, 1),
    "rise_then_fall": (Y, 2, 1),  # y points down: the start is low
    "fall_then_rise": (Y, 2, -1),
}
# Per channel: x and y in frame widths, log size in nats, angle in radians (clockwise).
_CENTRE = np.array([0.5, 0.52, 0.0, 0.0])
_MIDDLE = np.array([0.09, 0.07, 0.15, 0.35])  # the random middle lies within +- this of the centre
_REACH = np.array([[0.12, 0.11, 0.22, 0.5], [0.23, 0.21, 0.42, 0.95]])  # smallest and largest amplitude of an action
DRIFT = np.array([0.09, 0.085, 0.17, 0.40])  # largest amplitude of a channel that does not act
RADIUS = 0.155  # of the frame: an actor's unit at log size 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Disturbances around an actor in F frames; None: none."""

    camera: Floats | None = None  # (F, 2), frame widths, at most 1/12: moves all that is seen
    light: Floats | None = None  # (F,), a factor of every pixel's brightness
    passer: Floats | None = None  # (F, 4), poses of another actor, nearer to the camera


def trajectory(label: str, *, seed: int, frames: int) -> Floats:
    """Poses `(F, 4)`: x, y (frame widths), log size, angle (radians, clockwise).

    Their mean over F is the random middle exactly. Raises DataError for an unknown label.
    """
    if label not in _ACTIONS:
        raise DataError(f"motions has no class {label!r}; choose one of {', '.join(CLASSES)}.")
    channel, halves, sign = _ACTIONS[label]
    rng = keyed_rng("trajectory", label, seed)
    time = np.linspace(0.0, 1.0, frames)
    periods, phases = rng.uniform(0.4, 1.3, (4, 1)), rng.uniform(0.0, 2 * math.pi, (4, 1))
    poses = (rng.uniform(0.0, 1.0, 4) * DRIFT)[:, None] * np.cos(2 * math.pi * periods * time + phases)
    # Easing, early or late: without it the speed alone would be a clock.
    pace = time + rng.uniform(-0.4, 0.4) * np.sin(math.pi * time) / math.pi
    if halves is None:
        phase = rng.uniform(0.0, 2 * math.pi) + 2 * math.pi * rng.uniform(1.5, 2.0) * pace
    else:
        phase = math.pi * halves * pace
    poses[channel] = sign * rng.uniform(*_REACH[:, channel]) * np.cos(phase)
    middle = _CENTRE + rng.uniform(-1.0, 1.0, 4) * _MIDDLE
    return np.asarray((poses - poses.mean(axis=1, keepdims=True)).T + middle)


def render(label: str, *, actor_split: Split, seed: int, frames: int = 32, size: int = SIZE) -> Image:
    """One clip `(F, H, W, 3)` RGB of an action from its start to its end, by an actor of the given split."""
    poses = trajectory(label, seed=seed, frames=frames)
    around = Around(camera=hand_held(keyed_rng("camera", label, seed), frames))
    return draw(poses, actor_split=actor_split, seed=seed, size=size, around=around)


def stream(seed: int, fps: float = FPS) -> Iterator[tuple[Image, str]]:
    """Endless `(frame, true label)`: whole actions of about 2 s, each with a new test actor before a new scene."""
    rng = keyed_rng("stream", seed)
    while True:
        label = CLASSES[int(rng.integers(len(CLASSES)))]
        frames = max(2, round(fps * rng.uniform(1.75, 2.25)))
        for image in render(label, actor_split="test", seed=int(rng.integers(2**32)), frames=frames):
            yield image, label


def draw(
    poses: Floats,
    *,
    actor_split: Split,
    seed: int,
    size: int = SIZE,
    around: Around = Around(),
) -> Image:
    """Draw one actor in the poses `(F, 4)` before one scene: `(F, H, W, 3)` RGB."""
    rng = keyed_rng("draw", actor_split, seed)
    ids = ACTORS[actor_split]
    parts = make_actor(keyed_rng("actor", int(rng.choice(ids))))
    scene = make_scene(keyed_rng("scene", int(rng.choice(ids))), size)
    margin = (scene.shape[0] - SUPERSAMPLE * size) // 2
    offsets = np.zeros((len(poses), 2)) if around.camera is None else around.camera
    # Whole pixels of the supersampled scene, for the actor too: the world stays rigid when the camera shakes.
    shifts = np.clip(np.rint(offsets * size * SUPERSAMPLE), -margin, margin).astype(np.int64)
    outlines = _place(parts, poses, size, shifts)
    if around.passer is not None:
        passing = make_actor(keyed_rng("actor", int(keyed_rng("passer", actor_split, seed).choice(ids))))
        outlines += _place(passing, around.passer, size, shifts)
        parts += passing
    grain = np.rint(rng.normal(0.0, rng.uniform(2.0, 6.0), (size + 32, size + 32, 3))).astype(np.int16)
    light = rng.uniform(0.8, 1.12) * (1 + rng.uniform(-0.08, 0.08) * np.linspace(-1.0, 1.0, len(poses)))
    if around.light is not None:
        light = light * around.light
    frames = np.empty((len(poses), size, size, 3), np.uint8)
    side = SUPERSAMPLE * size
    for index, ((x, y), (row, column)) in enumerate(zip(shifts, rng.integers(0, 33, (len(poses), 2)), strict=True)):
        canvas = scene[margin - y : margin - y + side, margin - x : margin - x + side].copy()
        for outline, (_, colour) in zip(outlines, parts, strict=True):
            cv2.fillPoly(canvas, [outline[index]], colour, shift=SHIFT)
        small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
        lit = cv2.convertScaleAbs(small, alpha=float(light[index]))
        cv2.add(lit, grain[row : row + size, column : column + size], dst=frames[index], dtype=cv2.CV_8U)
    return frames


def keyed_rng(*key: str | int) -> np.random.Generator:
    """A generator that depends on the key alone, on any machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def hand_held(rng: np.random.Generator, frames: int, *, shake: float = 1.0) -> Floats:
    """A hand-held camera `(F, 2)` in frame widths: a slow pan and a correlated shake of about `shake` pixels."""
    pan = rng.uniform(-0.02, 0.02, 2) * np.linspace(-1.0, 1.0, frames)[:, None]
    steps = rng.normal(0.0, shake * rng.uniform(0.002, 0.008), (frames + 1, 2))
    return pan + (steps[1:] + steps[:-1]) / 2


def _place(parts: list[Part], poses: Floats, size: int, shifts: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    """Each part's outline in every frame `(F, V, 2)`, in OpenCV's fixed-point pixels of the supersampled canvas."""
    cos, sin = np.cos(poses[:, ANGLE]), np.sin(poses[:, ANGLE])
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)  # (F, 2, 2), for row vectors
    scale = RADIUS * np.exp(poses[:, LOG_SIZE])[:, None, None]
    pixels = SUPERSAMPLE * size
    placed = []
    for points, _ in parts:
        corners = (points @ turn * scale + poses[:, None, :2]) * pixels + shifts[:, None, :]
        placed.append(np.rint(corners * 2**SHIFT).astype(np.int32))
    return placed


def write_video(path: Path, frames: Iterable[Image], *, size: tuple[int, int] = (SIZE, SIZE), fps: float = FPS) -> None:
    """Compress RGB frames `(H, W, 3)` of a size (W, H) to MPEG-4. Raises DataError where OpenCV can't."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    if not writer.isOpened():
        raise DataError(f"{path} can't be written: this OpenCV has no MPEG-4 encoder; install opencv-python-headless.")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
