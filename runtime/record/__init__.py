"""`stpr-record`: record training clips from a camera into one folder per class, as `stpr-train FOLDER` reads them.

Read in this order: look (quality checks of a clip), clip_file (writing it), then this. All times are frame timestamps,
so a video file is cut into clips by the same code, as fast as it can be read.

    countdown (at least SETTLING of a camera; its rate is measured) ─▶ clip ─▶ look ─▶ keep? ─▶ OUT/LABEL/SESSION-NN.mp4
"""

from __future__ import annotations

import math
import select
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from stpr.runtime.contract.durable import explain, write_new_file
from stpr.runtime.contract.errors import SourceError, StprError
from stpr.runtime.contract.names import is_text, shown
from stpr.runtime.record.clip_file import ClipFile
from stpr.runtime.record.look import Look, Looker
from stpr.runtime.settings import RecordSettings
from stpr.runtime.sources import Frame, Source, open_source
from stpr.runtime.stopping import Stopping

SETTLING: Final = 1.0  # seconds before the first clip, in which exposure settles and the frame rate is measured
HOLE: Final = 0.5  # a longer pause within a clip, in seconds, spoils it
SLOWEST: Final = 5.0  # frames per second; below, a clip shows too little of an action
SPLITS: Final = frozenset({"train", "test"})  # names that stpr-train does not treat as classes
POLL_SECONDS: Final = 0.1


def run_record(settings: RecordSettings, stopping: Stopping) -> None:
    """Record until `count` clips are kept, the source ends or the user stops; then print the next command."""
    _check_label(settings)
    if not settings.yes and not sys.stdin.isatty():
        raise StprError("there is no terminal to ask whether a clip is to be kept; add --yes to keep every clip.")
    with closing(open_source(settings.source)) as source, _class_folder(settings.out / settings.label) as folder:
        recorder = Recorder(settings, source, folder)
        with stopping.by(recorder.stop, finish=lambda: None, words=recorder.summary):
            recorder.run()


