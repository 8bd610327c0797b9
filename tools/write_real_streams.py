"""Make annotated untrimmed videos from a data set's own test clips, for stpr-bench to evaluate a bundle on.

Choose the clips of one place and camera (`--set 'data.test={…}'`): the empty scene between actions is what most of
them show at each pixel, plus camera noise.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import click
import cv2
import numpy as np

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.preprocess import Image
from stpr.train.data.source import read_videos
from stpr.train.data.videos import VideoFile
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.folder import class_videos
from stpr.train.settings.load import load_recipe

Shot: TypeAlias = tuple[str | None, Image]  # the label of what happens, None for nothing; frames (F, H, W, 3) RGB
EACH: Final = 2  # actions per class in a video
HELD: Final = 3  # successive clips of a recording that make one long action
NOISE: Final = 2.0  # of 255, camera noise
PAUSE: Final = (2.0, 4.0)  # seconds


@click.command(cls=Command, extra="train")
@click.argument("recipe")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", metavar="DIR", help="Where the videos lie.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as data.test.")
@click.option("--others", type=click.Path(path_type=Path), metavar="DIR", help="Videos that show none of the classes.")
def main(recipe: str, out: Path, data: str | None, changes: tuple[str, ...], others: Path | None) -> None:
    """Write back_to_back.mp4, idle.mp4, held.mp4 and, with --others, others.mp4 of RECIPE's test clips into OUT."""
    videos = read_videos(load_recipe(recipe, changes=changes, root=data).data, lambda *_: None).videos
    tested = [video for video in videos if video.split == "test"]
    rng = np.random.default_rng(0)
    with VideoFile(tested[0].path) as first:
        rate = first.rate
    size = _frames(tested[0].path).shape[1:3]
    scene = np.median([_frames(video.path, size)[0] for video in _some(tested, 4, rng)], axis=0)

    def nothing() -> Image:
        frames = round(rate * rng.uniform(*PAUSE))
        noisy = scene + rng.normal(0.0, NOISE, (frames, *scene.shape))
        return np.asarray(noisy.clip(0, 255), np.uint8)

    def elsewhere() -> Image:
        film = _frames(rng.choice(np.array(class_videos(others or out))), size)
        wanted = round(rate * rng.uniform(*PAUSE))
        start = int(rng.integers(max(1, len(film) - wanted)))
        return film[start : start + wanted]

    single = [[video] for video in _some(tested, EACH, rng)]
    rows = [
        *_write(out / "back_to_back.mp4", _shots(single, size, None), rate),
        *_write(out / "idle.mp4", _shots(single, size, nothing), rate),
        *_write(out / "held.mp4", _shots(_recorded(tested, EACH, rng), size, nothing), rate),
        *(_write(out / "others.mp4", _shots(single, size, elsewhere), rate) if others else ()),
    ]
    with (out / "events.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "start", "end", "label"), *rows])
    click.echo(f"{out / 'events.csv'}: {len(rows)} actions")


def _some(videos: Sequence[Video], each: int, rng: np.random.Generator) -> list[Video]:
    """Choose `each` videos per class, in random order, if possible no two of one class in a row."""
    classes: defaultdict[str, list[Video]] = defaultdict(list)
    for video in videos:
        classes[video.label].append(video)
    rounds = [[own[int(place)] for own in classes.values()] for place in _places(classes, each, rng)]
    return [one[int(index)] for one in rounds for index in rng.permutation(len(one))]


def _places(classes: dict[str, list[Video]], each: int, rng: np.random.Generator) -> list[int]:
    fewest = min(len(own) for own in classes.values())
    return [int(place) for place in rng.permutation(fewest)[:each]]


def _recorded(videos: Sequence[Video], each: int, rng: np.random.Generator) -> list[list[Video]]:
    """Up to HELD neighbouring clips of a recording for each long action."""
    runs: defaultdict[tuple[str, str], list[Video]] = defaultdict(list)
    for video in sorted(videos, key=lambda video: video.path.name):
        runs[video.label, video.recording].append(video)
    long = [own[start : start + HELD] for own in runs.values() for start in range(0, len(own) - HELD + 1, HELD)]
    firsts = {id(run[0]): run for run in long}
    return [firsts[id(video)] for video in _some([run[0] for run in long], each, rng)]


def _shots(
    actions: Sequence[Sequence[Video]], size: tuple[int, int], pause: Callable[[], Image] | None
) -> Iterator[Shot]:
    for clips in actions:
        if pause is not None:
            yield None, pause()
        yield clips[0].label, np.concatenate([_frames(clip.path, size) for clip in clips])
    if pause is not None:
        yield None, pause()


def _write(path: Path, shots: Iterator[Shot], rate: float) -> Iterator[tuple[str, str, str, str]]:
    """Encode the shots as a video; yield the annotations of those in which something happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, shown = cv2.VideoWriter(), 0
    for label, frames in shots:
        if not writer.isOpened():
            writer.open(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, frames.shape[2:0:-1])
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        if label is not None:
            yield path.name, f"{shown / rate:.4f}", f"{(shown + len(frames)) / rate:.4f}", label
        shown += len(frames)
    writer.release()


def _frames(path: Path, size: tuple[int, int] | None = None) -> Image:
    """All frames `(F, H, W, 3)` RGB, centre-cropped to the aspect ratio of `size` and resized to it."""
    with VideoFile(path) as video:
        found = [frame for _, frame in video.frames(range(100_000))]
    return np.stack([frame if size is None or frame.shape[:2] == size else _fit(frame, size) for frame in found])


def _fit(frame: Image, size: tuple[int, int]) -> Image:
    height, width = size
    scale = max(height / frame.shape[0], width / frame.shape[1])
    large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return np.asarray(large[top : top + height, left : left + width], np.uint8)


if __name__ == "__main__":
    main()
