"""Read the edit list of an mp4: a file that was cut without re-encoding contains more frames than it shows.

OpenCV applies the edit list when decoding, but ignores it in its frame count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

NOTHING: Final = {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}  # media times that mark an empty edit
ALL_HIDDEN: Final = (  # why nothing can be decoded if `shows_none`
    "its edit list leaves out every frame, as a cut without re-encoding may; cut it again from the original:"
    " ffmpeg -ss START -t SECONDS -i WHOLE NEW.mp4"
)
LONGEST: Final = 64 << 20  # bytes of the metadata


def seconds_shown(path: Path) -> float | None:
    """Length of the video in an mp4 (or mov) by its edit list, 0 if the list excludes everything.

    None without a list, or if it has no end.
    """
    try:
        with path.open("rb") as file:
            film = _index(file)
    except OSError:
        return None
    scale = next((_units(head)[0] for head in _parts(film, b"mvhd")), 0)
    for track in _parts(film, b"trak"):
        if not _is_video(track):
            continue
        end = next((_units(head)[1] for head in _inside(track, b"mdia", b"mdhd")), 0)
        for edits in _inside(track, b"edts", b"elst"):
            stretches = list(_stretches(edits))
            if not scale or any(length == 0 for length, _ in stretches):  # 0: to the end, as in a growing file
                return None
            return sum(length for length, place in stretches if not end or place < end) / scale
    return None


def is_sound_alone(file: BinaryIO) -> bool:
    """Whether a file, read from its first byte, is an mp4 (or mov) that has tracks, but none with pictures."""
    tracks = list(_parts(_index(file), b"trak"))
    return bool(tracks) and not any(map(_is_video, tracks))


def frames_shown(announced: int, rate: float, seconds: float | None) -> int:
    """How many of the announced frames are shown; `seconds` is the result of `seconds_shown`."""
    return announced if seconds is None else min(announced, round(seconds * rate))


def shows_none(rate: float, seconds: float | None) -> bool:
    """Whether a video may have no frame at all, because it shows less than one frame's duration."""
    return seconds is not None and seconds * rate < 1


def _index(file: BinaryIO) -> bytes:
    """The metadata of an mp4; empty if it is none, so that what stands there may be no place in a file."""
    try:
        return _part_of_file(file, b"moov")
    except ValueError:
        return b""


def _is_video(track: bytes) -> bool:
    return any(media[8:12] == b"vide" for media in _inside(track, b"mdia", b"hdlr"))


def _stretches(edits: bytes) -> Iterator[tuple[int, int]]:
    """Yield each non-empty edit: its length in movie units, its start in track units."""
    wide = 8 if edits[0] == 1 else 4
    end = 8 + int.from_bytes(edits[4:8], "big") * (2 * wide + 4)
    for at in range(8, min(end, len(edits)), 2 * wide + 4):
        length, place = edits[at : at + wide], edits[at + wide : at + 2 * wide]
        if len(place) == wide and int.from_bytes(place, "big") not in NOTHING:
            yield int.from_bytes(length, "big"), int.from_bytes(place, "big")


def _units(head: bytes) -> tuple[int, int]:
    """Time units per second, and the length in units, of a movie or track header."""
    at, wide = (20, 8) if head[0] == 1 else (12, 4)
    return int.from_bytes(head[at : at + 4], "big"), int.from_bytes(head[at + 4 : at + 4 + wide], "big")


def _part_of_file(file: BinaryIO, kind: bytes) -> bytes:
    """The content of the first box of this kind in a file; empty if there is none."""
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
    """The contents of all non-empty boxes of this kind."""
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
