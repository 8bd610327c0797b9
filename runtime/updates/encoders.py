"""Check whether two bundles have the same encoder, so that their frame features are interchangeable.

A stage may leave the encoder unchanged. Its weights are in files shared with other graphs, so the files' digests are
not conclusive; only the pieces of files that the encoder's graph refers to count. ONNX uses protocol buffers; only the
fields with these numbers are parsed here, without the onnx library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.manifest import GraphName

GRAPH, INITIALIZER, EXTERNAL_DATA, KEY, VALUE = 7, 5, 13, 1, 2  # of ModelProto, GraphProto, TensorProto, an entry
FIXED: Final = {1: 8, 5: 4}  # wire type -> bytes, for types of fixed length
VARINT, BYTES = 0, 2
Field: TypeAlias = tuple[int, bytes]


class Piece(NamedTuple):
    """A part of a weight file."""

    file: str
    offset: int
    length: int


def same_encoder(one: Bundle, other: Bundle) -> bool:
    """Whether both bundles compute the same features from the same frames."""
    first, second = one.manifest, other.manifest
    alike = (first.preprocess, first.motion, first.clip) == (second.preprocess, second.motion, second.clip)
    return alike and encoder_digest(one) == encoder_digest(other)


def encoder_digest(bundle: Bundle) -> str:
    """SHA-256 of the encoder's graph and of all weights that it refers to, in whatever files."""
    graph = bundle.graph(GraphName.ENCODER).read_bytes()
    found = hashlib.sha256(graph)
    pieces = list(_pieces(graph))
    for piece in pieces:
        with (bundle.path / piece.file).open("rb") as file:
            file.seek(piece.offset)
            found.update(file.read(piece.length))
    # Files that the graph refers to in a way that was not parsed are hashed completely.
    for name, entry in bundle.manifest.files.items():
        if name.encode() in graph and name not in {piece.file for piece in pieces}:
            found.update(entry.sha256.encode())
    return found.hexdigest()


def _pieces(model: bytes) -> Iterator[Piece]:
    for graph in _messages(model, GRAPH):
        for tensor in _messages(graph, INITIALIZER):
            entries = [dict(_fields(entry)) for entry in _messages(tensor, EXTERNAL_DATA)]
            fields = {entry[KEY].decode(): entry[VALUE].decode() for entry in entries}
            if "location" in fields:
                yield Piece(fields["location"], int(fields.get("offset", 0)), int(fields.get("length", -1)))


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    return (content for found, content in _fields(message) if found == number)


def _fields(message: bytes) -> Iterator[Field]:
    """The length-delimited fields of a message; numeric fields are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
        elif kind == BYTES:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
            at += length
        else:
            at += FIXED[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Decode a varint; returns the number and the position after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at
