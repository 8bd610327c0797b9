"""Measure the cost of each further camera: stpr-run on one, two, … fake cameras at once, each playing a real clip.

    python tools/measure_cameras.py BUNDLE VIDEO VIDEO VIDEO VIDEO

Cost is the CPU time of stpr-run alone; the cameras (tools/fake_camera.py) are separate processes on the same cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import numpy as np
from fake_camera import KINDS

HERE: Final = Path(__file__).parent
PORT: Final = 8754
FIRST: Final = 10.0  # seconds for the run to open its bundle and all cameras
HEAD: Final = (
    "cameras",
    "frames a second of each",
    "dropped of each",
    "age p50 / p95 / p99",
    "CPU, of one core",
    "CPU a camera",
    "memory",
)
SUMMARY: Final = re.compile(r"(?:.*: )?(\d+) frames, \d+ encoded, (\d+) dropped, \d+ reconnects, ([\d.]+) fps")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("videos", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--kind", type=click.Choice(KINDS), default="http-mjpeg", show_default=True)
@click.option("--size", default="320x240", show_default=True)
@click.option("--fps", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True)
def main(*, bundle: Path, videos: tuple[Path, ...], **options: object) -> None:
    """Print a row for the first of VIDEOS, for the first two, and so on, all with BUNDLE."""
    click.echo(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for count in range(1, len(videos) + 1):
        click.echo(f"| {' | '.join([str(count), *measured(bundle, videos[:count], options)])} |")


def measured(bundle: Path, videos: Sequence[Path], options: dict[str, object]) -> list[str]:
    """The cells of a row after the number of cameras."""
    with ExitStack() as started, tempfile.TemporaryDirectory() as scratch:
        urls = []
        for number, video in enumerate(videos):
            command = [sys.executable, str(HERE / "fake_camera.py"), str(options["kind"]), str(video)]
            command += [f"--port={PORT + number}", f"--size={options['size']}", f"--fps={options['fps']}"]
            camera = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
            started.callback(os.killpg, camera.pid, signal.SIGKILL)
            assert camera.stdout is not None
            urls.append(camera.stdout.readline().strip())
        lines, log = Path(scratch) / "lines", Path(scratch) / "log"
        command = [sys.executable, "-c", "from stpr.runtime.entry import run; run()", "--bundle", str(bundle)]
        command += ["--headless", "--wait", "--json", str(lines), *(part for url in urls for part in ("--source", url))]
        with log.open("w") as file:
            watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
        time.sleep(FIRST)
        used, skip = processor_seconds(watching.pid), len(lines.read_text().splitlines())
        begun = time.monotonic()
        time.sleep(float(str(options["seconds"])))
        used, seconds = processor_seconds(watching.pid) - used, time.monotonic() - begun
        memory = int(Path(f"/proc/{watching.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        watching.send_signal(signal.SIGTERM)
        watching.wait(timeout=10)
        summaries = [found.groups() for line in log.read_text().splitlines() if (found := SUMMARY.match(line))]
        ages = [json.loads(line).get("age_ms") for line in lines.read_text().splitlines()[skip:]]
    percentiles = np.percentile([age for age in ages if age is not None], (50, 95, 99))
    return [
        ", ".join(fps for _, _, fps in summaries),
        ", ".join(dropped for _, dropped, _ in summaries),
        f"{' / '.join(f'{age:.0f}' for age in percentiles)} ms",
        f"{used / seconds:.0%}",
        f"{used / seconds / len(videos):.0%}",
        f"{memory:.0f} MB",
    ]


def processor_seconds(pid: int) -> float:
    """CPU seconds that a process has used so far, over all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
