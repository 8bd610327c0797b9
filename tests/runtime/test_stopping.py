"""A signal in every state of a run: real processes, real servers, pipes that nobody reads."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import cv2
import pytest

from stpr.runtime.entry import NOTHING, SIGNALS
from stpr.runtime.stopping import stop_on_signals
from tests.factories import make_bundle, make_video
from tests.runtime.sources.test_network import Files, camera, shelf

MAIN = "from stpr.runtime.entry import run; run()"
SUMMARY = r"\d+ frames, \d+ encoded, \d+ dropped, \d+ reconnects, [\d.]+ fps, .*"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("work") / "bundles")


@contextmanager
def running(bundle: Path, *arguments: str | Path, **settings: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", MAIN, "--bundle", str(bundle), "--headless", *map(str, arguments)]
    process = subprocess.Popen(command, text=True, **({"stderr": subprocess.PIPE} | settings))  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> list[str]:
    """What a process that ends well says on standard error after a signal."""
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    return said.splitlines()


@contextmanager
def silent_server() -> Iterator[tuple[str, list[socket.socket]]]:
    """An address that takes connections and never says a word, and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as taken:
        connections: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    connections.append(taken.enter_context(server.accept()[0]))
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/video", connections
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_camera_that_never_answered(bundle: Path, number: signal.Signals) -> None:
    """The main thread is inside OpenCV, for five seconds; the end of those would be an error."""
    with silent_server() as (address, connections), running(bundle, "--source", address) as process:
        wait_for(lambda: connections)
        assert stopped(process, number) == [NOTHING]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_camera_that_fell_silent(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    with (
        camera() as server,
        running(bundle, "--source", server.url, "--json", out, "--record", video, stdout=subprocess.DEVNULL) as process,
    ):
        wait_for(lambda: out.exists() and b'"known"' in out.read_bytes())
        server.silent = True
        time.sleep(0.2)
        assert re.fullmatch(SUMMARY, stopped(process, number)[-1])
    assert all(json.loads(line) for line in out.read_text().splitlines())
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) > 0


def test_a_library_whose_import_is_interrupted_and_says_so_in_its_own_way() -> None:
    code = """
import os, signal, time
from stpr.runtime.stopping import stop_on_signals
with stop_on_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except BaseException as error:
        raise ImportError("initialization failed") from error
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, f"{NOTHING}\n")


def test_a_log_on_a_full_disk(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with (
        Path("/dev/full").open("wb") as full,
        running(
            bundle, "--source", "synthetic:motions", "--json", out, stdout=subprocess.DEVNULL, stderr=full
        ) as process,
    ):
        wait_for(lambda: out.exists() and b'"known"' in out.read_bytes())
        process.terminate()
        assert process.wait(5) == 0


def test_a_camera_that_is_gone(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with ExitStack() as there:
        server = there.enter_context(camera())
        process = there.enter_context(running(bundle, "--source", server.url, "--json", out, stdout=subprocess.DEVNULL))
        wait_for(lambda: out.exists() and b'"known"' in out.read_bytes())
        server.alive = False
        server.shutdown()
        server.socket.close()
        assert process.stderr is not None
        told = [process.stderr.readline(), process.stderr.readline()]
        assert "gives no frames; reconnecting until it does" in told[1]
        assert re.fullmatch(SUMMARY, stopped(process)[-1])


def test_a_film_whose_server_waits(bundle: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "slow.avi", frames=400, fps=8, size=(320, 240))
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    with (
        shelf(tmp_path) as address,
        running(
            bundle, "--source", f"{address}/slow.avi", "--json", out, "--record", video, stdout=subprocess.DEVNULL
        ) as process,
    ):
        wait_for(lambda: out.exists() and b'"known"' in out.read_bytes())
        time.sleep(0.5)
        assert re.fullmatch(SUMMARY, stopped(process)[-1])
        assert not Files.held.is_set()
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) > 0


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads and that takes no more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("kind", ["file", "live"])
def test_an_output_that_hangs_does_not_spoil_the_other(bundle: Path, tmp_path: Path, kind: str) -> None:
    source = "synthetic:motions" if kind == "live" else make_video(tmp_path / "long.avi", frames=4000, fps=8)
    video = tmp_path / "out.mp4"
    with (
        full_pipe() as writing,
        running(bundle, "--source", source, "--json", "-", "--record", video, stdout=writing) as process,
    ):
        wait_for(lambda: video.exists() and video.stat().st_size > 0)
        time.sleep(1)
        _, told, summary = stopped(process)
    assert told.endswith(" WARNING json hangs and is abandoned; its output may be incomplete.")
    assert re.fullmatch(SUMMARY + r", json missed \d+ results", summary)
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) > 0


def test_a_broker_that_never_says_a_word(bundle: Path) -> None:
    with (
        silent_server() as (address, connections),
        running(
            bundle,
            "--source",
            "synthetic:motions",
            "--mqtt",
            address.replace("http", "mqtt"),
            stdout=subprocess.DEVNULL,
        ) as process,
    ):
        wait_for(lambda: connections)
        time.sleep(1)
        assert re.fullmatch(SUMMARY, stopped(process)[-1])


def test_a_terminal_that_hangs(bundle: Path) -> None:
    """Standard output and standard error are one pipe, which nobody reads."""
    with full_pipe() as writing:
        command = [sys.executable, "-c", MAIN, "--bundle", str(bundle), "--headless", "--source", "synthetic:motions"]
        process = subprocess.Popen(command, stdout=writing, stderr=writing)
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_second_signal_kills(bundle: Path, number: signal.Signals) -> None:
    with (
        full_pipe() as writing,
        running(bundle, "--source", "synthetic:motions", "--json", "-", stdout=writing) as process,
    ):
        assert process.stderr is not None
        assert "watching" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(number)
        time.sleep(0.4)
        process.send_signal(number)
        assert process.wait(timeout=10) == -number


def test_the_second_signal_kills_what_is_inside_opencv(bundle: Path) -> None:
    with silent_server() as (address, connections), running(bundle, "--source", f"{address}.m3u8") as process:
        wait_for(lambda: connections)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in {-signal.SIGTERM, 128 + signal.SIGTERM}


def test_what_was_recorded_survives_a_kill_and_the_next_run_adds_to_it(bundle: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "days", dict[Path, bytes]()
    for run in range(1, 3):
        with running(bundle, "--source", "synthetic:motions", "--record", folder, stdout=subprocess.DEVNULL) as process:
            wait_for(partial(enough, folder, run))
            process.send_signal(signal.SIGKILL)
            assert process.wait(timeout=10) == -signal.SIGKILL
        videos = {path: path.read_bytes() for path in folder.iterdir()}
        assert seen.items() <= videos.items()
        assert all(frames_in(path) > 30 for path in videos)
        seen = videos


def enough(folder: Path, count: int) -> bool:
    """Whether there are so many videos, with something in each."""
    return [path.stat().st_size > 300_000 for path in folder.glob("*.mp4")] == [True] * count


def frames_in(video: Path) -> int:
    capture, count = cv2.VideoCapture(str(video)), 0
    while capture.grab():
        count += 1
    return count


def test_a_run_that_is_to_outlive_its_terminal_does(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {MAIN}"
    arguments = ["--bundle", str(bundle), "--headless", "--source", "synthetic:motions", "--json", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: out.exists() and out.stat().st_size)
    process.send_signal(signal.SIGHUP)
    size = out.stat().st_size
    wait_for(lambda: out.stat().st_size > size + 2000)
    assert re.fullmatch(SUMMARY, stopped(process)[-1])


STOPPED = """
import atexit, ctypes, signal, threading, time
from stpr.runtime import stopping as module
from stpr.runtime.stopping import stop_on_signals

