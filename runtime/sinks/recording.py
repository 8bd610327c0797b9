"""`--record`: record the frames with the overlay, as a video file or as a folder of one-minute videos."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import shown
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.overlay import Overlay
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sinks.store import LOOK_SECONDS, Store, has_room
from stpr.runtime.sinks.targets import is_folder
from stpr.runtime.sinks.video_file import VideoFile, rate_of

MINUTE: Final = 60.0  # seconds per video in a folder


class Place(Protocol):
    """A destination of videos."""

    longest: float  # seconds per video

    def new(self, name: str) -> Path:
        """Create an empty file for the next video of a source."""

    def check_room(self) -> None:
        """Raise StprError if the disk is nearly full; MissedError if that may change."""

    def close(self) -> None:
        """No video will follow."""


class Recording:
    """Writes each source's pictures to its own videos."""

    every_frame = True

    def __init__(self, place: Place) -> None:
        self._place = place
        self._overlays: dict[str, Overlay] = {}
        self._videos: dict[str, VideoFile] = {}
        self._paused: MissedError | None = None  # why nothing is recorded at present

    def write(self, result: Result) -> None:
        """Write the picture. Raises StprError if no video can be created, or one is incomplete."""
        name, captured_at = result.frame.source.name, result.frame.captured_at
        picture = self._overlays.setdefault(name, Overlay()).draw(result)
        try:
            self._place.check_room()
        except StprError as error:
            self._paused = error if isinstance(error, MissedError) else None
            self._close_all()
            raise
        self._paused = None
        if name in self._videos and self._videos[name].seconds >= self._place.longest:
            self._videos.pop(name).close()
        if name not in self._videos:
            fps = rate_of(result.frame)
            self._videos[name] = VideoFile(self._place.new(name), picture, captured_at, fps)
        try:
            self._videos[name].write(picture, captured_at)
        except MissedError:  # the next picture starts another video, if the destination accepts one
            with suppress(StprError):
                self._videos.pop(name).close()
            raise

    def close(self) -> None:
        """Close the videos and check that they can be read; without frames there is no file.

        Raises StprError if one can't be read, or the last pictures were not recorded.
        """
        try:
            self._close_all()
        finally:
            self._place.close()
        if self._paused is not None:
            raise self._paused

    def _close_all(self) -> None:
        while self._videos:
            self._videos.popitem()[1].close()


class OneFile:
    """A single file, for one video of one source."""

    longest = float("inf")

    def __init__(self, path: Path) -> None:
        """Creates the file immediately, so that no other run uses it. Raises StprError if that fails."""
        if not path.parent.is_dir():
            raise StprError(f"can't record to {path}: there is no folder {path.parent}; make it first.")
        if path.suffix.lower() != ".mp4":
            raise StprError(f"can't record to {shown(path)}: videos are mp4; name a .mp4 file or a folder.")
        try:
            path.touch(exist_ok=False)
        except FileExistsError as error:
            raise StprError(
                f"{path} exists already, and recording would overwrite it; name another file, or remove that one."
            ) from error
        except OSError as error:
            raise StprError(f"can't record to {path} ({error.strerror}); choose another file.") from error
        self._path, self._name = path, ""
        self._looked_at = float("-inf")

    def new(self, name: str) -> Path:
        """Return the file, for the first source only."""
        if self._name == name:
            raise StprError(f"{shown(self._path)} has failed and is not overwritten; name a folder instead.")
        if self._name:
            raise StprError(f"{shown(self._path)} has the video of {self._name}, not of {name} too; name a folder.")
        self._name = name
        return self._path

    def check_room(self) -> None:
        """Raise StprError if the disk is nearly full: the file ends there."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            if not has_room(self._path.parent):
                raise StprError(f"the disk of {shown(self._path)} is nearly full; free space.")

    def close(self) -> None:
        """Remove the file if it is empty."""
        if not self._name:
            self._path.unlink(missing_ok=True)


class Folder(Store):
    """A folder of one-minute videos, which every run adds to."""

    longest = MINUTE

    def close(self) -> None:
        """Nothing to do; each video is closed separately."""


def open_recording(settings: Settings) -> Recording | None:
    """Open the sink if `--record` is set."""
    if settings.record is None:
        return None
    if len(settings.sources) > 1:
        raise StprError("--record takes one source; start another run for each further source.")
    if is_folder(settings.record):
        return Recording(Folder(settings.record, settings))
    return Recording(OneFile(settings.record))
