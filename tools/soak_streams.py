"""Soak test of stpr-run: cameras that are killed, come back with another size and view, or hang; counts what is lost.

    python tools/soak_streams.py BUNDLE VIDEO VIDEO … --kind h264 --kind http-mjpeg --kills 20

Each kind (tools/fake_camera.py) has its own camera, a real server in its own process, and a real stpr-run. A sink added
to that run reads the stamp of every frame; the other figures come from the JSON lines and the summary.

    killed      SIGKILL, and restarted after a moment or some seconds, with another view and often another size
    stopped     SIGSTOP for one to eight seconds: the connection may or may not survive it
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
from fake_camera import KINDS, read_stamp

from stpr.runtime import sinks
from stpr.runtime.cli import run
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings

HERE: Final = Path(__file__).parent
WATCHED: Final = "STPR_SOAK_STAMPS"  # environment variable of the run with the path of the stamps' file
SIZES: Final = ("320x240", "320x240", "640x480", "176x144")
AWAY: Final = (0.2, 3.0, 0.5, 0.0)  # seconds between a kill and the next camera
STOPPED: Final = (1.5, 8.0, 0.7)  # seconds
STEADY: Final = 6.0  # seconds of frames between two failures
PATIENCE: Final = 60.0  # seconds to wait for frames to come back
FPS: Final = 15
HEAD: Final = (
    "camera",
    "kills, stops",
    "reconnects",
    "longest way back",
    "frames, dropped",
    "lost uncounted",
    "windows across",
    "unreadable",
    "true age p50 / p99 / longest",
    "age as said",
    "memory after a quarter, at the end",
)
PORT: Final = 8654
SUMMARY: Final = re.compile(r"(\d+) frames, .* (\d+) dropped, (\d+) reconnects(?:.*stamps missed (\d+) results)?")


class Stamps:
    """Sink that records the stamp of each frame, and what the run knows about the frame."""

    every_frame = True

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)

    def write(self, result: Result) -> None:
        """Write a line for a frame."""
        frame, now = result.frame, time.time()
        stamp = read_stamp(frame.image, now)
        age = None if result.prediction is None else (result.prediction.age_ms or 0.0) / 1000
        seen_at = now - (time.monotonic() - frame.captured_at)
        line = [frame.connection, frame.index, stamp, seen_at, age, result.began]
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SeenFrame(NamedTuple):
    """A frame as the run received it."""

    connection: int
    number: int
    stamp: tuple[int, int, float] | None  # view, number, when it was taken
    seen_at: float  # capture time according to the run
    age: float | None  # its age in seconds, according to the run, when it was predicted
    began: bool


class Camera:
    """A camera that can be killed and started again."""

    def __init__(self, kind: str, videos: Sequence[Path], port: int) -> None:
        self._kind, self._videos, self._port = kind, itertools.cycle(videos), port
        self._sizes, self._view = itertools.cycle(SIZES), 0
        self.url = self._start()

    def _start(self) -> str:
        self._view += 1
        command = [sys.executable, str(HERE / "fake_camera.py"), self._kind, str(next(self._videos))]
        command += ["--port", str(self._port), "--view", str(self._view % 64)]
        command += ["--size", next(self._sizes), "--fps", str(FPS)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self, away: float) -> None:
        """Kill it, as a power cut would; start the next one after `away` seconds."""
        self.end()
        time.sleep(away)
        self._start()

    def stop(self, seconds: float) -> float:
        """Let it hang for `seconds`; return the time at which it resumed."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(self._process.pid, signal.SIGCONT)
        return time.time()

    def end(self) -> None:
        """Kill it and its child processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


class Run:
    """A running stpr-run and its output so far."""

    def __init__(self, bundle: Path, url: str, folder: Path) -> None:
        self._stamps, self.lines, self._log = folder / "stamps", folder / "lines.jsonl", folder / "log.txt"
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            __file__,
            "--bundle",
            str(bundle),
            "--headless",
            "--wait",
            "--source",
            url,
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--json", str(self.lines), "--threads", "1"],
                env={**os.environ, WATCHED: str(self._stamps)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def seen(self) -> list[SeenFrame]:
        """Every frame so far."""
        whole = self._stamps.read_text().rpartition("\n")[0] if self._stamps.exists() else ""
        return [SeenFrame(*json.loads(line)) for line in whole.splitlines()]

    def resident(self) -> float:
        """Its resident memory in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def wait(self, since: float) -> float:
        """Wait for a frame taken after `since`; return the seconds that took."""
        begun = time.time()
        while time.time() - begun < PATIENCE and self.process.poll() is None:
            if any(one.stamp is not None and one.stamp[2] > since for one in self.seen()[-3:]):
                return time.time() - since
            time.sleep(0.05)
        raise click.ClickException(f"no frame came back within {PATIENCE:g} s; the run said:\n{self._log.read_text()}")

    def end(self) -> str:
        """Stop it and return its summary."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # makes it print the stacks of all threads
            self.process.wait()
            raise click.ClickException(f"it did not end; the run said:\n{self._log.read_text()}") from None
        if self.process.returncode:
            raise click.ClickException(f"it ended with {self.process.returncode}:\n{self._log.read_text()}")
        return self._log.read_text().splitlines()[-1]


class Figures(NamedTuple):
    """A row of the table."""

    kind: str
    kills: int
    stops: int
    reconnects: int
    longest_back: float  # longest time from the camera's restart to its first frame, in seconds
    frames: int
    dropped: int
    uncounted: int  # frames that a connection lost without counting them as dropped
    across: int  # decisions that use frames of two connections, or of two views
    unread: int  # frames whose stamp can't be read
    true: tuple[
        float, float, float
    ]  # age of a frame when there is a prediction of it: p50, p99 and longest, in seconds
    reported: tuple[float, float, float]  # the same according to the run
    memory: tuple[float, float]  # MB after a quarter of the failures, and at the end


def soak(bundle: Path, kind: str, videos: Sequence[Path], *, kills: int, port: int) -> Figures:
    """Kill or stop a camera of one kind `kills` times, and evaluate its run."""
    memory, back, stops = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        camera = Camera(kind, videos, port)
        watched = Run(bundle, camera.url, Path(scratch))
        try:
            watched.wait(time.time())
            for number, away, hang in zip(range(kills), itertools.cycle(AWAY), itertools.cycle(STOPPED), strict=False):
                time.sleep(STEADY)
                camera.kill(away)
                back.append(watched.wait(time.time()))
                if number % 2:
                    time.sleep(STEADY)
                    stops.append(camera.stop(hang))
                    watched.wait(stops[-1])
                memory.append(watched.resident())
            time.sleep(STEADY)
            summary = watched.end()
        finally:
            camera.end()
            watched.process.kill()
        match = SUMMARY.match(summary)
        assert match is not None
        frames, dropped, reconnects, unstamped = (int(number or 0) for number in match.groups())
        seen, lines = watched.seen(), list(map(json.loads, watched.lines.read_text().splitlines()))
    if len(seen) + unstamped != frames or seen[-1].number + 1 > frames + dropped:
        raise click.ClickException(
            f"{kind}: {len(seen)} frames up to {seen[-1].number} were seen, but it says {summary}"
        )
    # The run can't know what the camera itself held back while it hung: older frames, sent afterwards.
    ages = [
        (one.seen_at + one.age - one.stamp[2], one.age)
        for one in seen
        if one.stamp is not None and one.age is not None and not held_back(one.stamp[2], one.seen_at, stops)
    ]
    return Figures(
        kind=kind,
        kills=kills,
        stops=len(stops),
        reconnects=reconnects,
        longest_back=max(back),
        frames=frames,
        dropped=dropped,
        uncounted=sum(uncounted(seen)),
        across=sum(across(seen, lines)),
        unread=sum(one.stamp is None for one in seen),
        true=percentiles([true for true, _ in ages]),
        reported=percentiles([reported for _, reported in ages]),
        memory=(memory[len(memory) // 4], memory[-1]),
    )


def held_back(taken_at: float, seen_at: float, stops: Sequence[float]) -> bool:
    """Whether the camera hung between the two times; `stops` are the times at which it resumed."""
    return any(taken_at <= went_on <= seen_at for went_on in stops)


def percentiles(ages: Sequence[float]) -> tuple[float, float, float]:
    """The 50th and 99th percentile and the maximum."""
    p50, p99 = np.percentile(ages, (50, 99))
    return float(p50), float(p99), max(ages)


def uncounted(seen: Sequence[SeenFrame]) -> Iterator[int]:
    """For each pair of successive frames of one connection: frames lost between them that were not counted."""
    for one, other in itertools.pairwise(seen):
        if one.connection == other.connection and one.stamp is not None and other.stamp is not None:
            yield max(0, other.stamp[1] - one.stamp[1] - (other.number - one.number))


def across(seen: Sequence[SeenFrame], lines: Sequence[dict[str, object]]) -> Iterator[bool]:
    """For each pair of successive frames: whether a decision continues over a change of connection or view."""
    states = {line["frame"]: line["state"] for line in lines if "event" not in line}
    for one, other in itertools.pairwise(seen):
        if one.connection != other.connection:
            later = [states[frame.number] for frame in seen if frame.number >= other.number and frame.number in states]
            yield not other.began or later[:1] not in ([], ["warming_up"])
        elif one.stamp is not None and other.stamp is not None:
            yield one.stamp[0] != other.stamp[0] and not other.began


@contextmanager
def stamps_sink(path: str) -> Iterator[None]:
    """Add the stamps' sink to runs within this block."""

    def open_stamps(_: Settings) -> Stamps:
        return Stamps(Path(path))

    sinks.SINKS["stamps"] = open_stamps  # type: ignore[index]
    yield


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("videos", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="[default: all]")
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--port", type=int, default=PORT, show_default=True, help="The first of those that are taken.")
def main(bundle: Path, videos: tuple[Path, ...], kinds: tuple[str, ...], kills: int, port: int) -> None:
    """Kill and stop cameras that play VIDEOS while BUNDLE runs on them, and print a table."""
    if shutil.which("ffmpeg") is None:
        raise click.ClickException("FFmpeg's command is not installed.")
    click.echo(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for number, kind in enumerate(kinds or KINDS):
        row = soak(bundle, kind, videos, kills=kills, port=port + number)
        true, as_said = (" / ".join(f"{age:.2f}" for age in ages) for ages in (row.true, row.reported))
        click.echo(
            f"| {row.kind} | {row.kills}, {row.stops} | {row.reconnects} | {row.longest_back:.1f} s | {row.frames},"
            f" {row.dropped} | {row.uncounted} | {row.across} | {row.unread} | {true} s |"
            f" {as_said} s | {row.memory[0]:.1f}, {row.memory[1]:.1f} MB |"
        )


if __name__ == "__main__":
    if WATCHED in os.environ:
        with stamps_sink(os.environ[WATCHED]):
            run()
    else:
        main()