called = []
with stop_on_signals() as stopping:
    with stopping.by(lambda: called.append("stop"), finish=lambda: called.append("finish"), words=lambda: str(called)):
        {then}
"""


def ending(then: str) -> subprocess.CompletedProcess[str]:
    """A process that does this once a signal can stop it, and how it ended."""
    command = [sys.executable, "-c", STOPPED.format(then=then)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_signal_that_comes_to_the_process_and_to_its_group_is_one() -> None:
    done = ending("for _ in range(2): signal.raise_signal(signal.SIGTERM); time.sleep(0.05)")
    assert (done.returncode, done.stderr) == (0, "['stop']\n")


def test_what_hangs_when_python_itself_ends_holds_no_stop() -> None:
    """As destructors of libraries do, whose threads are still at work."""
    begun = time.monotonic()
    done = ending("atexit.register(time.sleep, 15); signal.raise_signal(signal.SIGTERM); time.sleep(0.3)")
    assert (done.returncode, done.stderr) == (0, "['stop']\n")
    assert time.monotonic() - begun < 10


HANGING = """
import threading, time
import click
from stpr.runtime.config import ConfiguredCommand

@click.command(cls=ConfiguredCommand)
def main():
    threading.Thread(target=time.sleep, args=(15,), name="in a driver").start()
    raise SystemExit({code})

main()
"""


@pytest.mark.parametrize("code", [0, 2])
def test_a_command_that_ends_by_itself_waits_for_no_thread_that_hangs(code: int) -> None:
    """As after q in the window, or with an error, while another camera's thread is inside OpenCV."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(code=code)], capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (code, b"")
    assert time.monotonic() - begun < 10


def test_what_keeps_pythons_lock_for_ever_is_shown_and_ended() -> None:
    """No thread of Python's runs any more, so nothing can be finished: that is no clean end."""
    done = ending(
        "module.LAST_SECONDS = 2.5; threading.Timer(0.5, ctypes.PyDLL(None).sleep, [15]).start();"
        " signal.raise_signal(signal.SIGTERM); time.sleep(15)"
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert 'File "<string>", line ' in done.stderr


def test_what_is_left_by_itself_leaves_no_trace() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    threads = threading.active_count()
    with stop_on_signals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert threading.active_count() == threads
