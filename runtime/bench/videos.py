"""The videos that a bundle is evaluated on, with their annotated actions."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from stpr.runtime import motions
from stpr.runtime.contract.durable import explain, whole_folder
from stpr.runtime.contract.errors import DataError, StprError
from stpr.runtime.motions_streams import EVENTS_FILE, SCENARIOS, write_streams
from stpr.runtime.sources.files import open_recorded
from stpr.runtime.untrimmed import Action, read_annotations

EMBEDDED: Final = "synthetic:"
EMBEDDED_ALL: Final = "synthetic:motions"
FOLDER: Final = "synthetic"  # below --out
SEED: Final = 0  # seed of the first stream of each kind; further streams use the next ones
SLACK: Final = 0.5  # seconds by which an annotation may exceed the video, since the last frame has a duration


class Video(NamedTuple):
    """A video: its name in the annotations, its path and its actions."""

    name: str
    path: Path
    actions: tuple[Action, ...]


def annotated_videos(file: Path, folder: Path) -> list[Video]:
    """Read the videos in an annotation list, in its order; paths are relative to `folder`.

    Raises DataError for a missing video or one that ends before an action, SourceError for one that can't be opened.
    """
    found = [Video(name, folder / name, actions) for name, actions in read_annotations(file).items()]
    missing = [video.name for video in found if not video.path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{file} names {missing[0]}{more}, not found in {folder}; correct the name, or set --videos DIR."
        )
    for video in found:
        _check_end(video, file)
    return found


@contextmanager
def embedded_videos(
    name: str, out: Path | None, *, actions: int, seeds: int = 1, split: motions.Split = "test"
) -> Iterator[list[Video]]:
    """Generate the streams of the embedded set (`synthetic:motions`), or one (`synthetic:NAME`), of `actions` each.

    They and their annotations are written to `out/synthetic`, several `seeds` to a folder each; without `out` they are
    deleted afterwards. `split`: whose actors appear. Raises DataError for an unknown name, StprError on write errors.
    """
    streams = {f"{EMBEDDED}{stream}": (stream,) for stream in SCENARIOS} | {EMBEDDED_ALL: tuple(SCENARIOS)}
    if name not in streams:
        raise DataError(
            f"there are no embedded videos {name}; write {EMBEDDED_ALL} for all, or one of"
            f" {', '.join(stream for stream in streams if stream != EMBEDDED_ALL)}."
        )
    places = [Path()] if seeds == 1 else [Path(f"seed-{seed}") for seed in range(SEED, SEED + seeds)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = (Path(scratch) if out is None else out) / FOLDER
        try:
            with whole_folder(folder) as part:
                for seed, place in enumerate(places, start=SEED):
                    write_streams(part / place, names=streams[name], split=split, actions=actions, seed=seed)
        except OSError as error:
            raise StprError(f"{explain(error, folder)}, or choose another --out.") from error
        yield [
            video._replace(name=(place / video.name).as_posix())
            for place in places
            for video in annotated_videos(folder / place / EVENTS_FILE, folder / place)
        ]


@contextmanager
def unannotated_stream(seconds: float) -> Iterator[Video]:
    """A part of the embedded stream, to measure speed on."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "motions.mp4"
        frames = max(1, round(seconds * motions.FPS))
        motions.write_video(path, (image for image, _ in islice(motions.stream(SEED), frames)))
        yield Video(path.name, path, ())


def not_learnt(videos: Sequence[Video], classes: Collection[str]) -> dict[str, int]:
    """Count the actions of each label that is not one of the classes."""
    labels = Counter(action.label for video in videos for action in video.actions)
    return {label: count for label, count in sorted(labels.items()) if label not in classes}


def overlapping(actions: Sequence[Action]) -> list[Action]:
    """The actions that begin before an earlier one has ended; `actions` must be sorted by start."""
    found, until = [], 0.0
    for action in actions:
        if action.start < until:
            found.append(action)
        until = max(until, action.end)
    return found


def length(video: Video) -> float:
    """How many seconds a video seems to last; 0 where it does not say. Raises SourceError if it can't be opened."""
    with closing(open_recorded(video.path)) as source:
        return source.seconds


def _check_end(video: Video, file: Path) -> None:
    seconds = length(video)
    late = [action for action in video.actions if action.end > seconds + SLACK]
    if seconds and late:
        raise DataError(
            f"{file}: {late[0].label!r} from {late[0].start:g} to {late[0].end:g} s lies beyond the end of"
            f" {video.name}, which is {seconds:.1f} s long; correct its seconds."
        )
