from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import DataError
from stpr.runtime.motions import CLASSES, Split
from stpr.train.datasets.motions_writer import clip_frames, write_motions


def write(folder: Path, **changes: int) -> Path:
    settings = {"train_per_class": 2, "test_per_class": 1, "seed": 0} | changes
    return write_motions(
        folder,
        train_per_class=settings["train_per_class"],
        test_per_class=settings["test_per_class"],
        seed=settings["seed"],
    )


def decode(path: Path) -> np.ndarray:
    """Frames `(F, H, W, 3)` RGB of a video."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("motions") / "set")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_list_names_every_video_and_nothing_else(written: Path) -> None:
    listed = rows(written)
    assert {tuple(row) for row in listed} == {("path", "label", "split")}
    assert {row["path"] for row in listed} == {
        str(path.relative_to(written / "clips").as_posix()) for path in (written / "clips").rglob("*.mp4")
    }
    counts = {(label, split): 0 for label in CLASSES for split in ("train", "test")}
    for row in listed:
        counts[row["label"], row["split"]] += 1
        assert row["path"].startswith(f"{row['label']}/{row['split']}_")
    assert set(counts.values()) == {1, 2}


def test_videos_hold_the_drawn_frames(written: Path) -> None:
    lengths = set()
    for row in rows(written):
        index = int(Path(row["path"]).stem.split("_")[1])
        split: Split = "train" if row["split"] == "train" else "test"
        drawn = clip_frames(row["label"], split, index, seed=0)
        seen = decode(written / "clips" / row["path"])
        assert seen.shape == drawn.shape
        # Compression loses noise and some colour, but mixed-up channels or frames would differ far more.
        assert np.abs(seen.astype(int) - drawn).mean() < 8
        lengths.add(len(seen))
    assert min(lengths) >= 28
    assert max(lengths) <= 36
    assert len(lengths) > 3


def test_a_second_call_with_the_same_settings_does_nothing(written: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise AssertionError(done, total)

    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert write_motions(written, train_per_class=2, test_per_class=1, seed=0, advance=fail) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


@pytest.mark.parametrize("change", [{"train_per_class": 3}, {"test_per_class": 2}, {"seed": 1}])
def test_other_settings_are_refused_by_name(written: Path, change: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"made with train_per_class 2.*, not .*remove it") as caught:
        write(written, **change)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["notes.txt", "motions.json"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="not a motions set; choose another folder"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("change", [{"train_per_class": 0}, {"test_per_class": -1}])
def test_a_class_needs_clips(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(DataError, match="needs at least 1 clip per class and split"):
        write(tmp_path / "set", **change)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_motions(tmp_path / "set", train_per_class=1, test_per_class=1, seed=0, advance=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_clip_and_an_empty_folder_will_do(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_motions(tmp_path, train_per_class=1, test_per_class=1, seed=3, advance=lambda *counts: told.append(counts))
    assert told == [(done, 20) for done in range(1, 21)]


def test_clips_differ_by_seed_and_index() -> None:
    clips = [clip_frames("bob", "train", index, seed=seed)[0].tobytes() for seed in (0, 1) for index in (0, 1)]
    assert len(set(clips)) == 4
