"""Find the parts of a file that an older one holds too, wherever they lie in it, as rsync and xdelta do.

Blocks of the older file are known by a hash; one that is met anywhere in the newer file is compared byte by byte, and
extended as far as both files agree.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

BLOCK: Final = 64  # bytes, a power of two: what is shorter is not found
GRAIN: Final = 4  # copies begin and end at multiples of it, so that numbers stay whole
PIECE: Final = 1 << 20  # bytes that are hashed, or compared, at once

Bytes: TypeAlias = npt.NDArray[np.uint8]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """`length` bytes at `at` of the newer file, which are at `start` of the older one."""

    at: Natural
    start: Natural
    length: Natural


def copies(old: Path, new: Path) -> tuple[Copy, ...]:
    """What `new` has in common with `old`, in order of `at` and without overlap."""
    with _bytes_of(old) as older, _bytes_of(new) as newer:
        return tuple(_found(older, newer))


def _found(older: Bytes, newer: Bytes) -> Iterator[Copy]:
    known, places = _index(older)
    end = 0  # of what is found
    for first in range(0, len(newer) if len(known) else 0, PIECE):
        hashes = _hashes(newer[first : first + PIECE + BLOCK - 1])
        nearest = np.searchsorted(known, hashes).clip(max=len(known) - 1)
        for hit in np.flatnonzero(known[nearest] == hashes).tolist():
            at, start = first + hit, int(places[nearest[hit]])
            if at < end or not np.array_equal(newer[at : at + BLOCK], older[start : start + BLOCK]):
                continue
            back = _alike(newer[end:at][::-1], older[:start][::-1])
            length = back + BLOCK + _alike(newer[at + BLOCK :], older[start + BLOCK :])
            skipped = -(at - back) % GRAIN
            copy = Copy(at - back + skipped, start - back + skipped, (length - skipped) // GRAIN * GRAIN)
            end = copy.at + copy.length
            yield copy


def _index(older: Bytes) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The sorted hashes of a file's blocks, and where each begins; of equal ones the first is found first.

    Without blocks of one repeated number, such as zeros, which compress to less than naming them takes.
    """
    starts = np.arange(0, len(older) - BLOCK + 1, BLOCK)
    pieces = [_hashes(older[first : first + PIECE])[::BLOCK] for first in range(0, len(older), PIECE)]
    hashes = np.concatenate([np.empty(0, np.uint64), *pieces])
    numbers = older[: len(starts) * BLOCK].reshape(-1, BLOCK // GRAIN, GRAIN)
    varied = (numbers != numbers[:, :1]).any(axis=(1, 2))
    order = np.argsort(hashes[varied], kind="stable")
    return hashes[varied][order], starts[varied][order]


def _hashes(content: Bytes) -> Hashes:
    """A polynomial hash of the BLOCK bytes from each place on: of 1, 2, 4, … bytes, each from two of the last."""
    hashes, factor, width = content.astype(np.uint64), 0x9E3779B97F4A7C15, 1
    while width < BLOCK:
        hashes = hashes[:-width] * np.uint64(factor) + hashes[width:]
        factor, width = factor * factor % (1 << 64), 2 * width
    return hashes


def _alike(one: Bytes, other: Bytes) -> int:
    """How many bytes two arrays begin with alike."""
    most = min(len(one), len(other))
    for first in range(0, most, PIECE):
        last = min(first + PIECE, most)
        if len(apart := np.flatnonzero(one[first:last] != other[first:last])):
            return first + int(apart[0])
    return most


@contextmanager
def _bytes_of(file: Path) -> Iterator[Bytes]:
    """A file's content, mapped and not read."""
    with file.open("rb") as opened:
        content: Any = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if file.stat().st_size else b""
        yield np.frombuffer(content, np.uint8)
