"""Frames: RGB images with capture times; and the interface of sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stpr.runtime.contract.preprocess import Image


@dataclass(frozen=True, slots=True)
class Origin:
    """Facts about a source that are known before its first frame; part of every frame."""

    name: str  # name in messages and predictions, without credentials
    is_live: bool  # whether frames come in real time rather than as fast as they are read
    fps: float | None = None  # announced frames per second (mean if varying); None: unknown


@dataclass(frozen=True, slots=True)
class Frame:
    """One RGB image, with its source and capture time."""

    image: Image  # (H, W, 3) uint8, RGB
    index: int  # from 0, dropped frames counted
    captured_at: float  # seconds: monotonic clock for cameras and streams, media time for files
    source: Origin
    label: str | None = None  # the true class, if the source knows it
    stands: float = 0.0  # seconds until the next frame; 0 if unknown
    connection: int = 0  # increased after each reconnect; frames before and after are unrelated

    @property
    def media_time(self) -> float | None:
        """Position in the recording in seconds; None for live sources."""
        return None if self.source.is_live else round(self.captured_at, 6)


class WhenBehind(Enum):
    """What a source does if its consumer is too slow."""

    DROP_OLDEST = "drop oldest"  # the consumer gets the newest frame; missed ones are counted
    WAIT = "wait"  # every frame, however late


class Source(Protocol):
    """Yields frames in order. Iterate once; `stop` ends the iteration, `close` releases the device."""

    @property
    def origin(self) -> Origin:
        """Facts about the source."""

    @property
    def dropped(self) -> int:
        """Number of frames replaced by newer ones before they were taken."""

    @property
    def reconnects(self) -> int:
        """Number of reconnects."""

    @property
    def skipped(self) -> int:
        """Number of pictures that could not be decoded."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; raises SourceError if the source fails."""

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread or signal handler."""

    def close(self) -> None:
        """Release the device or file."""
