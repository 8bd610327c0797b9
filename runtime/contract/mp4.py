"""How much of an mp4 is to be shown: one that was cut without re-encoding holds more frames than it shows.

Its edit list says so, which OpenCV obeys and leaves out of its count of the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

NOTHING: Final = {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}  # the place in the media of a stretch that shows none of it
LONGEST: Final = 64 << 20  # bytes of all that a film says about itself


def seconds_shown(path: Path) -> float | None:
    """How long the video in an mp4 (or mov) lasts by its edit list; None where there is none, or it says nothing."""
    try:
        with path.open("rb") as file:
            film = _part_of_file(file, b"moov")
    except OSError:
        return None
    for track in _parts(film, b"trak"):
        if not any(media[8:12] == b"vide" for media in _inside(track, b"mdia", b"hdlr")):
            continue
        for edits in _inside(track, b"edts", b"elst"):
            units = sum(_shown(edits))
            scale = next((_scale(head) for head in _parts(film, b"mvhd")), 0)
            return units / scale if units and scale else None
    return None


def _shown(edits: bytes) -> Iterator[int]:
    """The length of every stretch that shows something, in units of the film."""
    wide = 8 if edits[0] == 1 else 4
    for at in range(8, 8 + int.from_bytes(edits[4:8], "big") * (2 * wide + 4), 2 * wide + 4):
        length, place = edits[at : at + wide], edits[at + wide : at + 2 * wide]
        if len(place) == wide and int.from_bytes(place, "big") not in NOTHING:
            yield int.from_bytes(length, "big")


def _scale(head: bytes) -> int:
    """Units a second."""
    at = 20 if head[0] == 1 else 12
    return int.from_bytes(head[at : at + 4], "big")


def _part_of_file(file: BinaryIO, kind: bytes) -> bytes:
    """The content of the first part of this kind; empty where there is none."""
    while len(head := file.read(8)) == 8:
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if head[4:] == kind:
            return file.read(min(size - header, LONGEST)) if size >= header else b""
        if size < header:  # 0: to the end of the file
            break
        file.seek(size - header, 1)
    return b""


def _parts(content: bytes, kind: bytes) -> Iterator[bytes]:
    """The contents of all parts of this kind, which are not empty."""
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size < 8:
            return
        if content[at + 4 : at + 8] == kind and size > 8:
            yield content[at + 8 : at + size]
        at += size


def _inside(content: bytes, outer: bytes, kind: bytes) -> Iterator[bytes]:
    for part in _parts(content, outer):
        yield from _parts(part, kind)
