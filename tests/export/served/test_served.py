"""What is written for others to serve does as the bundle does, by itself and wherever it is moved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from stpr.export.served import FORMS, emit, single_file
from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName


@pytest.fixture
def bundle(bundles: list[Path], tmp_path: Path) -> Bundle:
    return open_bundle(Path(shutil.copytree(bundles[1], tmp_path / "by-chance" / "stage-2")))


def graphs(folder: Path) -> dict[GraphName, Path]:
    """The ONNX file of each graph, whatever the form."""
    files = list(folder.rglob("*.onnx"))
    return {name: file for name in GraphName for file in files if f"{name}" in str(file.relative_to(folder))}


def judged(clip: Path, bundle: Bundle) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(clip), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, bundle.golden().feeds), strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [None, 1])
def test_the_golden_clip_holds_after_a_move(bundle: Bundle, tmp_path: Path, form: str, batch: int | None) -> None:
    written = emit(bundle, form, batch)
    assert written == bundle.path.with_name(f"stage-2-{form}")
    moved = Path(shutil.move(written, tmp_path / "elsewhere"))
    found, golden = judged(graphs(moved)[GraphName.CLIP], bundle), bundle.golden()
    for name in ("logits", "routing", "familiarity"):
        np.testing.assert_allclose(found[name], getattr(golden, name), atol=1e-5)
    for name, file in graphs(moved).items():
        model = onnx.load(str(file), load_external_data=False)
        onnx.checker.check_model(str(file))
        free = [axis.dim_param for value in model.graph.input for axis in value.type.tensor_type.shape.dim]
        assert any(free) == (batch is None), name
    open_bundle(bundle.path)  # which is as it was


def test_a_single_file_has_its_weights_inside_and_too_large_a_one_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = emit(bundle, "single-file")
    assert sorted(path.name for path in written.iterdir()) == ["clip.onnx", "encoder.onnx", "head.onnx"]
    monkeypatch.setattr(single_file, "LARGEST", 1000)
    with pytest.raises(BundleError, match=r"clip\.onnx would have .* GB in one file.*weights are beside"):
        emit(bundle, "single-file")
    assert (written / "clip.onnx").is_file()  # what was there stays


@pytest.mark.parametrize("batch", [None, 2])
def test_tritons_configuration_says_what_the_graphs_are(bundle: Bundle, batch: int | None) -> None:
    written = emit(bundle, "triton", batch)
    assert sorted(path.name for path in written.iterdir()) == [
        f"by-chance_{name}" for name in ("clip", "encoder", "head")
    ]
    for model in written.iterdir():
        said = (model / "config.pbtxt").read_text()
        assert f'name: "{model.name}"\nbackend: "onnxruntime"\n' in said
        assert ("max_batch_size: 8" in said) == (batch is None)
        session = onnxruntime.InferenceSession(str(model / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
        ends = re.findall(r'name: "(\w+)"\n +data_type: TYPE_(\w+)\n +dims: \[ ([\d, ]+) \](\n +reshape)?', said)
        assert len(ends) == len(session.get_inputs()) + len(session.get_outputs())
        kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FP32"}
        for (name, kind, dims, reshaped), value in zip(
            ends, [*session.get_inputs(), *session.get_outputs()], strict=True
        ):
            assert (name, kind) == (value.name, kinds[value.type])
            shape = value.shape if batch else value.shape[1:]
            assert [int(size) for size in dims.split(", ")] == ([1] if reshaped else shape)
        if "logits" in said:
            assert (model / "labels.txt").read_text().split() == list(bundle.manifest.class_names)


@pytest.mark.parametrize("batch", [None, 2])
def test_triton_itself_would_read_the_configuration(bundle: Bundle, batch: int | None) -> None:
    """By the server's own description of what stands in it."""
    pytest.importorskip("grpc")
    described = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    for model in emit(bundle, "triton", batch).iterdir():
        found = text_format.Parse((model / "config.pbtxt").read_text(), described.ModelConfig())
        assert (found.name, found.backend) == (model.name, "onnxruntime")
        assert found.max_batch_size == (0 if batch else 8)
        ends = [*found.input, *found.output]
        assert {described.DataType.Name(end.data_type) for end in ends} <= {"TYPE_UINT8", "TYPE_FP32"}
        assert all(0 not in end.dims for end in ends)
