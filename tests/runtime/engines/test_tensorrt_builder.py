"""Engines are built on the device, so the builder is tested without torch; every exported graph: tests/export."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines.tensorrt_builder import LIBRARIES, build_plan, find_library, new_config
from tests.factories import make_bundle

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, which builds without a GPU, is not installed")


@pytest.mark.parametrize("graph", ["encoder", "head"])
def test_it_builds_a_graph_of_a_bundle(tmp_path: Path, graph: str) -> None:
    built = build_plan(make_bundle(tmp_path) / f"{graph}.onnx", library=tensorrt_rtx, capability="SM86")
    assert len(built.plan) > 1000
    assert built.types["FLOAT"] > 0
    assert not {"HALF", "BF16"} & built.types.keys()  # what a float32 graph says, and nothing less


def test_float32_is_not_rounded_to_tf32() -> None:
    builder, flag = tensorrt_rtx.Builder(tensorrt_rtx.Logger()), tensorrt_rtx.BuilderFlag.TF32
    assert builder.create_builder_config().get_flag(flag)
    assert not new_config(builder, tensorrt_rtx).get_flag(flag)


def test_a_graph_that_tensorrt_cannot_read_is_named_with_the_reason(tmp_path: Path) -> None:
    unknown = onnx.helper.make_graph(
        [onnx.helper.make_node("NoSuchOperator", ["x"], ["y"])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1,))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1,))],
    )
    onnx.save(onnx.helper.make_model(unknown), tmp_path / "graph.onnx")
    with pytest.raises(EngineError, match=r"graph\.onnx can't run on tensorrt_rtx .*can't read it: .*NoSuchOperator"):
        build_plan(tmp_path / "graph.onnx", library=tensorrt_rtx)


def test_without_tensorrt_each_library_that_was_tried_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)  # what an import that fails leaves
    with pytest.raises(EngineError, match=r"no TensorRT here \(tensorrt: .*; tensorrt_rtx: .*--engine onnxruntime"):
        find_library()
