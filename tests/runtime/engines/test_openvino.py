"""What OpenVINO's engine promises beyond what every engine does (test_engines.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stpr.runtime.check import check_bundle
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines import open_engine
from stpr.runtime.engines import openvino as ours
from stpr.runtime.model import open_model
from tests.factories import make_bundle

ENCODER, HEAD = r"OpenVINO \d\S+ CPU, 1 layers in f32", "onnxruntime CPUExecutionProvider"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def library() -> Any:
    pytest.importorskip("openvino")
    return ours.load_library()


def quantised(folder: Path, *, weights: bool) -> Path:
    """A product of eight numbers and a matrix whose numbers, and its own where asked for, are kept in 8 bits."""
    held: list[Any] = [np.float32(0.02), np.uint8(3)]
    names = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["wide"]),
    ]
    if weights:
        held += [np.full((8, 16), 7, np.int8), np.full(16, 0.01, np.float32), np.zeros(16, np.int8)]
        names += ["kept", "scales", "zeros"]
        nodes.append(helper.make_node("DequantizeLinear", ["kept", "scales", "zeros"], ["matrix"], axis=1))
    else:
        held.append(np.ones((8, 16), np.float32))
        names.append("matrix")
    nodes.append(helper.make_node("MatMul", ["wide", "matrix"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 16))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, held, strict=True)],
    )
    file = folder / "graph.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def test_it_computes_in_the_precision_of_the_graph_and_says_which(library: Any, bundle: Path, tmp_path: Path) -> None:
    del library
    with closing(open_engine("openvino", bundle / "encoder.onnx")) as engine:
        assert engine.name.endswith("CPU, 1 layers in f32")
    file = quantised(tmp_path, weights=True)
    with closing(open_engine("openvino", file)) as engine, closing(open_engine("onnxruntime", file)) as other:
        assert engine.name.endswith(("1 layers in u8", "1 layers in i8"))
        feeds = {"x": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)}
        assert engine.run(feeds)["y"] == pytest.approx(other.run(feeds)["y"], abs=1e-5)


def test_a_lower_precision_than_the_graphs_is_refused(
    library: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "BF16" not in library.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16, so OpenVINO does not choose it")
    monkeypatch.setattr(ours, "SETTINGS", {})  # its own choice
    with pytest.raises(EngineError, match=r"clip\.onnx can't run on OpenVINO .* its own precision: asked for f32, got"):
        open_engine("openvino", bundle / "clip.onnx")


def test_int8_that_became_float_is_refused(library: Any, tmp_path: Path) -> None:
    del library
    file = quantised(tmp_path, weights=False)
    with pytest.raises(EngineError, match=r"asked for int8, got \{'f32': 1\} layers; use --engine onnxruntime"):
        open_engine("openvino", file)


def test_the_head_runs_on_onnxruntime_and_both_are_told(library: Any, bundle: Path) -> None:
    del library
    with open_model(open_bundle(bundle), "openvino") as model:
        assert re.fullmatch(f"{ENCODER}; head on {HEAD}", model.engine)
    lines = {line.what: line for line in check_bundle(bundle, "openvino")}
    assert re.fullmatch(f"{ENCODER}; head on {HEAD}, fp32 as exported", lines["engine"].found)
    assert all(line.holds for line in lines.values())


def test_outputs_have_the_graphs_own_names_when_nodes_are_merged(library: Any, tmp_path: Path) -> None:
    del library
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Identity", ["a"], ["y"])]
    nodes.append(helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 2)) for name in "xyz"]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "g.onnx")
    with closing(open_engine("openvino", tmp_path / "g.onnx")) as engine:
        found = engine.run({"x": np.array([[-1, 2]], np.float32)})
    assert {name: value.tolist() for name, value in found.items()} == {"y": [[0, 2]], "z": [[0, 2]]}


def test_nothing_fed_is_not_what_was_fed_before(library: Any, bundle: Path) -> None:
    del library
    with closing(open_engine("openvino", bundle / "head.onnx")) as engine:
        engine.run(feeds_of(bundle))
        with pytest.raises(EngineError, match="it takes features float32, received nothing"):
            engine.run({})
        with pytest.raises(EngineError, match="it takes features float32, received features float64"):
            engine.run({name: value.astype(np.float64) for name, value in feeds_of(bundle).items()})


def feeds_of(bundle: Path) -> dict[str, Any]:
    return {"features": open_bundle(bundle).golden().features}


def test_its_import_reports_to_nobody(library: Any, bundle: Path, tmp_path: Path) -> None:
    del library
    code = (
        "import sys; from pathlib import Path; from stpr.runtime.engines import open_engine;"
        f"open_engine('openvino', Path({str(bundle / 'encoder.onnx')!r}));"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_without_openvino_the_extra_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        EngineError, match=r'OpenVINO can\'t be imported here .*pip install "stpr\[openvino\]"`, or use'
    ):
        open_engine("openvino", bundle / "encoder.onnx")
