"""Files and folders are there whole or not at all, wherever their writer is killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract import durable
from stpr.runtime.contract.durable import (
    FolderInUseError,
    explain,
    is_leftover,
    locked,
    whole_file,
    whole_folder,
    write_file,
)

KILLED = -9
# Kills itself at the COUNTth call that touches the file system, whichever that is.
DIE_AT = """
import os, signal, sys
from pathlib import Path
from stpr.runtime.contract.durable import locked, whole_folder, write_file
target, left = Path(sys.argv[1]), int(sys.argv[2])
TOUCHING = ("open", "os.", "shutil.", "ctypes.call_function", "fcntl.")
def watch(event, arguments):
    global left
    if event.startswith(TOUCHING):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
flush = os.fsync
def watched(descriptor):  # the one call that has no audit event
    watch("os.fsync", ())
    flush(descriptor)
os.fsync = watched
"""
WRITE_FOLDER = """
sys.addaudithook(watch)
with locked(target), whole_folder(target) as part:
    (part / "inner").mkdir()
    (part / "inner" / "file").write_text("new" * 1000)
    (part / "other").write_text("new")
"""
WRITE_FILE = """
sys.addaudithook(watch)
write_file(target, b"new" * 1000)
"""


@pytest.fixture(params=["swapped in one step", "by two renames"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as where the file system can't let two folders change places."""
    if request.param == "by two renames":
        monkeypatch.setattr(durable, "_swap", lambda *_: False)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def run(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def write_until(target: Path, error: BaseException) -> None:
    with whole_folder(target) as part:
        (part / "file").write_text("half")
        raise error


def fail_after(_: object, error: BaseException) -> None:
    raise error


@given(
    data=st.binary(max_size=300), name=st.text("ab .-é", min_size=1, max_size=9).filter(lambda name: name.strip("."))
)
def test_a_file_holds_what_was_written_and_nothing_lies_beside_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("files") / "made"
    assert write_file(folder / name, b"before") == folder / name
    write_file(folder / name, data)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(name, data)]


@pytest.mark.usefixtures("either_way")
def test_a_new_folder_replaces_the_old_one_entirely(tmp_path: Path) -> None:
    target = tmp_path / "run" / "stage-1"
    for file in ("first", "second", "third"):
        before = content(target)
        with whole_folder(target) as part:
            (part / file).write_text(file)
            assert content(target) == before
        assert content(tmp_path) == {f"run/stage-1/{file}": file}


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), RuntimeError("stop"), OSError("stop")])
def test_an_interruption_leaves_the_old_content(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "stage-1").mkdir()
    write_file(tmp_path / "stage-1" / "file", b"old")
    with pytest.raises(type(error), match="stop"):
        write_until(tmp_path / "stage-1", error)
    with pytest.raises(type(error), match="stop"), whole_file(tmp_path / "stage-1" / "file") as part:
        fail_after(part.write_text("half"), error)
    assert content(tmp_path) == {"stage-1/file": "old"}


@pytest.mark.parametrize("script", [WRITE_FOLDER, WRITE_FILE], ids=["folder", "file"])
@pytest.mark.parametrize("replaced", [True, False], ids=["over an old one", "where nothing was"])
def test_killed_anywhere_there_is_the_old_or_the_new(tmp_path: Path, script: str, replaced: bool) -> None:
    whole = {"inner/file": "new" * 1000, "other": "new"} if script == WRITE_FOLDER else "new" * 1000
    old = _found(_write_old(tmp_path / "old", script)) if replaced else None
    seen, count, code = [], 0, KILLED
    while code == KILLED:
        count += 1
        home = tmp_path / str(count)
        target = home / "target"
        if replaced:
            _write_old(target, script)
        code = run(DIE_AT + script, target, count).returncode
        found = _found(target)
        assert found in (whole, old), count
        seen.append(found)
        visible = [path for path in home.iterdir() if path != target] if home.exists() else []
        assert all(is_leftover(path) for path in visible)
        # The next writer cleans up.
        assert run(DIE_AT + script, target, -1).returncode == 0
        assert (_found(target), list(home.iterdir())) == (whole, [target])
    assert code == 0
    assert count > 10
    assert seen == sorted(seen, key=lambda one: one == whole)  # old ... old, new ... new
    assert seen[0] == old
    assert seen[-2] == whole  # killed, but with the new in place


