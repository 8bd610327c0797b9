"""A real run with a page, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np

from stpr.runtime.sinks.video_file import VideoFile

TOKEN = "a token that is long enough"
# Few predictions are compared, so that a test need not wait; all else is what the command line gives.
MAIN = """
import sys
from pathlib import Path
from stpr.runtime.live import run_live
from stpr.runtime.settings import Settings, UpdateSettings
from stpr.runtime.stopping import stop_on_signals
from stpr.runtime.log import saying
with saying("debug"), stop_on_signals() as stopping:
    run_live(Settings(source="synthetic:motions", headless=True, threads=1, watch=Path(sys.argv[1]),
                      serve="127.0.0.1:0", clips=Path(sys.argv[2]), updates=UpdateSettings(predictions=4)), stopping)
"""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A run that answers at an address."""

    url: str

    def ask(self, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        method = "GET" if body is None else "POST"
        request = Request(self.url + path, data=body, headers=dict(headers or {}), method=method)
        try:
            with urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def wait_for(self, ready: Callable[[Any], bool]) -> Any:
        """The state, as soon as it is so."""
        end = time.monotonic() + 30
        while not ready(state := self.ask("/state").json):
            assert time.monotonic() < end, state
            time.sleep(0.1)
        return state


def clips_of(watch: Path) -> Path:
    """Where the clips of a run over these bundles lie."""
    return watch / "clips"


def make_clip(folder: Path, name: str, frames: int = 60) -> Path:
    """A clip as a run writes it, of 30 pictures a second that are brighter and brighter; finished a while ago."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.touch()
    shades = [np.full((48, 64, 3), 4 * number, np.uint8) for number in range(frames)]
    video = VideoFile(path, shades[0], 0.0, 30.0)
    for number, shade in enumerate(shades):
        video.write(shade, number / 30)
    video.close()
    os.utime(path, (1e9, 1e9))
    return path


@contextmanager
def served(watch: Path, *, token: str = TOKEN) -> Iterator[Served]:
    """A run over the bundles in a folder, its clips in a folder in there; it must come to a clean end."""
    environment = os.environ | {"STPR_TOKEN": token}
    command = [sys.executable, "-c", MAIN, str(watch), str(clips_of(watch))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    assert process.stderr is not None
    try:
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the run ended"
            found = re.fullmatch(r".* INFO    page at (http://127\.0\.0\.1:\d+)/\n", line)
        run = Served(found[1])
        run.wait_for(lambda state: all(one["latest"] for one in state["cameras"].values()))
        yield run
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said, said
    assert token not in said
