"""Generate untrimmed videos of the embedded set, with the exact times of the actions.

A stream is a sequence of scenes. In a scene one actor stands, acts, and stands again:

    | standing 2.5-5 s | action 1.75-2.25 s | standing 1-2 s | next actor ...

A `Scenario` varies this: no standing, another speed, a shaking camera, a passer-by, a light switched on.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions import (
    CLASSES,
    DRIFT,
    FPS,
    Around,
    Split,
    draw,
    hand_held,
    keyed_rng,
    trajectory,
    write_video,
)

__all__ = ["EVENTS_FILE", "SCENARIOS", "Scenario", "Scene", "scenes", "write_streams"]

Floats: TypeAlias = NDArray[np.float64]

EVENTS_FILE: Final = "events.csv"
BEFORE, ACTING, AFTER = (2.5, 5.0), (1.75, 2.25), (1.0, 2.0)  # seconds
STILL_DRIFT: Final = 0.12  # of what a channel may drift while another acts
SHAKE: Final = 3.5  # times a hand-held camera's
DARK: Final = (0.3, 0.55)  # brightness before the light is switched on
CROSSING: Final = (1.4, 2.4)  # seconds that a passer-by is in the picture
OUTSIDE: Final = 0.35  # frame widths: so far outside nothing of an actor is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The variations of a stream."""

    stands: bool = True  # before and after each action
    speed: float = 1.0
    shake: float = 1.0
    passer: bool = False  # crosses while the actor stands before its action
    light: bool = False  # is switched on meanwhile


SCENARIOS: Final[dict[str, Scenario]] = {
    "idle": Scenario(),
    "back_to_back": Scenario(stands=False),
    "slow": Scenario(speed=0.7),
    "fast": Scenario(speed=1.5),
    "shake": Scenario(shake=SHAKE),
    "passers_by": Scenario(passer=True),
    "light": Scenario(light=True),
}


class Scene(NamedTuple):
    """One actor's frames `(F, H, W, 3)` RGB; frames `start` to `stop` (not counted) show the action."""

    frames: Image
    label: str
    start: int
    stop: int


def scenes(name: str, *, split: Split, seed: int) -> Iterator[Scene]:
    """The endless scenes of a scenario; every CLASSES' worth of them shows each class once, in random order."""
    scenario = SCENARIOS[name]
    rng = keyed_rng("scenes", name, split, seed)
    while True:
        for index in rng.permutation(len(CLASSES)):
            yield _scene(scenario, CLASSES[int(index)], split=split, rng=rng)


def write_streams(folder: Path, *, names: Sequence[str], split: Split, actions: int, seed: int) -> Path:
    """Write `NAME.mp4` of so many actions for each scenario, and `events.csv`: file, start, end (seconds), label.

    Returns the list's path; it is written last. Raises DataError for an unknown scenario and for a folder that holds
    something.
    """
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise DataError(f"motions has no stream {unknown[0]!r}; choose among {', '.join(SCENARIOS)}.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} holds something already; remove it, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str]] = []

    def play(name: str) -> Iterator[Image]:
        shown = 0
        for scene, _ in zip(scenes(name, split=split, seed=seed), range(actions)):  # noqa: B905  (one is endless)
            yield from scene.frames
            start, end = ((shown + at) / FPS for at in (scene.start, scene.stop))
            rows.append((f"{name}.mp4", f"{start:.4f}", f"{end:.4f}", scene.label))
            shown += len(scene.frames)

    for name in names:
        write_video(folder / f"{name}.mp4", play(name))
    with (folder / EVENTS_FILE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "start", "end", "label"), *rows])
    return folder / EVENTS_FILE


def _scene(scenario: Scenario, label: str, *, split: Split, rng: np.random.Generator) -> Scene:
    seed = int(rng.integers(2**32))
    acting = _frames(rng, ACTING, scenario.speed)
    poses = trajectory(label, seed=seed, frames=acting)
    before = after = 0
    if scenario.stands:
        before, after = _frames(rng, BEFORE), _frames(rng, AFTER)
        arriving, leaving = _standing(rng, before)[::-1], _standing(rng, after)
        poses = np.concatenate([poses[0] + arriving, poses, poses[-1] + leaving])
    around = Around(
        camera=hand_held(rng, len(poses), shake=scenario.shake),
        light=_switched_on(rng, len(poses), before) if scenario.light else None,
        passer=_crossing(rng, len(poses), before) if scenario.passer else None,
    )
    frames = draw(poses, actor_split=split, seed=seed, around=around)
    return Scene(frames, label, start=before, stop=before + acting)


def _frames(rng: np.random.Generator, seconds: tuple[float, float], speed: float = 1.0) -> int:
    return max(2, round(FPS * rng.uniform(*seconds) / speed))


def _standing(rng: np.random.Generator, frames: int) -> Floats:
    """How the pose of one who stands drifts away from where it is at first: `(F, 4)`, periods of 2 to 6 s."""
    time = np.arange(frames)[:, None] / FPS
    turns = 2 * math.pi * (time / rng.uniform(2.0, 6.0, 4) + rng.uniform(0.0, 1.0, 4))
    drift = STILL_DRIFT * rng.uniform(0.0, 1.0, 4) * DRIFT * np.cos(turns)
    return np.asarray(drift - drift[:1])


def _switched_on(rng: np.random.Generator, frames: int, before: int) -> Floats:
    """Brightness `(F,)`: dark, and from some frame of the first standing on, light."""
    light = np.ones(frames)
    light[: int(before * rng.uniform(0.2, 0.8))] = rng.uniform(*DARK)
    return light


def _crossing(rng: np.random.Generator, frames: int, before: int) -> Floats:
    """Poses `(F, 4)` of one who walks through the picture during the first standing, and is outside otherwise."""
    walking = min(before, _frames(rng, CROSSING))
    first = int(rng.integers(before - walking + 1))
    place = np.clip((np.arange(frames) - first) / walking, 0.0, 1.0)
    place = place if rng.uniform() < 0.5 else 1 - place
    steps = 0.015 * np.cos(2 * math.pi * 1.8 * np.arange(frames) / FPS)
    x, y = place * (1 + 2 * OUTSIDE) - OUTSIDE, rng.uniform(0.45, 0.6) + steps
    return np.stack([x, y, np.full(frames, rng.uniform(-0.2, 0.3)), np.zeros(frames)], axis=1)
