"""What a target does not take is refused with its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stpr.export.graphs.assemble import IR
from stpr.export.package.request import Options
from stpr.export.targets import TARGETS, TENSORRT_8_5, TENSORRT_10_3, check_target
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName

FILES = {name: f"{name}.onnx" for name in GraphName}


def planted(folder: Path, kind: str, *, opset: int = 18, zero_point: np.dtype | None = None) -> dict[GraphName, str]:
    """A graph of one operator that TensorRT may or may not know."""
    inputs = ["given"] if zero_point is None else ["given", "scale", "zero"]
    held = [numpy_helper.from_array(np.array(0.1, np.float32), "scale")]
    held += [] if zero_point is None else [numpy_helper.from_array(np.zeros((), zero_point), "zero")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("given", "found")]
    graph = helper.make_graph([helper.make_node(kind, inputs, ["found"], "one")], "g", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR)
    (folder / "head.onnx").write_bytes(model.SerializeToString())
    return {GraphName.HEAD: "head.onnx"}


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"jetpack5"}))
def test_what_is_exported_suits_every_target_that_stpr_runs_on(bundles: list[Path], target: str) -> None:
    check_target(bundles[-1], FILES, target)


def test_targets_with_tensorrt_get_zero_points_of_0() -> None:
    symmetric = {name: Options(target=name).symmetric for name in TARGETS}
    assert symmetric == {"jetpack5": True, "jetpack6": True, "jetpack7": True, "x86": False, "any": True}
    assert not Options().symmetric


def test_jetpack_5_is_told_all_that_it_lacks(bundles: list[Path]) -> None:
    with pytest.raises(BundleError) as caught:
        check_target(bundles[-1], FILES, "jetpack5")
    said = str(caught.value)
    assert said.startswith("--target jetpack5: TensorRT 8.5 does not support ")
    assert "LayerNormalization" in said
    assert "opset 18, and 17 is the newest" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("kind", "opset", "zero_point", "target", "says"),
    [
        ("Attention", 18, None, "jetpack6", r"TensorRT 10\.3 does not support head\.onnx with Attention, so"),
        ("DynamicQuantizeLinear", 18, None, "any", "with DynamicQuantizeLinear"),
        ("Relu", 21, None, "jetpack7", "with opset 21, and 20 is the newest"),
        ("Relu", 24, None, "x86", r"onnxruntime 1\.23 does not support head\.onnx with opset 24"),
        ("QuantizeLinear", 18, np.dtype(np.uint8), "jetpack6", "quantised values whose zero point is not 0"),
    ],
)
def test_what_a_target_does_not_take_is_named(
    tmp_path: Path, kind: str, opset: int, zero_point: np.dtype | None, target: str, says: str
) -> None:
    files = planted(tmp_path, kind, opset=opset, zero_point=zero_point)
    with pytest.raises(BundleError, match=says):
        check_target(tmp_path, files, target)
    check_target(tmp_path, planted(tmp_path, "Relu"), target)
    check_target(tmp_path, planted(tmp_path, "QuantizeLinear", zero_point=np.dtype(np.int8)), target)


def test_the_lists_are_of_operators_and_grow() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert known >= TENSORRT_10_3 > TENSORRT_8_5
    assert "LayerNormalization" in TENSORRT_10_3 - TENSORRT_8_5
