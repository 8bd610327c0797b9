"""Real clips to prove a bundle on: those that the stage was tested on."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

from stpr.runtime.contract.errors import CheckpointError, DataError
from stpr.runtime.contract.preprocess import Array
from stpr.train.data.clips import load_ahead, load_clip
from stpr.train.data.pixels import PixelSpec
from stpr.train.run.checkpoint import StageRecord
from stpr.train.run.folder import PREDICTIONS, stage_folder
from stpr.train.settings.learning import SamplingSettings


@dataclass(frozen=True, slots=True)
class NamedClip:
    """A clip's name in the certificate, the index of its label if it has one, its pixels `(T, *shape)` uint8."""

    name: str
    label: int | None
    pixels: Array


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A video and the class it shows; `name` is its path without the folder that all test videos share."""

    path: Path
    name: str
    label: str


def tested_videos(run: Path, stage: int, *, at_most: int) -> list[LabelledVideo]:
    """The videos of the stage's `predictions.csv`, at most so many, spread over classes and within each.

    Raises CheckpointError if the list is missing, DataError if the videos are.
    """
    file = stage_folder(run, stage) / PREDICTIONS
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [(Path(row["path"]), row["label"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file} can't be read as a list of test clips ({error}); train the stage again."
        ) from error
    if not rows:
        raise CheckpointError(f"{file} lists no test clips; train the stage again.")
    missing = [path for path, _ in rows if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} test videos that prove the bundle are gone, such as {missing[0]}: put them"
            " back, or run from the folder in which the run was trained."
        )
    shared = Path(os.path.commonpath([path.absolute().parent for path, _ in rows]))
    videos = [LabelledVideo(path, path.absolute().relative_to(shared).as_posix(), label) for path, label in rows]
    return _spread(videos, at_most)


def load_all(videos: list[LabelledVideo], record: StageRecord, sampling: SamplingSettings) -> Iterator[NamedClip]:
    """The test view of each video, decoded a little ahead of whoever takes them."""
    spec = PixelSpec(record.preprocess, record.motion)

    def load(video: LabelledVideo) -> NamedClip:
        pixels = load_clip(video.path, spec=spec, sampling=sampling, rng=None)
        return NamedClip(video.name, record.classes.index(video.label), pixels)

    return load_ahead(videos, load, workers=sampling.workers)


def _spread(videos: list[LabelledVideo], at_most: int) -> list[LabelledVideo]:
    """Class by class in turn, as many as asked for."""
    groups: defaultdict[str, list[LabelledVideo]] = defaultdict(list)
    for video in videos:
        groups[video.label].append(video)
    in_turn = chain.from_iterable(zip_longest(*groups.values()))
    return list(islice((video for video in in_turn if video is not None), at_most))