class Recorder:
    """One session. Its clips differ only in the last number of their names, so they count as one recording."""

    def __init__(self, settings: RecordSettings, source: Source, folder: Path) -> None:
        self.kept: list[Path] = []
        self._settings, self._source, self._folder = settings, source, folder
        self._session = datetime.now().strftime("%Y%m%d-%H%M%S")
        self._discarded = 0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End soon; may be called from any thread or signal handler. An unfinished clip is discarded."""
        self._stopped.set()
        self._source.stop()

    def run(self) -> None:
        """Record clip after clip."""
        settings = self._settings
        clips = f"{settings.count} clips of {settings.seconds:g} s of {settings.label!r}"
        _say(f"watching {self._source.origin.name}: {clips}")
        frames = iter(self._source)
        with suppress(StopIteration):
            while len(self.kept) < settings.count and not self._stopped.is_set():
                fps = self._count_down(frames)
                with ClipFile(fps) as clip:
                    if (look := self._take(frames, clip)) is None:
                        continue
                    _say(f"{len(self.kept) + 1}/{settings.count}  {look}")
                    answer = "y" if settings.yes else self._ask()
                    if answer == "y":
                        self._keep(clip.finished())
                    else:
                        self._discarded += 1
                    if answer == "q":
                        return
        if len(self.kept) < settings.count and not self._stopped.is_set():
            _say(f"{self._source.origin.name} ended before clip {len(self.kept) + 1} was complete")

    def summary(self) -> str:
        """Summary of the clips, and the next command."""
        discarded = f", {self._discarded} discarded" if self._discarded else ""
        clips = len([*self._folder.glob("[!.]*")])
        words = f"kept: {len(self.kept)}{discarded}; clips in {self._folder}: {clips}"
        if not self.kept:
            return words
        out = self._settings.out
        if len([entry for entry in out.glob("[!.]*") if entry.is_dir()]) < 2:
            words += "\nfirst: record a second class with another --label; training needs at least two"
        return f"{words}\nnext:  {shlex.join(['stpr-train', f'{out.parent if out.name in SPLITS else out}/'])}"

    def _count_down(self, frames: Iterator[Frame]) -> float:
        """Count down, once per second; returns the source's frames per second.

        Raises StopIteration if the source ends, SourceError if it is too slow for clips.
        """
        live = self._source.origin.is_live
        wait = max(self._settings.countdown, SETTLING) if live else self._settings.countdown
        first = last = next(frames)
        seen, counted = 0, math.inf
        while last.captured_at - first.captured_at < wait:
            left = math.ceil(wait - (last.captured_at - first.captured_at))
            if live and left < counted:
                _say(f"{left} …")
                counted = left
            last, seen = next(frames), seen + 1
            if last.connection != first.connection:
                first, seen, counted = last, 0, math.inf
        if live:
            _say("go")
        announced = None if live else self._source.origin.fps
        fps = announced or seen / (last.captured_at - first.captured_at)
        if fps < SLOWEST:
            raise SourceError(
                f"{self._source.origin.name} gives {fps:.1f} frames a second, too few for clips of actions (at least"
                f" {SLOWEST:g}); add light, or choose a smaller picture or another camera."
            )
        return fps

    def _take(self, frames: Iterator[Frame], clip: ClipFile) -> Look | None:
        """Record one clip; None, with a message, if it was spoilt. Raises StopIteration if the source ends."""
        looker = Looker()
        first = last = frame = next(frames)
        while True:
            pause = frame.captured_at - last.captured_at
            if frame.connection != first.connection or pause > HOLE:
                _say(f"the source paused for {pause:.1f} s: recording this clip again")
                return None
            clip.write(frame.image, frame.captured_at - first.captured_at)
            looker.see(frame)
            if frame.captured_at - first.captured_at > self._settings.seconds - 1.5 / clip.fps:
                return looker.look()
            last, frame = frame, next(frames)

    def _ask(self) -> str:
        """Ask whether to keep the clip: `y`, `n` or `q`."""
        while not self._stopped.is_set():
            click.echo("keep it? [Enter] yes, n no, q stop: ", nl=False, err=True)
            answer = self._line()
            if answer in {"", "y", "yes"}:
                return "y"
            if answer in {"n", "no", "q", "quit"}:
                return answer[0]
        return "q"

    def _line(self) -> str:
        """Read a line from the user; `q` if the terminal is gone or the run is stopping."""
        while not self._stopped.is_set():
            if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                line = sys.stdin.readline()
                return line.strip().lower() if line else "q"
        return "q"

    def _keep(self, content: bytes) -> None:
        number = len(self.kept)
        while True:
            number += 1
            target = self._folder / f"{self._session}-{number:02}.mp4"
            try:
                self.kept.append(write_new_file(target, content))
            except FileExistsError:  # taken by another session that began in the same second
                continue
            except OSError as error:
                raise StprError(f"{explain(error, target)}, or choose another --out.") from error
            return


def _check_label(settings: RecordSettings) -> None:
    """Raise StprError for a label that `stpr-train` would not accept as a class folder."""
    label, out = settings.label, settings.out
    plain = label == label.strip() and is_text(label) and not set(label) & set("/\\")
    if not label or label.startswith(".") or not plain:
        raise StprError(
            f"--label {shown(label)!r} can't be the name of a folder of clips; choose a plain word such as wave."
        )
    if label in SPLITS:
        raise StprError(f"--label {label} would be taken for the {label} split of a data set; choose another word.")
    if any((out / split).is_dir() for split in SPLITS):
        raise StprError(
            f"{out} is split into train/ and test/: name the part to record for, such as --out {out / 'train'}."
        )


@contextmanager
def _class_folder(folder: Path) -> Iterator[Path]:
    """Create the class folder; removed again if it stays empty, since training rejects empty ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StprError(f"{explain(error, folder)}, or choose another --out.") from error
    yield folder
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _say(words: str) -> None:
    click.echo(words, err=True)
