"""`stpr-doctor`: on this machine, on file trees as Jetsons have them, and with libraries broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import onnx
import pytest
from onnx import TensorProto, helper

from stpr.runtime.doctor import CHECKS, DoctorReport, examine
from stpr.runtime.doctor.cameras import check_cameras
from stpr.runtime.doctor.engines import TINY, check_engines
from stpr.runtime.doctor.finding import Finding
from stpr.runtime.doctor.gpu import check_tensorrt
from stpr.runtime.doctor.libraries import version_of
from stpr.runtime.doctor.machine import check_cpu, check_memory, check_power, check_system
from stpr.runtime.engines import ENGINES
from tests.factories import make_bundle

MAIN = "from stpr.runtime.cli import doctor; doctor()"


def stpr_doctor(*arguments: str, cwd: Path, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`before` is a folder that is searched for modules and distributions before all others."""
    path = os.pathsep.join(map(str, [*([before] if before else []), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def told(done: subprocess.CompletedProcess[str], what: str) -> Finding:
    import msgspec

    (found,) = (each for each in msgspec.json.decode(done.stdout, type=DoctorReport).findings if each.what == what)
    return found


def test_every_check_is_there_and_gives_findings_with_fixes() -> None:
    assert all(callable(resolve_name(f"stpr.runtime.doctor.{place}")) for place in CHECKS.values())
    findings = examine(Path("/"))
    assert all((finding.fix is None) == (finding.state == "ok") for finding in findings)
    said = {finding.what: finding.found for finding in findings}
    assert set(said) >= {"system", "cv2", "cv2: GStreamer", "cuda", "tensorrt", "memory", "disk here", "clock", "cpu"}
    assert {f"engine {name}" for name in ENGINES} <= set(said)
    assert said["engine onnxruntime"] == "runs on onnxruntime CPUExecutionProvider"


def test_a_machine_that_is_well_is_told_as_text_and_as_json(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundles")
    plain, figures = stpr_doctor(cwd=tmp_path), stpr_doctor("--json", cwd=tmp_path)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "ok    engine onnxruntime" in plain.stdout
    report = json.loads(figures.stdout)
    assert (report["schema"], report["healthy"]) == (1, True)
    assert told(figures, "bundle").found == "bundles/toy/stage-2 does what it did where it was exported"


def test_what_is_broken_is_told_with_its_fix_and_the_exit_code(tmp_path: Path) -> None:
    write(
        tmp_path / "with", **{"onnxruntime_gpu-1.30.0.dist-info__METADATA": "Name: onnxruntime-gpu\nVersion: 1.30.0\n"}
    )
    write(tmp_path / "with", **{"cv2.py": "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"})
    done = stpr_doctor("--json", cwd=tmp_path, before=tmp_path / "with")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: this machine is not ready: onnxruntime, cv2, ")
    both = told(done, "onnxruntime")
    assert both.state == "broken"
    assert "onnxruntime-gpu 1.30.0" in both.found
    assert "`pip uninstall onnxruntime onnxruntime-gpu`" in str(both.fix)
    died = told(done, "cv2")
    assert died.found == "the check was ended by SIGILL"
    assert "OPENBLAS_CORETYPE=ARMV8" in str(died.fix)


def test_a_damaged_bundle_is_told(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundles")
    (bundle / "encoder.onnx").write_bytes(b"damaged")
    done = stpr_doctor("--json", cwd=tmp_path)
    assert done.returncode == 2
    assert "encoder.onnx" in told(done, "bundle").found


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("libGL.so.1: cannot open shared object file", "without a screen"),
        ("numpy.core.multiarray failed to import", "numpy<2"),
        ("no such thing", "stpr[server]"),
    ],
)
def test_why_opencv_does_not_load(tmp_path: Path, said: str, fix: str) -> None:
    write(tmp_path / "with", **{"cv2.py": f"raise ImportError({said!r})\n"})
    found = told(stpr_doctor("--json", cwd=tmp_path, before=tmp_path / "with"), "cv2")
    assert (found.state, found.found) == ("broken", said)
    assert fix in str(found.fix)


def test_what_hangs_is_told() -> None:
    findings = examine(Path("/"), patience=0.01)
    assert [finding.found for finding in findings] == ["no answer within 0.01 s"] * len(CHECKS)


def test_the_graph_of_the_engines_is_what_it_says() -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="")
    assert onnx.load_from_string(TINY) == model


def test_a_jetson_is_known_and_its_power_mode_said(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__device_tree__model="",
        etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
        usr__sbin__nvpmodel="#!/bin/sh\necho 'NV Power Mode: 15W'\necho 2\n",
        sys__class__thermal__thermal_zone0__temp="91000\n",
    )
    (root / "usr/sbin/nvpmodel").chmod(0o755)
    write(root, **{"proc__device-tree__model": "NVIDIA Jetson Orin Nano\0"})
    assert next(check_system(root)).found.startswith("NVIDIA Jetson Orin Nano ")
    assert "L4T 36.4.3" in next(check_system(root)).found
    power, heat = check_power(root)
    assert (power.state, power.found) == ("note", "mode 15W: not the fastest")
    assert "nvpmodel -m 0" in str(power.fix)
    assert (heat.state, heat.found) == ("note", "91 °C: the board slows down")


@pytest.mark.skipif(version_of("onnxruntime-gpu") is not None, reason="here it is installed")
def test_a_jetson_is_not_told_to_install_a_wheel_that_there_is_none_of(tmp_path: Path) -> None:
    for root, fix in ((tmp_path / "x86", 'pip install "stpr[gpu]"'), (tmp_path / "jetson", "use --engine tensorrt")):
        if root.name == "jetson":
            write(root, etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
        found = {finding.what: finding for finding in check_engines(root)}
        assert fix in str(found["engine onnxruntime-cuda"].fix)
        assert found["engine onnxruntime"].state == "ok"


def test_little_memory_and_a_container_are_told(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__meminfo="MemTotal: 4000000 kB\nMemAvailable: 300000 kB\nSwapTotal: 0 kB\n",
        proc__vmstat="nr 1\noom_kill 3\n",
        sys__fs__cgroup__cpu_max="",
    )
    write(root, **{"sys__fs__cgroup__cpu.max": "50000 100000\n"})
    little, killed = check_memory(root)
    assert (little.state, little.found) == ("note", "0.3 of 4.0 GB free, swap 0.0 GB")
    assert "3 processes were killed" in killed.found
    (cpu,) = check_cpu(root)
    assert "limited to 0.5 cores by the container" in cpu.found
    assert str(cpu.fix).startswith("--threads 1")


def test_cameras_are_told_apart(tmp_path: Path) -> None:
    assert [finding.found for finding in check_cameras(tmp_path)] == ["no /dev/video*"]
    root = write(tmp_path, dev__video0="", dev__video1="", dev__video96="")
    for node, name, index in (("0", "vi-output, imx219", "0"), ("1", "Webcam", "1"), ("96", "Webcam", "0")):
        write(root, **{f"sys__class__video4linux__video{node}__name": name})
        write(root, **{f"sys__class__video4linux__video{node}__index": index})
    csi, webcam = check_cameras(root)
    assert csi.found.endswith("watch it with --source csi://0")
    assert (webcam.what, webcam.state) == ("camera 96", "broken")
    with (root / "dev/video96").open("rb"):
        assert f"in use by process {os.getpid()}" in [*check_cameras(root)][1].found


def test_a_tensorrt_outside_the_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "usr/lib/python3.10/dist-packages/tensorrt").mkdir(parents=True)
    (found,) = check_tensorrt(tmp_path)
    assert found.state == "note"
    assert "--system-site-packages" in str(found.fix)
