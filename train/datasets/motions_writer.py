"""Write the embedded `motions` set as compressed video files, so that the demo uses the same code as real data."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from stpr.runtime.contract.durable import explain, whole_folder
from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions import CLASSES, Split, render, write_video

SETTINGS_FILE = "motions.json"
SHORTEST, LONGEST = 28, 36  # frames per clip; lengths vary as in real videos
CLIP_BYTES = 23_000  # average size of a video


class MotionsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that a folder was generated with, stored in it."""

    train_per_class: int
    test_per_class: int
    seed: int


def write_motions(
    folder: Path,
    *,
    train_per_class: int,
    test_per_class: int,
    seed: int,
    advance: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `clips/LABEL/SPLIT_I.mp4` and `clips.csv` (path below `clips/`, label, split), atomically.

    Calls `advance(done, total)` after every clip. A folder that was made with these settings is left unchanged; one
    made with other settings, or that holds something else, raises DataError.
    """
    settings = MotionsSettings(train_per_class=train_per_class, test_per_class=test_per_class, seed=seed)
    if min(train_per_class, test_per_class) < 1:
        raise DataError(
            f"motions needs at least 1 clip per class and split, got {train_per_class} and {test_per_class}."
        )
    if is_written(folder, settings):
        return folder
    needs = CLIP_BYTES * len(CLASSES) * (train_per_class + test_per_class)
    try:
        with whole_folder(folder, needs=needs) as part:
            _write_clips(part, settings, advance)
            (part / SETTINGS_FILE).write_bytes(msgspec.json.encode(settings) + b"\n")
    except OSError as error:
        raise DataError(f"{explain(error, folder, needs=needs)}, or choose another folder.") from error
    return folder


def clip_names(settings: MotionsSettings) -> Iterator[tuple[str, str, Split, int]]:
    """Yield path below `clips/`, label, split and index within the split of every clip."""
    counts: dict[Split, int] = {"train": settings.train_per_class, "test": settings.test_per_class}
    for label in CLASSES:
        for split, count in counts.items():
            for index in range(count):
                yield f"{label}/{split}_{index}.mp4", label, split, index


def clip_frames(label: str, split: Split, index: int, *, seed: int) -> Image:
    """Draw the frames `(F, H, W, 3)` RGB of one video, F in 28..36."""
    digest = hashlib.sha256(f"{seed}/{label}/{split}/{index}".encode()).digest()
    number = int.from_bytes(digest[:8], "big")
    return render(label, actor_split=split, seed=number, frames=SHORTEST + number % (LONGEST - SHORTEST + 1))


def is_written(folder: Path, settings: MotionsSettings) -> bool:
    """Whether the folder holds the set made with these settings; raises DataError if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = msgspec.json.decode((folder / SETTINGS_FILE).read_bytes(), type=MotionsSettings)
    except (OSError, msgspec.MsgspecError):
        raise DataError(f"{folder} is not empty and not a motions set; choose another folder, or remove it.") from None
    if found != settings:
        raise DataError(
            f"{folder} was made with {_described(found)}, not {_described(settings)};"
            " remove it, or choose another folder."
        )
    return True


def _described(settings: MotionsSettings) -> str:
    """Format settings for a message."""
    return ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(settings).items())


def _write_clips(folder: Path, settings: MotionsSettings, advance: Callable[[int, int], None] | None) -> None:
    """Write every clip of both splits, and their list."""
    rows = []
    clips = list(clip_names(settings))
    for name, label, split, index in clips:
        (folder / "clips" / label).mkdir(parents=True, exist_ok=True)
        write_video(folder / "clips" / name, clip_frames(label, split, index, seed=settings.seed))
        rows.append((name, label, split))
        if advance is not None:
            advance(len(rows), len(clips))
    with (folder / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        writer.writerows(rows)
