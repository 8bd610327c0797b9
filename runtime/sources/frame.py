"""What a source gives: frames in RGB, each with the time at which it was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stpr.runtime.contract.preprocess import Image


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a source before its first frame; every frame bears it."""

    name: str  # what messages and predictions call the source; holds no credentials
    is_live: bool  # whether frames come by the clock rather than as fast as they are read
    fps: float | None = None  # frames a second as announced, on average where they vary; None: only the clock tells


@dataclass(frozen=True, slots=True)
class Frame:
    """One RGB image, where it comes from and when it was captured."""

    image: Image  # (H, W, 3) uint8, RGB
    index: int  # from 0, dropped frames counted
    captured_at: float  # seconds: the monotonic clock for cameras and streams, media time for files
    source: Origin
    label: str | None = None  # the true class, where the source knows it
    stands: float = 0.0  # seconds until the next frame; 0 where nobody knows when that comes
    connection: int = 0  # grows when the source was lost and came back: nothing is known of what was between

    @property
    def media_time(self) -> float | None:
        """Where in its recording the frame is to be found, in seconds; None for what is live."""
        return None if self.source.is_live else round(self.captured_at, 6)


class WhenBehind(Enum):
    """What a source does when its reader is slower than it is."""

    DROP_OLDEST = "drop oldest"  # the reader gets the newest frame; what it missed is counted
    WAIT = "wait"  # every frame, however late


class Source(Protocol):
    """Frames in order. Iterate once; `stop` ends the iteration, `close` gives the device back."""

    @property
    def origin(self) -> Origin:
        """Its name and kind."""

    @property
    def dropped(self) -> int:
        """Frames that nobody took before a newer one came."""

    @property
    def reconnects(self) -> int:
        """How often a lost connection came back."""

    @property
    def skipped(self) -> int:
        """Pictures that are there and can't be read."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames; raises SourceError when the source breaks."""

    def stop(self) -> None:
        """End the iteration soon, from any thread or signal handler."""

    def close(self) -> None:
        """Release the device or file."""
