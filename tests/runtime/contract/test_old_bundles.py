"""Bundles that exporters of older schemas wrote keep opening, checking and running (see tests/bundles/README.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stpr.runtime.contract.bundle import MANIFEST, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import SCHEMA, GraphName
from stpr.runtime.contract.upgrade import UPGRADES
from tests.factories import make_video

BUNDLES = Path(__file__).parents[2] / "bundles"
OLD = {schema: BUNDLES / f"schema-{schema}" / "stage-2" for schema in UPGRADES}


def written(bundle: Path) -> Any:
    return json.loads((bundle / MANIFEST).read_bytes())


def gives_evidence(bundle: Path) -> bool:
    return "evidence" in (bundle / MANIFEST).read_text(encoding="utf-8")


def call(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", f"from stpr.runtime.cli import {command}; {command}()", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)


def test_there_is_one_of_every_schema_before_the_present() -> None:
    assert list(OLD) == list(range(1, SCHEMA))
    assert [written(bundle)["manifest"]["schema"] for bundle in OLD.values()] == list(OLD)


def test_later_schemas_are_kept_with_evidence_and_then_motion() -> None:
    assert [gives_evidence(bundle) for bundle in OLD.values()] == [False, True, True]
    assert [open_bundle(bundle).manifest.motion is not None for bundle in OLD.values()] == [False, False, True]


@pytest.mark.parametrize("bundle", OLD.values(), ids=OLD)
def test_it_opens_in_the_present_schema_under_its_own_digest(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.manifest.schema == SCHEMA
    assert opened.digest == written(bundle)["digest"]
    assert opened.manifest.class_names == ("slide_right", "slide_left", "turn_clockwise", "turn_counterclockwise")
    assert [opened.graph(name).name for name in GraphName] == ["encoder.onnx", "head.onnx", "clip.onnx"]
    assert not any(entry.moves for entry in opened.manifest.classes)  # so labels are as they were
    proofs = written(bundle)["manifest"]["parity"]
    one_for_all = dict.fromkeys(("features", "logits", "routing", "familiarity"), 1e-4)  # schema 1
    assert opened.manifest.tolerances == (proofs["fp32"]["tolerances"] if "fp32" in proofs else one_for_all)


@pytest.mark.parametrize("bundle", OLD.values(), ids=OLD)
def test_it_does_what_it_did_where_it_was_exported(bundle: Path) -> None:
    checked = call("check", bundle)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [line[:4] for line in checked.stdout.splitlines()] == ["ok  "] * (13 if gives_evidence(bundle) else 11)


@pytest.mark.parametrize("bundle", OLD.values(), ids=OLD)
def test_it_watches_a_video(bundle: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.avi", frames=40, fps=8)
    watched = call("run", "--source", video, "--bundle", bundle, "--headless", "--json", "-")
    assert watched.returncode == 0, watched.stderr
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    said = [line for line in lines if "event" not in line]
    assert (len(said) < len(lines)) == gives_evidence(bundle)
    assert "known" in {one["state"] for one in said}
    assert {one["bundle"]["digest"] for one in said} == {written(bundle)["digest"]}


@pytest.mark.parametrize("bundle", OLD.values(), ids=OLD)
def test_a_changed_letter_is_noticed_in_its_own_schema(bundle: Path, tmp_path: Path) -> None:
    raw = (bundle / MANIFEST).read_bytes()
    for position in range(0, len(raw), 97):
        changed = bytearray(raw)
        changed[position] ^= 0x02
        (tmp_path / MANIFEST).write_bytes(changed)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            open_bundle(tmp_path)
