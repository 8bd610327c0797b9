"""`stpr-doctor`: check what this machine has and lacks, with fixes. Read in this order: finding, this, any check.

All checks run at once, each in its own process, so that a library that crashes on import, or a camera that never
answers, becomes a finding. To add one: a function that takes the root of the file system and yields findings, and its
entry in CHECKS.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Final

import click
import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.doctor.finding import Finding, broken, note

# Names, imported only in the child process, since a check may import a library that crashes.
CHECKS: Final[Mapping[str, str]] = {
    "system": "machine:check_system",
    "packages": "libraries:check_packages",
    "cv2": "libraries:check_opencv",
    "engines": "engines:check_engines",
    "cuda": "gpu:check_cuda",
    "tensorrt": "gpu:check_tensorrt",
    "cameras": "cameras:check_cameras",
    "bundle": "bundles:check_newest_bundle",
    "power": "machine:check_power",
    "cpu": "machine:check_cpu",
    "memory": "machine:check_memory",
    "disk": "machine:check_disk",
    "clock": "machine:check_clock",
}
PATIENCE: Final = 60.0  # seconds per check
MARKS: Final = {"ok": "ok  ", "note": "note", "broken": "FAIL"}
CHILD: Final = "import sys; from stpr.runtime.doctor import report; report(*sys.argv[1:])"
DIED: Final[Mapping[int, str]] = {
    signal.SIGILL: "a library was built for another processor: install the wheel of this one; on a Jetson Nano set"
    " OPENBLAS_CORETYPE=ARMV8",
    signal.SIGKILL: "it was killed, usually for lack of memory: stop other programs, or add swap",
    signal.SIGSEGV: "a library is damaged, or two variants of one overwrote each other: reinstall only one",
}


class DoctorReport(msgspec.Struct, frozen=True):
    """The output of `--json`."""

    schema: int
    healthy: bool
    findings: list[Finding]


def run_doctor(*, as_json: bool, root: Path = Path("/"), patience: float = PATIENCE) -> None:
    """Print the findings; raises StprError if something is broken."""
    findings = examine(root, patience=patience)
    bad = [finding for finding in findings if finding.state == "broken"]
    if as_json:
        report = DoctorReport(schema=1, healthy=not bad, findings=findings)
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            click.echo(f"{MARKS[finding.state]}  {finding.what:<{width}}  {finding.found}")
            if finding.fix is not None:
                click.echo(f"      {'':<{width}}  fix: {finding.fix}")
    if bad:
        names = ", ".join(dict.fromkeys(finding.what for finding in bad))
        raise StprError(f"this machine is not ready: {names}; the fixes are above.")


def examine(root: Path, *, patience: float = PATIENCE) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        examined = pool.map(partial(_examine_one, root=root, patience=patience), CHECKS)
        return [finding for findings in examined for finding in findings]


def report(name: str, root: str) -> None:
    """The child process: print the findings of one check as JSON, keeping libraries off standard output."""
    try:
        found = [*resolve_name(f"{__name__}.{CHECKS[name]}")(Path(root))]
    except ImportError as error:
        reason = " ".join(str(error).split())
        found = [note(name, f"not checked: {reason}", "first fix the finding on that library")]
    sys.stdout.write(f"\n{msgspec.json.encode(found).decode()}\n")


def _examine_one(name: str, *, root: Path, patience: float) -> list[Finding]:
    command = [sys.executable, "-c", CHILD, name, str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return [
            broken(name, f"no answer within {patience:g} s", "what it asks hangs: unplug it or restart the machine")
        ]
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=list[Finding])
    if done.returncode < 0:
        died = signal.Signals(-done.returncode)
        return [broken(name, f"the check was ended by {died.name}", DIED.get(died, "reinstall what it loads"))]
    reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return [broken(name, f"the check failed: {reason}", "this is a bug of stpr-doctor: please report it")]
