"""Choose the frames of a clip, as indices, independent of decoding (method: 8 frames, TSN segment sampling)."""

from __future__ import annotations

import msgspec
import numpy as np

from stpr.runtime.contract.errors import ContractError


class ClipSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number of frames of a clip and the time it spans.

    `span_seconds` is the typical length of a training clip; the live window covers the same span of capture time at
    any camera rate.
    """

    frames: int
    span_seconds: float

    def __post_init__(self) -> None:
        """Reject a clip without frames or duration."""
        if self.frames < 1 or not self.span_seconds > 0:
            raise ContractError(
                f"a clip needs frames >= 1 and span_seconds > 0, got {self.frames} and {self.span_seconds}."
            )

    @property
    def period(self) -> float:
        """Seconds between the frames of a clip."""
        return self.span_seconds / self.frames


def centre_frames(total: int, count: int) -> list[int]:
    """The centre frame of each of `count` equal segments of `total` frames; short videos repeat frames."""
    _check(total, count)
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def random_frames(total: int, count: int, rng: np.random.Generator) -> list[int]:
    """One random frame from each of `count` equal segments (TSN training sampling), never decreasing."""
    _check(total, count)
    starts = [part * total // count for part in range(count)]
    ends = [max(start + 1, (part + 1) * total // count) for part, start in enumerate(starts)]
    return [int(rng.integers(start, end)) for start, end in zip(starts, ends, strict=True)]


def _check(total: int, count: int) -> None:
    if total < 1 or count < 1:
        raise ContractError(f"sampling needs at least one frame to choose from and to take, got {total} and {count}.")
