"""Videos whose rate varies. OpenCV writes at constant rates alone, so the times of an mp4 are written anew."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from tests.factories import make_video

BASE = 500  # frames a second: each frame then lasts a whole number of ticks of the file's clock
PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def make_varying(path: Path, milliseconds: Sequence[int]) -> Path:
    """An mp4 whose frames last so long each, in even milliseconds."""
    whole = make_video(path, frames=len(milliseconds), fps=BASE).read_bytes()
    at = whole.index(b"mdhd") + 4
    (ticks,) = struct.unpack(">I", whole[at + 12 : at + 16])  # a second
    path.write_bytes(_retimed(whole, [length * ticks // 1000 for length in milliseconds]))
    return path


def _retimed(boxes: bytes, ticks: Sequence[int]) -> bytes:
    """MP4 boxes with other times to samples, and without the edit list that would cut the film at its old length.

    The index lies behind the pictures, so no offset in it changes.
    """
    made = b""
    while boxes:
        size, kind = struct.unpack(">I4s", boxes[:8])
        body, boxes = boxes[8:size], boxes[size:]
        if kind == b"edts":
            continue
        if kind in PARENTS:
            body = _retimed(body, ticks)
        elif kind == b"stts":
            body = struct.pack(">II", 0, len(ticks)) + b"".join(struct.pack(">II", 1, length) for length in ticks)
        made += struct.pack(">I4s", 8 + len(body), kind) + body
    return made
