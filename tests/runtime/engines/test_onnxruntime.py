"""What ONNX Runtime's engines promise beyond what every engine does (test_engines.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.engines.onnxruntime import CPU, CUDA, TENSORRT, why_not_started, with_options
from tests.factories import SIDE, make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"))


def test_the_engine_is_called_what_runs_it_and_uses_the_threads_it_was_given(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    real, given = onnxruntime.InferenceSession, []

    def noting(path: str, settings: Any, **more: Any) -> Any:
        given.append(settings.intra_op_num_threads)
        return real(path, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    for threads in (None, 1, 2):
        with closing(open_engine("onnxruntime", bundle / "encoder.onnx", EngineOptions(threads=threads))) as engine:
            assert engine.name == "onnxruntime CPUExecutionProvider"
    assert given == [0, 1, 2]  # 0: the library's own choice, all cores


def test_wrong_feeds_say_which_graph_failed_on_what(bundle: Path) -> None:
    engine = open_engine("onnxruntime", bundle / "encoder.onnx")
    with pytest.raises(EngineError, match=r"encoder\.onnx failed on onnxruntime CPUExecutionProvider"):
        engine.run({"frames": np.zeros((1, SIDE, SIDE, 3), np.float32)})


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_a_gpu_that_is_not_there_is_never_replaced_by_the_cpu(bundle: Path, name: str) -> None:
    try:
        engine = open_engine(name, bundle / "encoder.onnx")
    except EngineError as error:
        assert "stpr[gpu]" in str(error) or "uninstall" in str(error)  # noqa: PT017  (both ends are right)
    else:
        assert "CPU" not in engine.name


def test_without_onnxruntime_the_extra_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r'onnxruntime can\'t be imported here .*pip install "stpr\[server\]"'):
        open_engine("onnxruntime", bundle / "encoder.onnx")
    with pytest.raises(EngineError, match=r'pip install "stpr\[gpu\]"`, or use --engine onnxruntime for the CPU'):
        open_engine("onnxruntime-cuda", bundle / "encoder.onnx")


def test_both_wheels_at_once_are_both_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is left when one of two wheels that share a folder is uninstalled: a module without contents.
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"of {name}")
    with pytest.raises(
        EngineError, match=r"onnxruntime of onnxruntime and onnxruntime-gpu of onnxruntime-gpu are both"
    ):
        open_engine("onnxruntime", bundle / "encoder.onnx")


def test_a_session_on_another_provider_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real: Callable[..., Any] = onnxruntime.InferenceSession

    def falls_back(path: str, options: Any, **settings: Any) -> Any:
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        assert settings["providers"] == [("CUDAExecutionProvider", {"use_tf32": "0"})]
        return real(path, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EngineError, match="asked for CUDAExecutionProvider, got CPUExecutionProvider"):
        open_engine("onnxruntime-cuda", bundle / "encoder.onnx")


def test_float32_is_not_rounded_to_tf32(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = bundle / "encoder.onnx"
    assert with_options((CPU,), graph) == [(CPU, {})]
    assert with_options((TENSORRT, CUDA), graph)[1:] == [(CUDA, {"use_tf32": "0"})]
    for before, after in ((None, "0"), ("1", "1")):  # what somebody set for the process stays
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", before or "")
        if before is None:
            monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
        with suppress(EngineError):  # where there is no GPU
            open_engine("onnxruntime-tensorrt", bundle / "encoder.onnx")
        assert os.environ["NVIDIA_TF32_OVERRIDE"] == after


def test_what_the_provider_of_tensorrt_builds_is_kept_until_the_graph_changes(tmp_path: Path) -> None:
    graph = make_bundle(tmp_path) / "encoder.onnx"

    def kept() -> Path:
        ((_, options),) = with_options((TENSORRT,), graph)
        assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
        assert options["trt_timing_cache_path"] == options["trt_engine_cache_path"]
        return Path(options["trt_engine_cache_path"])

    folder = kept()
    assert folder.parent == graph.parent.parent / "engines" / graph.parent.name
    (folder / "TensorrtExecutionProvider.engine").write_bytes(b"built")
    assert kept() == folder
    assert len(list(folder.iterdir())) == 1
    graph.write_bytes(graph.read_bytes() + b"\x32\x00")  # an empty doc_string: the same graph, other bytes
    assert list(kept().iterdir()) == []
    assert not folder.exists()


def test_graphs_on_the_cpu_are_left_to_the_cpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real, given = onnxruntime.InferenceSession, []

    def noting(path: str, settings: Any, **more: Any) -> Any:
        with pytest.raises(RuntimeError):  # the entry is not there
            settings.get_session_config_entry("session.disable_cpu_ep_fallback")
        given.append(more["providers"])
        return real(path, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    open_engine("onnxruntime", bundle / "encoder.onnx").close()
    assert given == [[(CPU, {})]]


def test_graphs_that_compute_shapes_on_the_cpu_are_told_from_a_missing_gpu() -> None:
    refused = "graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled"
    assert "export the stage again" in why_not_started(RuntimeError(f"FAIL : {refused} by the user"), CUDA)
    assert 'stpr[gpu]"' in why_not_started(RuntimeError("CUDA driver version is insufficient"), CUDA)


@pytest.mark.parametrize("said", [None, "0"])
def test_nothing_is_reported_to_its_makers_unless_the_user_allows_it(
    bundle: Path, tmp_path: Path, said: str | None
) -> None:
    """Its telemetry keeps an identifier in the home folder, in official builds for Linux since 1.29."""
    quiet = {"ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS"}
    around = {name: value for name, value in os.environ.items() if name not in quiet} | {"HOME": str(tmp_path)}
    code = "import sys; from pathlib import Path; from stpr.runtime.engines import open_engine;"
    code += (
        "open_engine('onnxruntime', Path(sys.argv[1])).close(); import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bundle / "encoder.onnx"],
        env=around | ({} if said is None else {"ORT_DISABLE_TELEMETRY": said}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{said or 1}\n"
    if said is None:
        assert list(tmp_path.iterdir()) == []


def test_weights_that_are_links_to_another_folder_are_told_from_a_missing_library(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, [4])
    total = helper.make_tensor_value_info("total", TensorProto.FLOAT, [4])
    added = helper.make_tensor("added", TensorProto.FLOAT, [4], np.ones(4, np.float32).tobytes(), raw=True)
    node = helper.make_node("Add", ["values", "added"], ["total"])
    graph = helper.make_graph([node], "sum", [values], [total], [added])
    store, folder = tmp_path / "store", tmp_path / "bundle"
    for place in (store, folder):
        place.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(folder / "sum.onnx"), save_as_external_data=True, location="sum.bin", size_threshold=0)
    with closing(open_engine("onnxruntime", folder / "sum.onnx")) as engine:
        assert engine.run({"values": np.zeros(4, np.float32)})["total"].tolist() == [1] * 4
    (folder / "sum.bin").rename(store / "sum.bin")
    (folder / "sum.bin").symlink_to(store / "sum.bin")
    with pytest.raises(EngineError, match=r"its weights are links to another folder.*: copy the bundle .* `cp -rL"):
        open_engine("onnxruntime", folder / "sum.onnx")
