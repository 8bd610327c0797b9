"""Say what it is that can't be opened as a video, so that only a damaged one is called damaged."""

from __future__ import annotations

from typing import BinaryIO, Final

from stpr.runtime.contract.mp4 import is_sound_alone

HEAD: Final = 512  # bytes; a tar archive's mark is near their middle
PACKED: Final = "; unpack it first"
SOUND: Final = "has sound, but no picture; name a video"
# First bytes of what is often found in place of a video.
SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it: git lfs pull"),
    (b"\x1f\x8b", f"is compressed by gzip{PACKED}"),
    (b"PK\x03\x04", f"is a zip archive{PACKED}"),
    (b"7z\xbc\xaf", f"is a 7z archive{PACKED}"),
    (b"Rar!", f"is a rar archive{PACKED}"),
    (b"\xfd7zXZ", f"is compressed by xz{PACKED}"),
    (b"\x28\xb5\x2f\xfd", f"is compressed by zstd{PACKED}"),
    (b"BZh", f"is compressed by bzip2{PACKED}"),
    (b"%PDF", "is a PDF; name a video"),
    (b"ID3", SOUND),
    (b"fLaC", SOUND),
    (b"\xff\xfb", SOUND),
)
PAGES: Final = (b"<!doctype html", b"<html")


def why_no_video(file: BinaryIO) -> str | None:
    """What a file is instead of a video, with the fix, to follow its name in a message; None if that is not known."""
    head = file.read(HEAD)
    if head and not head.strip(b"\0"):
        return "begins with zeros, as after an interrupted download; copy it again"
    if head[257:262] == b"ustar":
        return f"is a tar archive{PACKED}"
    if head.lstrip().lower().startswith(PAGES):
        return "is a web page, which a download that needs a login may give; download the video itself"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return SOUND
    if (words := next((words for mark, words in SIGNATURES if head.startswith(mark)), None)) is not None:
        return words
    file.seek(0)
    return SOUND if is_sound_alone(file) else None