def _write_old(target: Path, script: str) -> Path:
    if script == WRITE_FILE:
        return write_file(target, b"old")
    with whole_folder(target) as part:
        (part / "file").write_text("old")
    return target


def _found(target: Path) -> dict[str, str] | str | None:
    if not target.exists():
        return None
    return content(target) if target.is_dir() else target.read_text()


def test_killed_between_two_renames_the_old_folder_is_put_back_by_the_next_writer(tmp_path: Path) -> None:
    target = tmp_path / "stage-1"
    target.mkdir()
    (target / "file").write_text("old")
    script = """
import os, signal, sys
from pathlib import Path
from stpr.runtime.contract import durable
durable._swap = lambda *_: False
replace = Path.replace
def replace_once(self, other):
    replace(self, other)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = replace_once
with durable.whole_folder(Path(sys.argv[1])) as part:
    (part / "file").write_text("new")
"""
    assert run(script, target).returncode == KILLED
    assert not target.exists()
    with pytest.raises(RuntimeError, match="stop"):
        write_until(target, RuntimeError("stop"))
    assert content(tmp_path) == {"stage-1/file": "old"}


def test_everything_is_flushed_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    flush, swap, replace = os.fsync, durable._swap, Path.replace

    def fsync(descriptor: int) -> None:
        order.append(f"flush {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        flush(descriptor)

    def replaced(self: Path, other: Path) -> Path:
        order.append("rename")
        return replace(self, other)

    def swapped(one: Path, other: Path) -> bool:
        order.append("swap")
        return swap(one, other)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(durable, "_swap", swapped)
    hidden = []
    for moved in ("rename", "swap"):
        order.clear()
        with whole_folder(tmp_path / "new" / "target") as part:
            (part / "inner").mkdir()
            (part / "inner" / "file").write_text("x")
        *made, moved_by, last = order
        assert (moved_by, last) == (moved, "flush new")
        inside = [f"flush {name}" for name in ("inner", "file", part.name)]
        assert sorted(made) == sorted(inside + [f"flush {tmp_path.name}"] * (moved == "rename"))
        hidden.append(part.name)
    order.clear()
    with whole_file(tmp_path / "new" / "file") as part:
        part.write_text("x")
    assert order == [f"flush {part.name}", "rename", "flush new"]
    assert len({*hidden, part.name}) == 3
    assert all(name.startswith(".") and name.endswith(".stpr-part") for name in (*hidden, part.name))


def test_what_another_writer_is_writing_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as mine, whole_folder(tmp_path / "folder") as folder:
        mine.write_text("mine")
        write_file(tmp_path / "file", b"theirs")
        write_file(tmp_path / "other", b"theirs")
        (folder / "inside").write_text("mine")
    assert content(tmp_path) == {"file": "mine", "other": "theirs", "folder/inside": "mine"}


def test_many_writers_of_one_file_leave_one_of_theirs(tmp_path: Path) -> None:
    texts = [str(index).encode() * 50_000 for index in range(8)]
    writers = [
        threading.Thread(target=lambda text=text: [write_file(tmp_path / "file", text) for _ in range(5)])
        for text in texts
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "file").read_bytes() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_users_own_hidden_files_stay(tmp_path: Path) -> None:
    names = [".env.old", ".x.part", "y.stpr-part", ".git"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write_file(tmp_path / "file", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "file"])
    assert not any(is_leftover(tmp_path / name) for name in names)


def test_a_folder_is_locked_against_others_until_its_holder_is_done_or_killed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "motions"
    hold = """
import sys, time
from pathlib import Path
from stpr.runtime.contract.durable import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        named = rf"process {holder.pid} on \S+ since \d{{4}}-\d\d-\d\d \S+ is writing it"
        with (
            pytest.raises(FolderInUseError, match=named) as caught,
            locked(folder),
        ):
            pytest.fail("two hold one folder")
        said = explain(caught.value, folder)
        assert said.startswith(f"{folder} is in use: process {holder.pid} on ")
        holder.kill()
    assert is_leftover(folder.with_name(".motions.stpr-lock"))
    with locked(folder), pytest.raises(FolderInUseError, match=f"process {os.getpid()} "), locked(folder):
        pytest.fail("two hold one folder")
    with locked(folder):
        assert not folder.exists()
    assert list(folder.parent.iterdir()) == []


def test_a_link_is_followed_and_the_folder_one_stands_in_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to("there")
    with whole_folder(tmp_path / "here") as part:
        (part / "file").write_text("new")
    assert (tmp_path / "here").is_symlink()
    assert content(tmp_path / "there") == {"file": "new"}
    monkeypatch.chdir(tmp_path / "there")
    with locked(Path()), pytest.raises(FolderInUseError), locked(tmp_path / "here"):
        pytest.fail("two hold one folder")


def test_no_room_is_said_before_the_work_and_while_writing(small_disk: Path) -> None:
    target = small_disk / "run" / "stage-1"
    with pytest.raises(OSError, match="No space left") as early, whole_folder(target, needs=5_000_000):
        pytest.fail("the block must not run")
    with pytest.raises(OSError, match="No space left") as late, whole_folder(target) as part:
        (part / "file").write_bytes(bytes(2_000_000))
    with pytest.raises(OSError, match="No space left"):
        write_file(target, bytes(2_000_000))
    assert list(small_disk.rglob("*")) == [target.parent]
    asked = "no space left for there (No space left on device): it needs about 5.0 MB; free some"
    assert explain(early.value, Path("there"), needs=5_000_000) == asked
    assert explain(late.value, Path("there")) == "no space left for there (No space left on device); free some"


def test_a_limit_on_file_sizes_leaves_nothing(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from stpr.runtime.contract.durable import explain, write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_file(Path(sys.argv[1]), bytes(2000))
except OSError as error:
    print(explain(error, Path("there")))
"""
    assert run(script, tmp_path / "file").stdout == "no space left for there (File too large); free some\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for write in (whole_folder, whole_file, locked):
        with pytest.raises(PermissionError) as caught, write(tmp_path / "stage-1"):
            pytest.fail("the block must not run")
        assert explain(caught.value, tmp_path).endswith("check the path and its permissions")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_place_where_nothing_can_be_made_is_an_error() -> None:
    for write in (whole_folder, whole_file, locked):
        with pytest.raises(OSError, match=r".") as caught, write(Path("/proc/stage-1")):
            pytest.fail("the block must not run")
        assert explain(caught.value, Path("there")).startswith("there can't be written (")


def test_a_file_in_the_way_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    for target in (tmp_path / "run", tmp_path / "run" / "stage-1"):
        with pytest.raises((NotADirectoryError, FileExistsError)) as caught, whole_folder(target):
            pytest.fail("the block must not run")
        assert explain(caught.value, target).startswith(f"{target} can't be written (")
    assert content(tmp_path) == {"run": "a file"}


def test_a_file_system_that_cannot_flush_a_folder_is_no_error_but_a_file_must_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        if refused(Path(f"/proc/self/fd/{descriptor}")):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    refused = Path.is_dir
    write_file(tmp_path / "file", b"new")
    refused = Path.is_file
    with pytest.raises(OSError, match="Invalid argument"):
        write_file(tmp_path / "file", b"newer")
    assert content(tmp_path) == {"file": "new"}
