"""Words to systemd, heard on a real socket."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from stpr.runtime.cli import run
from stpr.runtime.service import INTERVAL, OWNER, SOCKET, under_systemd
from stpr.runtime.sources.frame import Frame, Origin
from tests.factories import make_bundle
from tests.runtime.runs import noise

MAIN = "from stpr.runtime.entry import run; run()"
UNIT = Path(__file__).parents[2] / "tools" / "stpr.service"


class Systemd:
    """What systemd does with a service of the kind notify: it listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def hear(self, seconds: float = 20.0) -> str | None:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1000).decode()
        except TimeoutError:
            return None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "notify") if request.param == "file" else f"@stpr-test-{os.getpid()}")
    yield made
    made.close()


def frames(count: int) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(noise(1)[0], index, float(index), Origin("film", is_live=False))


def test_a_run_is_ready_alive_and_stopping(systemd: Systemd, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "--source", "synthetic:motions", "--bundle", str(bundle), "--headless"],
        env={**os.environ, SOCKET: systemd.address, INTERVAL: "300000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert systemd.hear() == "READY=1\nSTATUS=watching synthetic:motions"
    begun = time.monotonic()
    assert [systemd.hear(1) for _ in range(6)] == ["WATCHDOG=1"] * 6
    assert 0.4 < time.monotonic() - begun < 3
    process.send_signal(signal.SIGTERM)
    heard = systemd.hear()
    while heard == "WATCHDOG=1":
        heard = systemd.hear()
    assert heard == "STOPPING=1"
    assert process.wait(timeout=10) == 0


def test_a_wait_for_a_frame_is_life_and_a_frame_that_is_never_done_with_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    monkeypatch.setenv(SOCKET, systemd.address)
    monkeypatch.setenv(INTERVAL, "200000")
    with under_systemd("testing") as pulse:
        assert systemd.hear() == "READY=1\nSTATUS=testing"
        assert [systemd.hear(1) for _ in range(8)] == ["WATCHDOG=1"] * 8  # no frame yet
        taken = pulse.through(frames(2))
        next(taken)
        heard = []
        while (word := systemd.hear(0.5)) is not None:
            heard.append(word)
        assert 2 <= len(heard) <= 6
        assert set(heard) == {"WATCHDOG=1"}
    assert systemd.hear() == "STOPPING=1"
    systemd.close()


@pytest.mark.parametrize("environment", [{}, {INTERVAL: "0"}, {INTERVAL: "soon"}, {INTERVAL: "1000", OWNER: "1"}])
def test_without_a_watchdog_nothing_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    for name, value in {SOCKET: systemd.address, **environment}.items():
        monkeypatch.setenv(name, value)
    with under_systemd("testing"):
        assert systemd.hear() == "READY=1\nSTATUS=testing"
        assert systemd.hear(0.2) is None
    systemd.close()


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_without_systemd_a_run_is_as_it_was(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(SOCKET, address)
    with under_systemd("testing") as pulse:
        assert [frame.index for frame in pulse.through(frames(3))] == [0, 1, 2]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd judges its own units")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    command = "/opt/stpr/bin/stpr-run"
    assert command in UNIT.read_text()
    unit.write_text(UNIT.read_text().replace(command, sys.executable))  # there is no such file here
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=soon"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    assert "Failed to parse sec value, ignoring: soon" in done.stderr


def test_the_unit_starts_a_command_with_options_that_there_are() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    command, *arguments = service["ExecStart"].split()
    assert command.endswith("/stpr-run")
    shown = CliRunner().invoke(run, ["--help"]).output
    assert all(word in shown for word in arguments if word.startswith("--"))
    assert (service["Type"], float(service["WatchdogSec"])) == ("notify", 30)
    assert int(service["TimeoutStopSec"]) > 2
