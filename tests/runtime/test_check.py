from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from stpr.runtime.check import check_bundle, difference
from stpr.runtime.cli import check, run
from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, PARITY, file_entry
from stpr.runtime.contract.manifest import manifest_bytes, read_manifest
from stpr.runtime.contract.motion import MotionSpec
from tests.factories import MOTION, make_bundle, make_parity


def replace_golden(bundle: Path, **changes: float | np.ndarray) -> None:
    """A golden clip on which other values are said to be right, in a bundle whose digests hold."""
    with np.load(bundle / GOLDEN) as arrays:
        changed = {key: arrays[key] + np.asarray(changes.get(key, 0), arrays[key].dtype) for key in arrays.files}
    np.savez(bundle / GOLDEN, **changed)
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "manifest").manifest
    files = manifest.files | {GOLDEN: file_entry(bundle / GOLDEN)}
    (bundle / MANIFEST).write_bytes(manifest_bytes(msgspec.structs.replace(manifest, files=files)))


@pytest.mark.parametrize("motion", [None, MOTION], ids=["frames", "motion"])
def test_a_bundle_that_is_as_exported_holds(motion: MotionSpec | None, tmp_path: Path) -> None:
    lines = check_bundle(make_bundle(tmp_path, motion=motion), "onnxruntime", threads=1)
    assert [line.what for line in lines] == [
        "digests",
        "engine",
        "encoder: features",
        "head: logits",
        "head: routing",
        "head: familiarity",
        "head: top-1",
        "clip: logits",
        "clip: routing",
        "clip: familiarity",
        "clip: top-1",
    ]
    assert all(line.holds for line in lines)
    assert lines[1].found == "onnxruntime CPUExecutionProvider, fp32 as exported"


def test_a_path_that_is_not_utf_8_is_a_path(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"of\xff")
    odd.mkdir()
    assert all(line.holds for line in check_bundle(make_bundle(odd), "onnxruntime", threads=1))


@pytest.mark.parametrize(
    ("key", "failing"),
    [
        ("features", {"encoder: features"}),
        ("logits", {"head: logits", "clip: logits"}),
        ("routing", {"head: routing", "clip: routing"}),
        ("familiarity", {"head: familiarity", "clip: familiarity"}),
        (
            "frames",
            {
                "encoder: features",
                "head: logits",
                "head: routing",
                "clip: logits",
                "clip: routing",
                "head: familiarity",
                "clip: familiarity",
            },
        ),
    ],
)
def test_any_value_that_is_off_fails_by_name(tmp_path: Path, key: str, failing: set[str]) -> None:
    bundle = make_bundle(tmp_path)
    replace_golden(bundle, **{key: 9 if key == "frames" else 1e-3})
    lines = check_bundle(bundle, "onnxruntime", threads=1)
    assert failing <= {line.what for line in lines if not line.holds} <= failing | {"head: top-1", "clip: top-1"}


def test_a_golden_clip_that_moved_otherwise_is_noticed(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, motion=MOTION)
    replace_golden(bundle, greys=9)
    failing = {line.what for line in check_bundle(bundle, "onnxruntime", threads=1) if not line.holds}
    assert {"encoder: features", "head: logits", "clip: logits"} <= failing


@pytest.mark.parametrize(("margin", "found"), [(1e-4, "{}, as close as {}"), (0.1, "{} instead of {}")])
def test_another_first_choice_holds_only_where_the_tolerance_leaves_it_open(
    tmp_path: Path, margin: float, found: str
) -> None:
    tolerances = dict.fromkeys(("features", "logits", "routing", "familiarity"), 1e-3)
    bundle = make_bundle(tmp_path, parity={"fp32": make_parity(tolerances=tolerances)})
    names = read_manifest((bundle / MANIFEST).read_bytes(), "manifest").manifest.class_names
    with np.load(bundle / GOLDEN) as arrays:
        logits = arrays["logits"]
    second, best = np.argsort(logits[0])[-2:]
    change = np.zeros_like(logits)
    change[0, second] = logits[0, best] - logits[0, second] + margin
    replace_golden(bundle, logits=change)  # so the second is said to be right
    tops = [line for line in check_bundle(bundle, "onnxruntime", threads=1) if line.what.endswith("top-1")]
    assert [line.found for line in tops] == [found.format(names[best], names[second])] * 2
    assert all(line.holds == ("close" in found) for line in tops)


