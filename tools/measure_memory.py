"""Measure the resident memory of a very long live run: after a tenth of its frames and at the end.

    python tools/measure_memory.py BUNDLE >/dev/null

The frames go through all parts of a live run (thread, mailbox, filters, JSON lines to standard output, the page's
board), as fast as this machine can.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from stpr.runtime import motions
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import open_model
from stpr.runtime.opening import session_for
from stpr.runtime.recognizer import run
from stpr.runtime.serve import Board
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import open_sinks
from stpr.runtime.sources import SYNTHETIC
from stpr.runtime.sources.capture import Shot
from stpr.runtime.sources.frame import WhenBehind
from stpr.runtime.sources.live import LiveSource
from stpr.runtime.updates import Models, Updater

TENTHS: Final = 10


class Hurried:
    """The embedded stream without pauses, with the times that its frames would have."""

    dropped = 0
    skipped = 0

    def __init__(self) -> None:
        self._shots = motions.stream(seed=0)
        self._times = self._clock()

    def read(self) -> Shot:
        """The next frame."""
        return Shot(*next(self._shots), next(self._times))

    def close(self) -> None:
        """Nothing to release."""

    @staticmethod
    def _clock() -> Iterator[float]:
        begun, index = time.monotonic(), 0
        while True:
            yield begun + index / motions.FPS
            index += 1


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--frames", type=click.IntRange(min=TENTHS), default=1_000_000, show_default=True)
def main(bundle: Path, frames: int) -> None:
    """Run BUNDLE on the embedded stream, and print the memory in use on standard error as it goes on."""
    settings = Settings(source=SYNTHETIC, bundle=bundle, headless=True, json="-")
    options = EngineOptions(threads=1)
    begun, sizes = time.monotonic(), []
    with (
        open_model(open_bundle(bundle), settings.engine, options) as model,
        closing(LiveSource(SYNTHETIC, Hurried, fps=motions.FPS, when_behind=WhenBehind.WAIT)) as source,
    ):
        session = session_for(source, model, settings)
        with closing(Updater(Models(settings), [session], settings)) as updater:
            board = Board({session: source}, updater)
            board.sinks = sinks = open_sinks(settings)
            with closing(sinks):
                for seen, result in enumerate(run(session, source), start=1):
                    sinks.write(result)
                    board.see(session, result)
                    if seen % (frames // TENTHS) == 0:
                        sizes.append(resident_kilobytes())
                        rate = seen / (time.monotonic() - begun)
                        click.echo(f"{seen:9,d} frames  {sizes[-1] / 1024:7.2f} MB  {rate:6.1f} fps", err=True)
                    if seen == frames:
                        source.stop()
    growth = sizes[-1] / sizes[0] - 1
    click.echo(
        f"from a tenth of {frames:,} frames to their end: {growth:+.2%}, {session.timing.predictions:,} predictions",
        err=True,
    )


def resident_kilobytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
