from __future__ import annotations

import io

import cv2
import numpy as np
import pytest

from stpr.runtime.sources.jpegs import LONGEST, decoded, jpegs


def picture(grey: int, *, size: int = 24, thumbnail: bytes = b"") -> bytes:
    jpeg = cv2.imencode(".jpg", np.full((size, size, 3), grey, np.uint8))[1].tobytes()
    if not thumbnail:
        return jpeg
    segment = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (2 + len(segment)).to_bytes(2, "big") + segment + jpeg[2:]


ALL = [picture(10), picture(200, thumbnail=picture(90)), picture(60, size=200), picture(250)]
LENGTHS = b"".join(
    b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg) for jpeg in ALL
)
BOUNDARIES = b"".join(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n" for jpeg in ALL)


@pytest.mark.parametrize("sent", [LENGTHS, BOUNDARIES, b"".join(ALL)], ids=["lengths", "boundaries", "bare"])
@pytest.mark.parametrize("piece", [1, 7, 1000, 10**6])
def test_every_picture_is_found_however_it_is_sent(sent: bytes, piece: int) -> None:
    file = io.BytesIO(sent)
    assert list(jpegs(lambda: file.read(piece))) == ALL


def test_what_the_end_cuts_off_is_told_from_what_is_whole() -> None:
    file = io.BytesIO(ALL[0] + ALL[1][:-10])
    found = list(jpegs(lambda: file.read(50)))
    assert found == [ALL[0], ALL[1][:-10]]
    assert decoded(found[1]) is None


def test_a_picture_without_an_end_does_not_fill_the_memory() -> None:
    head = picture(10)[:-2]
    pieces = iter([head, *[bytes(1 << 20)] * ((LONGEST >> 20) + 1), ALL[2], b""])
    assert list(jpegs(lambda: next(pieces))) == ALL[2:3]


@pytest.mark.parametrize("piece", [1, 7, 1000, 10**6])
def test_a_picture_that_lost_its_end_takes_no_other_with_it(piece: int) -> None:
    file = io.BytesIO(ALL[0] + ALL[2][:-40] + b"\r\n--b\r\n\r\n" + ALL[1] + ALL[3])
    found = list(jpegs(lambda: file.read(piece)))
    assert [found[0], *found[2:]] == [ALL[0], ALL[1], ALL[3]]
    assert decoded(found[1]) is None
    assert decoded(found[2]) is not None
