from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines import ENGINES, open_engine
from stpr.runtime.engines.engine import check_feeds
from stpr.runtime.engines.recorded import RecordedEngine
from tests.factories import FRAMES, SIDE, WIDTH, encode, judge, make_bundle, make_manifest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("threads", [None, 1])
def test_onnxruntime_computes_the_graphs(bundle: Path, count: int, threads: int | None) -> None:
    frames = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    with closing(open_engine("onnxruntime", bundle / "encoder.onnx", threads=threads)) as encoder:
        assert encoder.name == "onnxruntime CPUExecutionProvider"
        features = encoder.run({"frames": frames})["features"]
    assert features == pytest.approx(encode(frames), abs=1e-5)
    clips = np.random.default_rng(count).normal(size=(count, FRAMES, WIDTH)).astype(np.float32)
    with closing(open_engine("onnxruntime", bundle / "head.onnx", threads=threads)) as head:
        found = head.run({"features": clips})
    logits, routing = judge(clips)
    assert found["logits"] == pytest.approx(logits, abs=1e-5)
    assert found["routing"] == pytest.approx(routing, abs=1e-5)


def test_an_unknown_engine_is_answered_with_the_nearest(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"no engine 'onnxruntime-cudo': did you mean 'onnxruntime-cuda'\?"):
        open_engine("onnxruntime-cudo", bundle / "encoder.onnx")
    with pytest.raises(EngineError, match=f"no engine 'x': choose one of {', '.join(ENGINES)}"):
        open_engine("x", bundle / "encoder.onnx")


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "onnxruntime"])
def test_a_gpu_that_is_not_there_is_never_replaced_by_the_cpu(bundle: Path, name: str) -> None:
    try:
        engine = open_engine(name, bundle / "encoder.onnx")
    except EngineError as error:
        assert "stpr[gpu]" in str(error) or "uninstall" in str(error)  # noqa: PT017  (both ends are right)
    else:
        assert "CPU" not in engine.name


@pytest.mark.parametrize(
    ("content", "message"), [(None, "can't run on CPUExecutionProvider"), (b"no graph", "can't run on CPUExec")]
)
def test_a_missing_or_damaged_graph_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "encoder.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=message) as caught:
        open_engine("onnxruntime", file)
    assert "\n" not in str(caught.value)


def test_wrong_feeds_are_an_engine_error(bundle: Path) -> None:
    engine = open_engine("onnxruntime", bundle / "encoder.onnx")
    with pytest.raises(EngineError, match="failed on onnxruntime CPUExecutionProvider"):
        engine.run({"frames": np.zeros((1, 2, 2, 3), np.float32)})


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
        assert settings["providers"] == ["CUDAExecutionProvider"]
        return real(path, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EngineError, match="asked for CUDAExecutionProvider, got CPUExecutionProvider"):
        open_engine("onnxruntime-cuda", bundle / "encoder.onnx")


def test_recorded_outputs_are_replayed_in_order() -> None:
    engine = RecordedEngine([{"logits": np.array([1])}, {"logits": np.array([2])}])
    assert [int(engine.run({})["logits"][0]) for _ in range(2)] == [1, 2]
    with pytest.raises(EngineError, match="no outputs left"):
        engine.run({})
    endless = RecordedEngine(repeat({"logits": np.array([3])}))
    assert [int(endless.run({})["logits"][0]) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"takes \['frames'\], received \[\]"),
        (
            {"frames": np.zeros((1, SIDE, SIDE, 3), np.float32)},
            r"takes frames uint8\['frames', 8, 8, 3\], received float32",
        ),
        ({"frames": np.zeros((1, SIDE, SIDE, 4), np.uint8)}, r"received uint8\[1, 8, 8, 4\]"),
        ({"frames": np.zeros((SIDE, SIDE, 3), np.uint8)}, r"received uint8\[8, 8, 3\]"),
    ],
)
def test_feeds_are_held_against_the_manifest(feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        check_feeds(make_manifest().graphs[GraphName.ENCODER], feeds)


def test_a_free_axis_takes_any_length() -> None:
    for count in (1, 7):
        check_feeds(make_manifest().graphs[GraphName.ENCODER], {"frames": np.zeros((count, SIDE, SIDE, 3), np.uint8)})
