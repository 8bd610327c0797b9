"""What of a bundle makes its features, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.updates.encoders import Piece, _pieces, encoder_digest, same_encoder
from tests.factories import make_bundle
from tests.runtime.updates.bundles import make_next

REAL = Path(__file__).parents[2] / "bundles" / "schema-2" / "stage-2"


def test_the_pieces_are_those_that_the_library_reads() -> None:
    graph = onnx.load(REAL / "encoder.onnx", load_external_data=False).graph
    wanted = [{entry.key: entry.value for entry in tensor.external_data} for tensor in graph.initializer]
    assert list(_pieces((REAL / "encoder.onnx").read_bytes())) == [
        Piece(one["location"], int(one["offset"]), int(one["length"])) for one in wanted if one
    ]


@pytest.mark.parametrize("used", [True, False])
def test_a_byte_counts_where_the_encoder_reads_it(tmp_path: Path, used: bool) -> None:
    folder = tmp_path / "stage-2"
    shutil.copytree(REAL, folder)
    before = open_bundle(folder)
    pieces = list(_pieces(before.graph(next(iter(before.manifest.graphs)).ENCODER).read_bytes()))
    file = folder / "weights" / ("backbone.bin" if used else "expert-1.bin")
    at = next(piece.offset for piece in pieces if piece.file == "weights/backbone.bin") if used else 0
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    found = encoder_digest(before)
    file.write_bytes(raw)
    assert (encoder_digest(before) != found) == used


@pytest.mark.parametrize("other", [False, True])
def test_a_stage_may_leave_the_encoder_as_it_was(tmp_path: Path, other: bool) -> None:
    old = make_bundle(tmp_path)
    new = make_next(old, tmp_path / "stage-3", other_encoder=other)
    assert same_encoder(open_bundle(old), open_bundle(new)) != other
