"""`learnt.csv`: the digests of all training clips so far, so that none of them is tested on when its own file is gone.

A digest is no exemplar: nothing of a picture can be computed from it. But it tells whether a given file was learnt.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stpr.runtime.contract.errors import CheckpointError, DataError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.clips import load_ahead
from stpr.train.data.videos import content_digest, reading
from stpr.train.datasets.annotations import Video, some
from stpr.train.run.checkpoint import StageRecord
from stpr.train.run.folder import LEARNT, PREDICTIONS, stage_folder

COLUMNS = ("path", "label", "bytes", "sha256")


@dataclass(frozen=True, slots=True)
class LearntClip:
    """What is kept of a training clip: where it was, its class, its size in bytes, and the SHA-256 of its content."""

    path: Path
    label: str
    size: int
    sha256: str


@dataclass(slots=True)
class Learnt:
    """The training clips of all stages so far."""

    clips: list[LearntClip] = field(default_factory=list)

    def add(self, videos: Sequence[Video], cache: FeatureCache | None, *, workers: int) -> None:
        """Add a stage's clips, read in threads unless the cache knows them; raises DataError if one can't be read.

        A method that keeps videos brings those of earlier stages again.
        """
        digest = cache.content_digest if cache else content_digest
        known = {clip.sha256 for clip in self.clips}
        digests = load_ahead([video.path for video in videos], digest, workers=workers)
        for video, sha256 in zip(videos, digests, strict=True):
            if sha256 not in known:
                self.clips.append(LearntClip(video.path.absolute(), video.label, _size(video.path), sha256))

    def check(self, videos: Sequence[Video]) -> None:
        """Raise DataError if a video has the content of a learnt clip and is for testing, or of another class."""
        if odd := self.among(videos):
            raise DataError(f"{odd[0]} ({len(odd)} such videos); remove it or put it on the skip list ([data] skip).")

    def among(self, videos: Sequence[Video]) -> list[str]:
        """Describe the videos that have the content of a learnt clip and are for testing, or of another class.

        Only files with the size of a learnt clip are read.
        """
        sizes, clips = {clip.size for clip in self.clips}, {clip.sha256: clip for clip in self.clips}
        read = ((video, content_digest(video.path)) for video in videos if _size(video.path) in sizes)
        same = [(video, clips[digest]) for video, digest in read if digest in clips]
        return [
            f"{video.path} is a {video.split} clip of {video.label!r}, but its content was learnt as {clip.label!r} in"
            f" an earlier stage, from {clip.path}"
            for video, clip in same
            if video.split == "test" or video.label != clip.label
        ]

    def csv(self) -> str:
        """The content of `learnt.csv`."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows([clip.path, clip.label, clip.size, clip.sha256] for clip in self.clips)
        return text.getvalue()


def read_learnt(run: Path, record: StageRecord) -> tuple[Learnt, list[str]]:
    """The training clips up to a stage, and a note if classes have none, as in runs of older versions.

    Raises CheckpointError for a damaged file.
    """
    file, clips = stage_folder(run, record.stage) / LEARNT, []
    try:
        if file.exists():
            with file.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    clips.append(LearntClip(Path(row["path"]), row["label"], int(row["bytes"]), row["sha256"]))
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{file} can't be read ({error}); restore it from a copy, or delete it to continue without its check for"
            " test clips that were learnt."
        ) from error
    known = {clip.label for clip in clips}
    unknown = [name for name in record.classes if name not in known]
    lost = f"{file} has no training clips of {some(unknown)}: a test clip that was one of them would not be noticed"
    return Learnt(clips), [lost] if unknown else []


def tested_videos(run: Path, stage: int) -> list[Video]:
    """The test clips of a stage's predictions whose files still exist. Raises CheckpointError for a damaged list."""
    file = stage_folder(run, stage) / PREDICTIONS
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [Video(Path(row["path"]), row["label"], "test") for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise CheckpointError(f"{file} can't be read ({error}); restore it from a copy.") from error
    return [video for video in rows if video.path.is_file()]


def _size(path: Path) -> int:
    with reading(path):
        return path.stat().st_size
