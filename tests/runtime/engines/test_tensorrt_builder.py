"""Engines are built on the device, so the builder is tested without torch; every exported graph: tests/export."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines.tensorrt_builder import LIBRARIES, build_engine, find_library, new_config
from tests.factories import make_bundle

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX, which builds without a GPU, is not installed")


@pytest.mark.parametrize("graph", ["encoder", "head"])
def test_it_builds_a_graph_of_a_bundle(tmp_path: Path, graph: str) -> None:
    bundle, target = make_bundle(tmp_path), tmp_path / "graph.engine"
    build_engine(bundle / f"{graph}.onnx", target, library=tensorrt_rtx, capability="SM86")
    assert target.stat().st_size > 1000


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
    with pytest.raises(EngineError, match=r"can't read .*graph\.onnx: .*NoSuchOperator"):
        build_engine(tmp_path / "graph.onnx", tmp_path / "engine", library=tensorrt_rtx)
    assert not (tmp_path / "engine").exists()


def test_without_tensorrt_each_library_that_was_tried_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)  # what an import that fails leaves
    with pytest.raises(EngineError, match=r"no TensorRT here \(tensorrt: .*; tensorrt_rtx: .*--format onnx"):
        find_library()