def test_each_output_has_its_own_tolerance(tmp_path: Path) -> None:
    tolerances = {"features": 1e-5, "logits": 1e-5, "routing": 1e-2, "familiarity": 1e-2}
    bundle = make_bundle(tmp_path, parity={"fp32": make_parity(tolerances=tolerances)})
    replace_golden(bundle, logits=1e-3, routing=1e-3, familiarity=1e-3)
    lines = check_bundle(bundle, "onnxruntime", threads=1)
    assert [line.what for line in lines if not line.holds] == ["head: logits", "clip: logits"]
    assert {line.what: line.found[-7:] for line in lines}["clip: routing"] == "1.0e-02"


def test_full_precision_under_the_name_of_half_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "manifest").manifest
    graphs = {
        name: msgspec.structs.replace(graph, variants={"fp16": graph.variants["fp32"]})
        for name, graph in manifest.graphs.items()
    }
    (bundle / PARITY).write_text('{"precision": "fp32", "engine": "onnxruntime"}')
    files = manifest.files | {PARITY: file_entry(bundle / PARITY)}
    changes = {"precision": "fp16", "graphs": graphs, "parity": {"fp16": manifest.parity["fp32"]}, "files": files}
    (bundle / MANIFEST).write_bytes(manifest_bytes(msgspec.structs.replace(manifest, **changes)))
    said = "is called fp16, and what was proved is fp32 (parity.json); export the stage again."
    for command, arguments in (
        (check, [str(bundle)]),
        (run, ["--bundle", str(bundle), "--source", "synthetic:motions", "--headless"]),
    ):
        refused = CliRunner().invoke(command, arguments)
        assert refused.exit_code == 2
        assert refused.output == f"Error: {bundle} {said}\n"


def test_the_command_prints_a_table_and_exits_by_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    good = CliRunner().invoke(check, [str(bundle)])
    assert good.exit_code == 0, good.output
    assert [line[:4] for line in good.output.splitlines()] == ["ok  "] * 11
    replace_golden(bundle, routing=0.5)
    bad = CliRunner().invoke(check, [str(bundle)])
    assert bad.exit_code == 2
    assert bad.output.count("FAIL") == 2
    assert "does not do on onnxruntime what it was exported to do" in bad.output.splitlines()[-1]


def test_the_command_writes_json_and_exits_by_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    done = CliRunner().invoke(check, [str(bundle), "--json"])
    assert done.exit_code == 0
    said = msgspec.json.decode(done.stdout)
    assert said["bundle"] == str(bundle)
    assert all(line["holds"] for line in said["checks"])
    replace_golden(bundle, logits=1)
    done = CliRunner().invoke(check, [str(bundle), "--json"])
    assert done.exit_code == 2
    failing = [line["what"] for line in msgspec.json.decode(done.stdout)["checks"] if not line["holds"]]
    assert failing == ["head: logits", "clip: logits"]


def test_a_damaged_bundle_is_one_line(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    (bundle / "head.onnx").write_bytes(b"something else")
    result = CliRunner().invoke(check, [str(bundle)])
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert "head.onnx is not the file that was exported" in result.output
    assert len(result.output.splitlines()) == 1


def test_difference_is_relative_where_values_are_large_and_infinite_where_they_are_none() -> None:
    ones = np.ones((1, 3))
    assert difference(ones + 0.25, ones) == 0.25
    assert difference(100 * ones + 1, 100 * ones) == 0.01
    assert difference(ones[:, :2], ones) == np.inf
    assert difference(ones * np.nan, ones) == np.inf
