from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import BundleError, ContractError
from stpr.runtime.contract.manifest import ClassEntry, Manifest, UnknownSpec, digest_of, manifest_bytes, read_manifest
from tests.factories import make_clip_spec, make_manifest

names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    chosen = draw(names)
    stages = sorted(draw(st.lists(st.integers(1, 4), min_size=len(chosen), max_size=len(chosen))))
    ranks = {stage: rank for rank, stage in enumerate(sorted(set(stages)), start=1)}
    classes = tuple(ClassEntry(name=name, stage=ranks[stage]) for name, stage in zip(chosen, stages, strict=True))
    return make_manifest(
        classes=classes,
        stage=len(ranks),
        temperature=draw(st.floats(1e-3, 1e3)),
        clip=make_clip_spec(frames=draw(st.integers(1, 64)), span_seconds=draw(st.floats(1e-3, 1e3))),
        provenance=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)),
    )


@given(manifest=manifests())
def test_reading_gives_what_was_written(manifest: Manifest) -> None:
    raw = manifest_bytes(manifest)
    assert read_manifest(raw, "here") == manifest
    assert manifest_bytes(read_manifest(raw, "here")) == raw


@given(manifest=manifests(), data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(manifest_bytes(manifest))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError, match=r"^here "):
        read_manifest(bytes(raw), "here")


def paths(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of all structs (not of the free dictionaries) in a manifest's JSON."""
    if isinstance(node, list):
        yield from paths(node[0], (*above, "0")) if node else ()
    elif isinstance(node, dict):
        for key, value in node.items():
            if above[-1:] not in {("graphs",), ("files",), ("provenance",)}:
                yield (*above, key)
            yield from paths(value, (*above, key))


KEYS = [path for path in paths(json.loads(manifest_bytes(make_manifest()))) if path[-1] != "manifest"]


@pytest.mark.parametrize("path", KEYS, ids="/".join)
def test_a_removed_key_is_named(path: tuple[str, ...]) -> None:
    tree = json.loads(manifest_bytes(make_manifest()))
    node = tree
    for key in path[:-1]:
        node = node[int(key)] if isinstance(node, list) else node[key]
    del node[path[-1]]
    with pytest.raises(BundleError, match=f"`{path[-1]}`"):
        read_manifest(json.dumps(tree).encode(), "here")


def test_unknown_keys_are_named() -> None:
    tree = json.loads(manifest_bytes(make_manifest()))
    tree["manifest"]["colour"] = "blue"
    with pytest.raises(BundleError, match="`colour`"):
        read_manifest(json.dumps(tree).encode(), "here")


def test_another_schema_says_what_to_do() -> None:
    raw = manifest_bytes(make_manifest(schema=2))
    with pytest.raises(BundleError, match=r"has schema 2; this runtime reads 1\. Export the stage again or upgrade"):
        read_manifest(raw, "here")


def test_the_digest_is_that_of_every_field() -> None:
    digests = {digest_of(make_manifest(**changes)) for changes in ({}, {"name": "b"}, {"temperature": 0.2})}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, "distinct class names"),
        ({"classes": (ClassEntry(name="a", stage=1), ClassEntry(name="a", stage=2))}, "distinct class names"),
        ({"classes": (ClassEntry(name="a", stage=2), ClassEntry(name="b", stage=1))}, "must run from 1 to 2"),
        ({"classes": (ClassEntry(name="a", stage=1),)}, "must run from 1 to 2"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"files": {}}, "without a digest in `files`"),
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
