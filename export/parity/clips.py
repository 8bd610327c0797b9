"""The real clips for the proof of a bundle: the stage's test clips."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from stpr.runtime.contract.errors import CheckpointError, DataError
from stpr.runtime.contract.preprocess import Array
from stpr.train.data.clips import load_ahead, load_clip
from stpr.train.data.pixels import PixelSpec
from stpr.train.datasets.annotations import carried
from stpr.train.run.checkpoint import StageRecord
from stpr.train.run.folder import PREDICTIONS, stage_folder
from stpr.train.settings.learning import SamplingSettings


@dataclass(frozen=True, slots=True)
class NamedClip:
    """A clip: name in the certificate, label index or None, pixels `(T, *shape)` uint8."""

    name: str
    label: int | None
    pixels: Array


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A video and its label; `name` is its path without the common folder of all test videos."""

    path: Path
    name: str
    label: str


def tested_videos(run: Path, stage: int, data: Path | None) -> list[LabelledVideo]:
    """The videos in the stage's `predictions.csv`, alternating between classes, so that any prefix covers all evenly.

    `data`: their folder, if they have moved. Raises CheckpointError if the list is missing, DataError if videos are.
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
    if data is not None:
        rows = [(carried(path, data), label) for path, label in rows]
    missing = [path for path, _ in rows if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} test videos for the proof are missing, such as {missing[0]}: restore"
            " them, or give their folder with --data DIR."
        )
    shared = Path(os.path.commonpath([path.absolute().parent for path, _ in rows]))
    videos = [LabelledVideo(path, path.absolute().relative_to(shared).as_posix(), label) for path, label in rows]
    return _in_turn(videos)


def load_all(videos: Sequence[LabelledVideo], record: StageRecord, sampling: SamplingSettings) -> Iterator[NamedClip]:
    """Yield the test view of each video, decoding a little ahead."""
    spec = PixelSpec(record.preprocess, record.motion)

    def load(video: LabelledVideo) -> NamedClip:
        pixels = load_clip(video.path, spec=spec, sampling=sampling, rng=None)
        return NamedClip(video.name, record.classes.index(video.label), pixels)

    return load_ahead(videos, load, workers=sampling.workers)


def coverage(chosen: Sequence[LabelledVideo], tested: Sequence[LabelledVideo]) -> str:
    """Describe the clips of a proof: how many, of how many test clips, and how many per class."""
    counts = Counter(video.label for video in chosen)
    each = [counts[label] for label in {video.label for video in tested}]
    least, most = min(each), max(each)
    span = f"{least}" if least == most else f"{least} to {most}"
    whole = "all" if len(chosen) == len(tested) else f"{len(chosen)} of"
    return f"{whole} {len(tested)} test clips, {span} of each of {len(each)} classes"


def _in_turn(videos: Sequence[LabelledVideo]) -> list[LabelledVideo]:
    """One video of each class, then another of each; within a class spread over the list."""
    groups: defaultdict[str, list[LabelledVideo]] = defaultdict(list)
    for video in videos:
        groups[video.label].append(video)
    in_turn = chain.from_iterable(zip_longest(*map(_far_apart, groups.values())))
    return [video for video in in_turn if video is not None]


def _far_apart(videos: Sequence[LabelledVideo]) -> list[LabelledVideo]:
    """Order by van der Corput's sequence (first, middle, quarters, ...), since neighbours in a list are similar."""
    digits = len(videos).bit_length()
    order = sorted(range(1 << digits), key=lambda number: f"{number:0{digits}b}"[::-1])
    return [videos[place] for place in order if place < len(videos)]
