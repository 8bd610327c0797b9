"""CUDA's runtime library without a GPU: the real one, and none at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.engines import cudart
from stpr.runtime.engines.cudart import open_gpu
from tests.runtime.engines.fakes import Machine


def test_the_real_library_without_a_driver_is_one_line() -> None:
    if not any(Path(place).is_file() for place in cudart.places()):
        pytest.skip("no libcudart that pip or CUDA installed")
    if Path("/dev/nvidiactl").exists() or Path("/dev/nvmap").exists():
        pytest.skip("this machine has a driver")
    with pytest.raises(EngineError, match=r"^no NVIDIA GPU can be used here: .*libcudart.*the CPU\.$") as caught:
        open_gpu()
    assert "\n" not in caught.value.message


def test_without_the_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudart, "places", lambda: iter([str(tmp_path / "libcudart.so")]))
    with pytest.raises(EngineError, match=r"no libcudart here.*pip install nvidia-cuda-runtime"):
        open_gpu()


@pytest.mark.parametrize(
    ("devices", "says"), [(0, "no CUDA-capable device is detected"), (-1, r"driver version is insufficient .*error 35")]
)
def test_a_machine_without_a_gpu_is_told_why(machine: Machine, devices: int, says: str) -> None:
    machine.cuda.fake_devices(devices)
    with pytest.raises(EngineError, match=says):
        open_gpu()


def test_what_was_asked_for_is_given_back(machine: Machine) -> None:
    gpu = open_gpu()
    gpu.allocate(10)
    gpu.pinned(10)
    assert machine.live == 3  # and the stream
    gpu.close()
    assert machine.live == 0
    gpu.close()


def test_the_gpu_says_what_it_is(machine: Machine) -> None:
    gpu = open_gpu()
    assert (gpu.name, gpu.capability, gpu.versions) == ("Fake Orin", "8.7", "12060/12060")
    free = gpu.free_bytes()
    gpu.allocate(1000)
    assert gpu.free_bytes() == free - 1000
    gpu.close()
    assert machine.live == 0
