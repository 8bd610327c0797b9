"""Check the machine: power, processor, memory, disk and clock, as Linux reports them in /proc and /sys."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stpr.runtime.doctor.finding import Finding, broken, note, ok

LITTLE_DISK: Final = 1.0  # GB; below a tenth of it updates are impossible
LITTLE_MEMORY: Final = 0.5  # GB free
HOT: Final = 85.0  # degrees Celsius, from which boards throttle
WRITTEN: Final = 1735689600  # 2025-01-01: a clock that shows an earlier time is wrong
UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex


def check_system(root: Path) -> Iterator[Finding]:
    """Describe the machine."""
    board = _read(root / "proc/device-tree/model").rstrip("\0")
    release = re.search(r"R(\d+).*?REVISION: ([\d.]+)", _read(root / "etc/nv_tegra_release"))
    l4t = f", L4T {release[1]}.{release[2]}" if release else ""
    system = f"{board or platform.system()} {platform.machine()}{l4t}, Python {platform.python_version()}"
    yield ok("system", system)
    if "32bit" in platform.architecture():
        yield broken("system", "a 32-bit Python", "onnxruntime needs a 64-bit system: install one")


def check_power(root: Path) -> Iterator[Finding]:
    """Check a Jetson's power mode, the processor's governor, and the temperature."""
    if (tool := shutil.which("nvpmodel", path=f"{root / 'usr/sbin'}:{root / 'usr/bin'}")) is not None:
        done = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=20, check=False)
        mode = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
        if mode is None:
            yield note("power", "nvpmodel does not say its mode", "`sudo nvpmodel -q`")
        elif mode[1].upper().startswith("MAXN"):
            yield ok("power", f"mode {mode[1]}")
        else:
            yield note("power", f"mode {mode[1]}: not the fastest", "`sudo nvpmodel -m 0 && sudo jetson_clocks`")
    governors = {_read(file) for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    if "powersave" in governors and "intel" not in _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"):
        yield note(
            "power", "processors are held at their slowest (powersave)", "`sudo cpupower frequency-set -g schedutil`"
        )
    hottest = max((_degrees(file) for file in root.glob("sys/class/thermal/thermal_zone*/temp")), default=0.0)
    if hottest >= HOT:
        yield note("heat", f"{hottest:.0f} °C: the board slows down", "add a fan or a heat sink, or a lower power mode")
    elif hottest > 0:
        yield ok("heat", f"{hottest:.0f} °C")


def check_cpu(root: Path) -> Iterator[Finding]:
    """Check how many cores this process may use, and their load."""
    may = len(os.sched_getaffinity(0))
    quota, _, period = _read(root / "sys/fs/cgroup/cpu.max").partition(" ")
    limit = int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else float(may)
    busy = float((_read(root / "proc/loadavg").split() or ["0"])[0])
    cpu = f"{may} of {os.cpu_count()} cores, load {busy:.1f}"
    if limit < may:
        yield note(
            "cpu",
            f"{cpu}, limited to {limit:g} cores by the container",
            f"--threads {max(1, int(limit))}: more only wait for each other",
        )
    elif busy > 1.5 * may:
        yield note("cpu", cpu, "something else keeps them busy: `top`")
    else:
        yield ok("cpu", cpu)


def check_memory(root: Path) -> Iterator[Finding]:
    """Check free memory and swap, and whether the kernel has killed processes for lack of memory."""
    sizes = {
        key: int(value) / 1e6 for key, value in re.findall(r"^(\w+):\s+(\d+) kB", _read(root / "proc/meminfo"), re.M)
    }
    if not sizes:
        yield note("memory", "unknown: /proc/meminfo can't be read", "look with `free -m`")
        return
    free, swap = sizes["MemAvailable"], sizes["SwapTotal"]
    memory = f"{free:.1f} of {sizes['MemTotal']:.1f} GB free, swap {swap:.1f} GB"
    if free < LITTLE_MEMORY:
        yield note(
            "memory", memory, "stop what else runs, a desktop most of all (`sudo systemctl isolate multi-user.target`)"
        )
    else:
        yield ok("memory", memory)
    killed = re.search(r"^oom_kill (\d+)", _read(root / "proc/vmstat"), re.M)
    if killed and int(killed[1]):
        yield note(
            "memory",
            f"{killed[1]} processes were killed since the start for lack of memory",
            "add swap before"
            " TensorRT builds engines: `sudo fallocate -l 4G /swap && sudo chmod 600 /swap && sudo mkswap /swap &&"
            " sudo swapon /swap`",
        )


def check_disk(root: Path) -> Iterator[Finding]:  # noqa: ARG001
    """Check free space and permissions in the current folder and that of temporary files."""
    for what, place in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / 1e9
        if not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
            yield broken(
                what,
                f"{place} can't be written",
                "a card that went read-only is dying: `dmesg | tail`; else go to a folder of your own",
            )
        elif free < LITTLE_DISK:
            say = broken if free < LITTLE_DISK / 10 else note
            yield say(
                what,
                f"{free:.2f} GB free at {place}",
                "remove recordings and old bundles, `sudo apt-get clean`, `sudo journalctl --vacuum-size=100M`",
            )
        else:
            yield ok(what, f"{free:.1f} GB free at {place}")


def check_clock(root: Path) -> Iterator[Finding]:  # noqa: ARG001
    """Check whether the clock is right, since lines carry its time and https:// needs it for certificates."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if time.time() < WRITTEN:
        yield broken(
            "clock", f"it shows {now}", "`sudo timedatectl set-ntp true`; a board without a battery needs a network"
        )
        return
    code = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # a zeroed struct timex only reads
    if code < 0:
        yield ok("clock", now)
    elif code == UNSYNCHRONISED:
        yield note("clock", f"{now}, not synchronised", "`sudo timedatectl set-ntp true`, if nothing else sets it")
    else:
        yield ok("clock", f"{now}, synchronised by the network")


def _degrees(file: Path) -> float:
    text = _read(file)
    return int(text) / 1000 if text.lstrip("-").isdecimal() else 0.0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
