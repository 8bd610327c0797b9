from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import BundleError, ContractError
from stpr.runtime.contract.manifest import (
    SCHEMA,
    ClassEntry,
    GraphName,
    Manifest,
    UnknownSpec,
    manifest_bytes,
    read_manifest,
)
from tests.factories import MOTION, make_clip_spec, make_manifest, make_parity

DICTIONARIES = {"graphs", "variants", "files", "parity", "tolerances", "provenance"}
names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    chosen = draw(names)
    stages = sorted(draw(st.lists(st.integers(1, 4), min_size=len(chosen), max_size=len(chosen))))
    ranks = {stage: rank for rank, stage in enumerate(sorted(set(stages)), start=1)}
    classes = tuple(
        ClassEntry(name=name, stage=ranks[stage], moves=draw(st.booleans()))
        for name, stage in zip(chosen, stages, strict=True)
    )
    return make_manifest(
        classes=classes,
        stage=len(ranks),
        temperature=draw(st.floats(1e-3, 1e3)),
        motion=draw(st.sampled_from([None, MOTION])),
        clip=make_clip_spec(frames=draw(st.integers(1, 64)), span_seconds=draw(st.floats(1e-3, 1e3))),
        provenance=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)),
    )


@given(manifest=manifests())
def test_reading_gives_what_was_written(manifest: Manifest) -> None:
    raw = manifest_bytes(manifest)
    sealed = read_manifest(raw, "here")
    assert sealed.manifest == manifest
    assert manifest_bytes(sealed.manifest) == raw
    tree = json.loads(raw)
    canonical = msgspec.json.format(msgspec.json.encode(msgspec.json.decode(raw)["manifest"]), indent=-1)
    assert sealed.digest == tree["digest"] == hashlib.sha256(canonical).hexdigest()


@given(manifest=manifests(), data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(manifest_bytes(manifest))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError, match=r"^here "):
        read_manifest(bytes(raw), "here")


def seal(manifest: object) -> bytes:
    """The file of an exporter that has its own idea of a manifest."""
    digest = hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()
    return msgspec.json.format(msgspec.json.encode({"digest": digest, "manifest": manifest}), indent=1) + b"\n"


def paths(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of all structs (not of the free dictionaries) in a manifest's JSON."""
    if isinstance(node, list):
        yield from paths(node[0], (*above, "0")) if node else ()
    elif isinstance(node, dict):
        for key, value in node.items():
            if not above or above[-1] not in DICTIONARIES:
                yield (*above, key)
            yield from paths(value, (*above, key))


def tree() -> Any:
    return json.loads(manifest_bytes(make_manifest(motion=MOTION)))["manifest"]


KEYS = [path for path in paths(tree()) if path != ("schema",)]


@pytest.mark.parametrize("path", KEYS, ids="/".join)
def test_a_removed_key_is_named(path: tuple[str, ...]) -> None:
    whole = node = tree()
    for key in path[:-1]:
        node = node[int(key)] if isinstance(node, list) else node[key]
    del node[path[-1]]
    with pytest.raises(BundleError, match=f"`{path[-1]}`"):
        read_manifest(seal(whole), "here")


def test_unknown_keys_are_named() -> None:
    with pytest.raises(BundleError, match="`colour`"):
        read_manifest(seal(tree() | {"colour": "blue"}), "here")


@pytest.mark.parametrize("schema", [0, SCHEMA + 1])
def test_a_schema_out_of_range_says_what_to_do(schema: int) -> None:
    said = rf"^here has schema {schema}; this runtime reads 1 to {SCHEMA}\. Export the stage again or upgrade stpr here"
    with pytest.raises(BundleError, match=said):
        read_manifest(seal({"schema": schema, "fields": "nobody knows here"}), "here")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"digest": "x", "manifest": {}}', b"\xff", seal({"name": "x"})])
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleError, match=r"^here is damaged or not a manifest \(.*copy the bundle again"):
        read_manifest(raw, "here")


def test_a_key_that_was_changed_by_hand_breaks_the_seal() -> None:
    raw = manifest_bytes(make_manifest()).replace(b'"toy"', b'"joy"', 1)
    with pytest.raises(BundleError, match=r"^here was changed after it was written \(its digest differs\)"):
        read_manifest(raw, "here")


def test_the_digest_is_that_of_every_field() -> None:
    changed: tuple[dict[str, Any], ...] = ({}, {"name": "b"}, {"temperature": 0.2})
    digests = {read_manifest(manifest_bytes(make_manifest(**changes)), "here").digest for changes in changed}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, "distinct class names"),
        (
            {"classes": (ClassEntry(name="a", stage=1, moves=False), ClassEntry(name="a", stage=2, moves=False))},
            "distinct class names",
        ),
        (
            {"classes": (ClassEntry(name="a", stage=2, moves=False), ClassEntry(name="b", stage=1, moves=False))},
            "must run from 1 to 2",
        ),
        ({"classes": (ClassEntry(name="a", stage=1, moves=False),)}, "must run from 1 to 2"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"files": {}}, "without a digest in `files`"),
        ({"graphs": {}}, "fp32 lacks encoder, head, clip"),
        ({"precision": "fp16"}, "fp16 lacks encoder, head, clip"),
        ({"parity": {}}, "fp32 lacks its proof in `parity`"),
        ({"parity": {"fp32": make_parity(tolerances={"features": 1.0})}}, "a tolerance: .*'familiarity', 'logits'"),
        ({"unknown": UnknownSpec(score="cosine", recall=0.95, thresholds=(0.5,))}, "2 stages need as many thresholds"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        make_manifest(**changes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_threshold_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ContractError, match="thresholds must be finite"):
        UnknownSpec(score="cosine", recall=0.95, thresholds=(0.5, value))


def test_a_graphs_name_is_its_text_everywhere() -> None:
    assert [f"{name}.onnx" for name in GraphName] == ["encoder.onnx", "head.onnx", "clip.onnx"]
    assert make_manifest().graphs == {str(name): graph for name, graph in make_manifest().graphs.items()}
