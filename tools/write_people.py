"""Write a folder of people who move as real ones did, to measure how a model does with people it has never seen.

The movements are motion capture from the wheel pybullet, one motion per class. Each recording has a person (build,
clothes, speed, reach, left or right) and a place (room or yard, direction of the camera, light) of its own, and
recordings of test/ never occur in train/. People stay around one spot: they walk and run as on a treadmill, unless
--across. In streams/, more people stand, act and stand again (stpr-bench evaluates a bundle on its events.csv), and in
background/ others stand.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import click
import cv2
import numpy as np
from people import FRAME, GAMMA, HIGH, JOINTS, MARGIN, TRUNK, WIDE, Moves, Person, Scene, backdrop
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions import SIZE, Split, hand_held, keyed_rng, write_video
from stpr.runtime.motions_figures import Floats

CLASSES: Final = ("walk", "run", "jump", "kick", "punch", "spin", "crawl", "dance", "getup", "cartwheel")
NAMES: Final = {"dance": "dance_a", "getup": "getup_faceup"}  # of the motions, where not the class's
# Seconds of a motion around which a clip shows it; in the others a clip can start anywhere.
MIDDLES: Final = {"jump": 1.0, "kick": 0.75, "punch": 1.05, "spin": 2.0, "getup": 2.6, "cartwheel": 1.4}
GOING: Final = ("walk", "run", "crawl")  # go somewhere with --across
METRES: Final = (2.5, 4.0)  # how far, in a clip of SECONDS
SECONDS: Final = (1.0, 5.0)
OTHERS: Final = (1.5, 4.0)  # seconds of other clips then
TESTED: Final = (8, 2)  # recordings and clips of each
FRAMES: Final = 60
FPS: Final = 30.0
PAUSE: Final = (2.0, 4.0)  # seconds in which a person of a stream stands
POSTURES: Final = 6  # of a person in background/
CHANGE: Final = 15  # frames from standing to an action, and back
COLUMNS: Final = (1, 3, 4, 4, 4, 4, 1, 4, 4, 1, 4, 1, 4, 4, 1)  # of a motion: duration, root's place, a turn per joint


@click.command(cls=Command, extra="train")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--recordings", default=8, show_default=True, help="Of each class in train/.")
@click.option("--clips", default=4, show_default=True, help="Of each recording.")
@click.option("--streams", default=0, show_default=True, help="Untrimmed videos, each of one person and all actions.")
@click.option("--background", default=0, show_default=True, help="Videos of people who only stand.")
@click.option("--light", default=1.0, show_default=True, help="A factor; below 1, recordings differ in it.")
@click.option("--far", default=1.0, show_default=True, help="How far from the camera people of test/ are, a factor.")
@click.option("--across", is_flag=True, help="Clips of 1 to 5 s, and people go through the picture (not in streams/).")
def main(  # noqa: PLR0913
    out: Path, recordings: int, clips: int, streams: int, background: int, light: float, far: float, across: bool
) -> None:
    """Write OUT/train and OUT/test with a folder for each of the ten actions, OUT/streams and OUT/background."""
    if out.exists():
        raise click.UsageError(f"{out} exists; name a new folder.")
    wheel = find_spec("pybullet_data")
    if wheel is None or wheel.origin is None:
        raise click.UsageError("the motions are in the wheel pybullet, which is missing; install pybullet.")
    motions = Path(wheel.origin).parent / "data/motions"
    parts: tuple[tuple[Split, int, int, View], ...] = (
        ("train", recordings, clips, View(light)),
        ("test", *TESTED, View(light, far)),
    )
    for (split, takes, each, view), label in product(parts, CLASSES):
        for take in range(takes):
            filmed = (film_across if across else film)(motions, (split, label, take), each, view)
            for clip, frames in enumerate(filmed):
                _write(out / split / label / f"{label}_{take + 1}_{clip + 1}.mp4", frames)
    if streams:
        _write_streams(out / "streams", motions, streams, View(light))
    for number in range(1, background + 1):
        _write(out / "background" / f"{number}.mp4", film_background(number, View(light)))


def _write_streams(folder: Path, motions: Path, count: int, view: View) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for number in range(1, count + 1):
        frames, actions = film_stream(motions, number, view)
        _write(folder / f"{number}.mp4", frames)
        rows += [(f"{number}.mp4", f"{start / FPS:.3f}", f"{end / FPS:.3f}", label) for start, end, label in actions]
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "start", "end", "label"), *rows])


def _write(path: Path, frames: Iterator[Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, size=(WIDE, HIGH), fps=FPS)


def film(motions: Path, recording: tuple[str, str, int], clips: int, view: View) -> Iterator[Iterator[Image]]:
    """The clips of a recording (split, class, number): FRAMES frames `(HIGH, WIDE, 3)` each, RGB."""
    rng = keyed_rng("people", *recording)
    person, heading = Person.draw(rng), _heading(rng)
    takes = [keyed_rng("people", *recording, clip) for clip in range(clips)]
    acts = [person.posed(_act(motions, recording[1], person, FRAMES, take), take) @ heading for take in takes]
    place = Place.around(np.concatenate(acts), view, rng)
    for points, take in zip(acts, takes, strict=True):
        yield place.film(person, points, take)


def film_across(motions: Path, recording: tuple[str, str, int], clips: int, view: View) -> Iterator[Iterator[Image]]:
    """As `film`, in clips of many lengths; who walks, runs or crawls goes there or back through the picture."""
    label = recording[1]
    rng = keyed_rng("people", "across", *recording)
    person, goes = Person.draw(rng), label in GOING
    aside = 90 * rng.choice([-1, 1]) + rng.uniform(-35, 35)
    heading, back = (_turned(aside), _turned(aside + 180)) if goes else (_heading(rng),) * 2
    takes = [keyed_rng("people", "across", *recording, clip) for clip in range(clips)]
    metres = _speed(_motion(motions, label)) * person.manner[0] if goes else np.zeros(3)  # a second
    acts = []
    for take in takes:
        seconds = np.clip(take.uniform(*METRES) / np.linalg.norm(metres), *SECONDS) if goes else take.uniform(*OTHERS)
        moves = _act(motions, label, person, round(FPS * seconds), take)
        way = np.outer(np.linspace(-seconds / 2, seconds / 2, len(moves.places)), metres)
        moves = moves._replace(places=moves.places + way)
        acts.append(person.posed(moves, take) @ (back if take.integers(2) else heading))
    place = Place.around(np.concatenate(acts), view, rng)
    for points, take in zip(acts, takes, strict=True):
        yield place.film(person, points, take)


def film_stream(motions: Path, number: int, view: View) -> tuple[Iterator[Image], list[tuple[int, int, str]]]:
    """A person who stands, does each action once, and stands in between: frames, and actions' first and last frames."""
    rng = keyed_rng("people", "streams", number)
    person, heading = Person.draw(rng), _heading(rng)
    moves, actions = _stand(round(FPS * rng.uniform(*PAUSE)), rng), []
    for label in rng.permutation(CLASSES).tolist():
        start = len(moves.places) - CHANGE // 2
        moves = _joined(moves, _act(motions, label, person, FRAMES + 2 * CHANGE, rng))
        actions.append((start, len(moves.places) - CHANGE // 2, label))
        moves = _joined(moves, _stand(2 * CHANGE + round(FPS * rng.uniform(*PAUSE)), rng))
    points = person.posed(moves, rng) @ heading
    return Place.around(points, view, rng).film(person, points, rng), actions


def film_background(number: int, view: View) -> Iterator[Image]:
    """A person who stands, in one posture after the other."""
    rng = keyed_rng("people", "background", number)
    person, heading = Person.draw(rng), _heading(rng)
    moves = _stand(round(FPS * PAUSE[1]), rng)
    for _ in range(POSTURES - 1):
        moves = _joined(moves, _stand(round(FPS * PAUSE[1]), rng))
    points = person.posed(moves, rng) @ heading
    return Place.around(points, view, rng).film(person, points, rng)


def _heading(rng: np.random.Generator) -> Floats:
    """Turns points `(…, 3)` of a person who looks at the camera so that they look up to 70 degrees past it."""
    return _turned(rng.uniform(-70, 70))


def _turned(degrees: float) -> Floats:
    """Turns points `(…, 3)` of a person who looks at the camera so that they look past it."""
    return np.asarray(Rotation.from_euler("y", degrees, degrees=True).as_matrix().T)


class View(NamedTuple):
    """How a recording is seen."""

    light: float  # a factor; below 1, recordings differ in it
    far: float = 1.0  # distance from the camera, a factor


@dataclass(frozen=True)
class Place:
    """What a recording's camera sees besides people."""

    scene: Scene
    empty: Image  # with a margin
    level: float  # of light
    grain: float  # deviation of the camera's noise

    @classmethod
    def around(cls, points: Floats, view: View, rng: np.random.Generator) -> Place:
        """Draw a place whose camera sees all points `(F, V, 3)` of a person."""
        scene = Scene.around(points[::4], rng, far=view.far)
        empty = backdrop(scene, rng)
        if view.light == 1:
            return cls(scene, empty, level=1.0, grain=rng.uniform(1, 2.5))
        return cls(scene, empty, level=view.light * rng.uniform(0.7, 1.4), grain=rng.uniform(2, 5))

    def film(self, person: Person, points: Floats, rng: np.random.Generator) -> Iterator[Image]:
        """Frames `(HIGH, WIDE, 3)`, RGB, of a person with points `(F, V, 3)`."""
        noise = rng.normal(0.0, self.grain, (HIGH + 32, WIDE + 32, 3))
        shifts = hand_held(rng, len(points), shake=SIZE / WIDE) * FRAME[0]  # SIZE is of the frames it was made for
        for moved, (x, y) in zip(points, np.rint(MARGIN - shifts).astype(int).clip(0, 2 * MARGIN), strict=True):
            canvas = self.empty.copy()
            self.scene.paint(canvas, moved, person.faces, person.colours)
            small = cv2.resize(canvas[y : y + FRAME[1], x : x + FRAME[0]], (WIDE, HIGH), interpolation=cv2.INTER_AREA)
            row, column = rng.integers(0, 33, 2)
            seen = small * self.level ** (1 / GAMMA) + noise[row : row + HIGH, column : column + WIDE]
            yield np.asarray(seen.clip(0, 255), np.uint8)


def _act(motions: Path, label: str, person: Person, frames: int, rng: np.random.Generator) -> Moves:
    """An action in a person's manner: the middle of its motion, or any part of one without a middle."""
    speed, reach, _ = person.manner
    middle = MIDDLES.get(label)
    phase = rng.uniform(0, 9) if middle is None else middle + rng.uniform(-0.2, 0.2)
    seconds = np.asarray((np.arange(frames) - frames / 2) / FPS, np.float64)
    places, turns = _sample(_motion(motions, label), phase + seconds * speed * rng.uniform(0.95, 1.05))
    mean = np.broadcast_to(Rotation.from_matrix(turns.mean(axis=0)).as_matrix(), turns.shape)
    return Moves(places, np.concatenate([turns[:, :1], _towards(mean, turns, reach)[:, 1:]], axis=1))


def _stand(frames: int, rng: np.random.Generator) -> Moves:
    """Somebody who stands, in a posture of the moment, and sways a little."""
    sway = gaussian_filter1d(rng.normal(size=(frames, JOINTS, 3)), FPS / 2, axis=0) * np.sqrt(FPS)
    degrees = (rng.normal(0, 8, (JOINTS, 3)) + 2 * sway) * np.where(np.arange(JOINTS) < TRUNK, 0.3, 1)[:, None]
    turns = Rotation.from_rotvec(np.radians(degrees).reshape(-1, 3))
    return Moves(np.tile([0.0, 0.9, 0.0], (frames, 1)), turns.as_matrix().reshape(frames, JOINTS, 3, 3))


def _joined(first: Moves, then: Moves) -> Moves:
    """One after the other, with CHANGE frames from the last of the first to the first of the other."""
    share = np.linspace(0, 1, CHANGE + 2)[1:-1]
    share = 3 * share**2 - 2 * share**3
    places = first.places[-CHANGE:] + share[:, None] * (then.places[:CHANGE] - first.places[-CHANGE:])
    turns = _towards(first.turns[-CHANGE:], then.turns[:CHANGE], share[:, None, None])
    return Moves(
        np.concatenate([first.places[:-CHANGE], places, then.places[CHANGE:]]),
        np.concatenate([first.turns[:-CHANGE], turns, then.turns[CHANGE:]]),
    )


def _towards(first: Floats, then: Floats, share: Floats | float) -> Floats:
    """Turns `(F, J, 3, 3)` a share of the way from the first to the others, or beyond."""
    start = Rotation.from_matrix(first.reshape(-1, 3, 3))
    apart = (start.inv() * Rotation.from_matrix(then.reshape(-1, 3, 3))).as_rotvec().reshape(*first.shape[:2], 3)
    return np.asarray((start * Rotation.from_rotvec((share * apart).reshape(-1, 3))).as_matrix().reshape(first.shape))


def _motion(motions: Path, label: str) -> Path:
    return motions / f"humanoid3d_{NAMES.get(label, label)}.txt"


def _speed(path: Path) -> Floats:
    """Metres a second `(3,)` (forward, up, right) from where a motion starts to where it ends."""
    frames = np.array(json.loads(path.read_text(encoding="utf-8"))["Frames"])
    return np.asarray((frames[-1, 1:4] - frames[0, 1:4]) / frames[:-1, 0].sum() * [1, 0, 1])


def _sample(path: Path, at: Floats) -> tuple[Floats, Floats]:
    """A motion of DeepMimic's format at times `(T,)`, seconds; one that is not periodic rests before and after.

    Returns the root's places `(T, 3)` (forward, up, right; metres) and the joints' turns from their parents
    `(T, 13, 3, 3)`. Without the way from its start to its end: a camera that stands still sees all of it.
    """
    source = json.loads(path.read_text(encoding="utf-8"))
    durations, places, *angles = np.split(np.array(source["Frames"]), np.cumsum(COLUMNS)[:-1], axis=1)
    times = np.cumsum(durations) - durations[:, 0]
    places -= times[:, None] / times[-1] * (places[-1] - places[0]) * [1, 0, 1]
    # A hinge has an angle around the axis to the right, the other joints a quaternion.
    vectors = (
        a @ [[0, 0, 1]] if a.shape[1] == 1 else Rotation.from_quat(a[:, [1, 2, 3, 0]]).as_rotvec() for a in angles
    )
    poses = np.hstack([places, *(Rotation.from_rotvec(turn).as_matrix().reshape(-1, 9) for turn in vectors)])
    period = times[-1] + 0.05 if source["Loop"] == "wrap" else None  # 1/20 s to close the gap between its ends
    columns = np.stack([np.interp(at, times, column, period=period) for column in poses.T], axis=-1)
    valid = Rotation.from_matrix(columns[:, 3:].reshape(-1, 3, 3)).as_matrix()  # between two turns is not quite one
    return columns[:, :3], valid.reshape(len(at), -1, 3, 3)


if __name__ == "__main__":
    main()
