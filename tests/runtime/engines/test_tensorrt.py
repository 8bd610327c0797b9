"""What TensorRT's engine promises beyond what every engine does (test_engines.py), on a GPU that is none (fakes.py)."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stpr.runtime.check import check_bundle
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.durable import locked
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.tensorrt_builder import LIBRARIES
from stpr.runtime.model import open_model
from tests.factories import FRAMES, SIDE, WIDTH, encode, judge, make_bundle
from tests.runtime.engines.fakes import Machine


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return make_bundle(tmp_path) / "encoder.onnx"


def opened(graph: Path) -> None:
    open_engine("tensorrt", graph).close()


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(("version", "flags"), [("10.3.0", 2), ("11.4.1.2", 0)])
def test_precision_is_the_graphs_and_tf32_is_off(machine: Machine, graph: Path, version: str, flags: int) -> None:
    library = machine.install(version)
    with closing(open_engine("tensorrt", graph)) as engine:
        assert engine.name == f"tensorrt {version} on Fake Orin"
        assert engine.run({"frames": frames(2)})["features"] == pytest.approx(encode(frames(2)), abs=1e-5)
    assert [(one["flags"], one["TF32"]) for one in library.built] == [(flags, False)]


def test_a_library_that_chooses_precisions_itself_is_refused(
    machine: Machine, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install("8.5.2")
    monkeypatch.setitem(__import__("sys").modules, LIBRARIES[1], None)
    with pytest.raises(EngineError, match=r"tensorrt 8\.5\.2 has no strong typing"):
        opened(graph)


def test_any_batch_runs_in_pieces_and_one_frame_has_a_profile_of_its_own(machine: Machine, graph: Path) -> None:
    with closing(open_engine("tensorrt", graph)) as engine:
        held = []
        for count in (1, 8, 19, 1):
            assert engine.run({"frames": frames(count)})["features"] == pytest.approx(encode(frames(count)), abs=1e-5)
            held.append(machine.live)
    # A stream, and two pieces of memory for each end: of the first profile, then of both, and nothing for each run.
    assert held == [5, 9, 9, 9]


def test_the_whole_bundle_holds_on_it(machine: Machine, tmp_path: Path) -> None:
    path = make_bundle(tmp_path)
    lines = check_bundle(path, "tensorrt")
    assert all(line.holds for line in lines), lines
    with open_model(open_bundle(path), "tensorrt") as model:
        assert model.engine == "tensorrt 10.3.0 on Fake Orin"
        windows = np.random.default_rng(0).normal(size=(3, FRAMES, WIDTH)).astype(np.float32)
        assert len(model.judge(windows)) == 3
    assert judge(windows)[0].shape[0] == 3
    assert machine.live == 0


def test_an_engine_is_built_once_and_kept_beside_the_bundle(
    machine: Machine, graph: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    opened(graph)
    assert capsys.readouterr().out == ""
    what = "building a TensorRT engine of encoder.onnx for Fake Orin (tensorrt 10.3.0)"
    assert f"{what}: there is none yet" in caplog.text
    kept = graph.parent.parent / "engines" / graph.parent.name
    assert sorted(file.name for file in kept.iterdir()) == ["encoder.json", "encoder.plan"]
    caplog.clear()
    opened(graph)
    assert len(machine.tensorrt.built) == 1
    assert not caplog.records
    open_bundle(graph.parent)  # which is as it was


def other_weights(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes() + b"\x32\x00")  # an empty doc_string: the same graph, other bytes


def damage(graph: Path) -> None:
    plan = graph.parent.parent / "engines" / graph.parent.name / "encoder.plan"
    plan.write_bytes(plan.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_weights, "for something else (encoder.onnx was "),
        (damage, "the cached one is damaged"),
    ],
)
def test_a_plan_that_does_not_fit_is_built_again_and_the_reason_said(
    machine: Machine, graph: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], None], reason: str
) -> None:
    opened(graph)
    caplog.clear()
    change(graph)
    opened(graph)
    assert reason in caplog.text
    opened(graph)
    assert len(machine.tensorrt.built) == 2


def test_another_version_builds_again(machine: Machine, graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(graph)
    newer = machine.install("10.7.0")
    opened(graph)
    assert "(library was tensorrt 10.3.0)" in caplog.text
    assert len(newer.built) == 1


def test_what_was_measured_serves_the_next_stage_and_no_other_version(machine: Machine, graph: Path) -> None:
    opened(graph)
    later = graph.parent.with_name("stage-3")
    shutil.copytree(graph.parent, later)
    opened(later / "encoder.onnx")
    assert [one["timings"] for one in machine.tensorrt.built] == [b"", b"measured"]
    newer = machine.install("10.7.0")
    opened(graph)
    assert newer.built[0]["timings"] == b""


def test_a_bundle_that_cannot_be_written_beside_has_its_engines_in_the_cache(
    machine: Machine, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (graph.parent.parent / "engines").write_text("a file where the folder would be")
    opened(graph)
    opened(graph)
    assert len(machine.tensorrt.built) == 1
    assert len(list((tmp_path / "cache" / "stpr" / "engines").glob("toy-*/stage-2/encoder.plan"))) == 1


def test_two_at_once_build_one(machine: Machine, graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = graph.parent.parent / "engines" / graph.parent.name / "encoder.plan"
    waiting = threading.Thread(target=opened, args=(graph,))
    with locked(plan):
        waiting.start()
        time.sleep(0.3)
        assert machine.tensorrt.built == []
    waiting.join(30)
    assert len(machine.tensorrt.built) == 1
    assert f"process {os.getpid()} on " in caplog.text


def test_too_little_memory_is_told_before_the_work(machine: Machine, graph: Path) -> None:
    machine.cuda.fake_budget(1_000_000)
    with pytest.raises(EngineError, match=r"too little memory to build .*encoder\.onnx on Fake Orin: .* 1 are free"):
        opened(graph)
    assert machine.tensorrt.built == []


def test_a_full_disk_is_told_before_the_work(machine: Machine, small_disk: Path) -> None:
    graph = make_bundle(small_disk) / "encoder.onnx"
    with pytest.raises(EngineError, match=r"no space for a TensorRT engine of .*encoder\.onnx in .*: it needs about"):
        opened(graph)
    assert machine.tensorrt.built == []


def test_an_engine_that_this_gpu_can_not_run_is_not_kept(machine: Machine, graph: Path, tmp_path: Path) -> None:
    """TensorRT-RTX builds on a data centre's GPU what it can't run there."""
    machine.tensorrt.capable = False
    wanted = r"encoder\.onnx can't run on .* Fake Orin: .* compute capability 9\.0; use --engine onnxruntime-cuda\.$"
    with pytest.raises(EngineError, match=wanted):
        opened(graph)
    assert not list(tmp_path.rglob("*.plan"))
    assert machine.live == 0
    machine.tensorrt.capable = True
    opened(graph)
    assert len(list(tmp_path.rglob("*.plan"))) == 1


def test_memory_that_runs_out_later_is_one_line_and_all_is_given_back(machine: Machine, graph: Path) -> None:
    opened(graph)  # built while there was room
    machine.cuda.fake_budget(100)
    with closing(open_engine("tensorrt", graph)) as engine:
        with pytest.raises(EngineError, match=r"encoder\.onnx can't run on .*: out of memory \(cudaMalloc, error 2\)"):
            engine.run({"frames": frames(1)})
        machine.cuda.fake_budget(1 << 30)
        assert engine.run({"frames": frames(1)})["features"] == pytest.approx(encode(frames(1)), abs=1e-5)
    assert machine.live == 0


def test_what_fails_on_the_gpu_is_one_line(machine: Machine, graph: Path) -> None:
    with closing(open_engine("tensorrt", graph)) as engine:
        engine.run({"frames": frames(1)})
        machine.cuda.fake_break(700)
        with pytest.raises(EngineError, match=r"encoder\.onnx failed on .*: an illegal memory access .*error 700"):
            engine.run({"frames": frames(1)})


def test_a_weight_file_that_is_missing_is_named(machine: Machine, tmp_path: Path) -> None:
    assert machine.live == 0
    raw = b"\x0a\x08location\x12\x0bweights/a.b"
    (tmp_path / "encoder.onnx").write_bytes(raw)
    with pytest.raises(EngineError, match=r"encoder\.onnx needs .*weights/a\.b, which is missing"):
        opened(tmp_path / "encoder.onnx")
