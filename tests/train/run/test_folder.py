"""Every file of a run has a name and a meaning, and a run folder has one user at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import RecipeError
from stpr.train.run import folder
from stpr.train.run.folder import FILES, LEFTOVER, begun_stages, classified_files, finished_stages, reserved

KILLED = """
import os, signal, sys
from pathlib import Path
from stpr.runtime.contract.durable import whole_folder
from stpr.train.run.folder import RECORD, stage_folder
with whole_folder(stage_folder(Path(sys.argv[1]), 2)) as part:
    (part / RECORD).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDS = """
import sys
from pathlib import Path
from stpr.train.run.folder import reserved
with reserved(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def touch(run: Path, *names: str) -> None:
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()


def test_every_file_of_the_table_is_explained_and_no_other(tmp_path: Path) -> None:
    ours = [pattern.replace("*", "7") for pattern in FILES]
    others = ["notes.txt", "stage-7/clips.npy", "stage-7/deep/stage.json", "report/clip.mp4", "recipe.toml.bak"]
    touch(tmp_path, *ours, *others)
    (tmp_path / "report" / "link.png").symlink_to(tmp_path / "recipe.toml")
    found = {path.relative_to(tmp_path).as_posix(): what for path, what in classified_files(tmp_path).items()}
    assert list(found) == sorted(found, key=Path)
    assert {name for name, what in found.items() if what} == set(ours)
    assert {name for name, what in found.items() if not what} == {*others, "report/link.png"}


def test_every_path_lies_where_the_table_says(tmp_path: Path) -> None:
    stage = folder.stage_folder(tmp_path, 3)
    touch(folder.report_folder(tmp_path), "index.html")
    touch(folder.tensorboard_folder(tmp_path), "events.out.tfevents.1")
    touch(stage, folder.TENSORS, folder.RECORD, folder.PREDICTIONS, folder.LEARNT)
    for file in (folder.recipe_file, folder.metrics_file, folder.snapshot_file, folder.videos_file):
        file(tmp_path).touch()
    found = classified_files(tmp_path)
    assert len(found) == 10
    assert all(found.values())


def test_stages_are_counted_by_number_and_only_whole_ones_are_finished(tmp_path: Path) -> None:
    assert (begun_stages(tmp_path), finished_stages(tmp_path)) == ([], [])
    touch(tmp_path, *(f"stage-{stage}/stage.json" for stage in (1, 2, 10)), "stage-x/stage.json", "stage-3/other")
    assert (begun_stages(tmp_path), finished_stages(tmp_path)) == ([1, 2, 3, 10], [1, 2, 10])


def test_what_a_killed_writer_left_is_no_stage_and_known_as_ours(tmp_path: Path) -> None:
    touch(tmp_path, "stage-1/stage.json")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -9
    assert (begun_stages(tmp_path), finished_stages(tmp_path)) == ([1], [1])
    (left,) = (path for path, what in classified_files(tmp_path).items() if what == LEFTOVER)
    assert left.name == "stage.json"
    assert left.parent.name.startswith(".stage-2.")


def test_a_second_process_is_refused_until_the_first_is_done_or_killed(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "motions"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RecipeError) as caught, reserved(run):
            pytest.fail("two use one folder")
        said = caught.value.message
        assert said.startswith(f"--out {run} is in use: process {holder.pid} on ")
        assert said.endswith("is writing it; wait until it has ended, or choose another folder.")
        with reserved(run.with_name("other")):
            pass
        holder.kill()
    with reserved(run):
        assert not run.exists()
    assert list(run.parent.iterdir()) == []


def test_nothing_is_left_of_a_run_that_wrote_nothing_and_all_of_one_that_did(tmp_path: Path) -> None:
    for names in ([], ["recipe.toml"]):
        with reserved(tmp_path / "runs" / "mine" / "motions"):
            touch(tmp_path / "runs" / "mine" / "motions", *names)
        assert [path.name for path in tmp_path.rglob("*")] == (["runs", "mine", "motions"] if names else []) + names


def test_an_error_of_the_block_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^of the block$"), reserved(tmp_path / "run"):
        raise OSError("of the block")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RecipeError, match=r"can't be written .* or choose another folder"), reserved(tmp_path / "run"):
        pytest.fail("nobody may write here")
