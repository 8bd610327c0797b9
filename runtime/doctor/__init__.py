"""`stpr-doctor`: what this machine has and lacks, and the fix for each. Read in this order: finding, this, any check.

Each check runs in a process of its own, all at once: a library that dies by a signal as soon as it is loaded, or a
camera that never answers, is a finding instead of the end. A new check is a function of the root of the file system
that gives findings, and here its import and its entry in CHECKS.
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

# By name, and imported in the child alone: a check may import what ends its process.
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
PATIENCE: Final = 60.0  # seconds for one check
MARKS: Final = {"ok": "ok  ", "note": "note", "broken": "FAIL"}
CHILD: Final = "import sys; from stpr.runtime.doctor import tell; tell(*sys.argv[1:])"
DIED: Final[Mapping[int, str]] = {
    signal.SIGILL: "a library was built for another processor: install the wheel of this one; on a Jetson Nano set"
    " OPENBLAS_CORETYPE=ARMV8",
    signal.SIGKILL: "it was killed, as a rule for want of memory: stop what else runs, or add swap",
    signal.SIGSEGV: "a library is damaged or two flavours of one overwrote each other: install it again alone",
}


class DoctorReport(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    schema: int
    healthy: bool
    findings: list[Finding]


def run_doctor(*, as_json: bool, root: Path = Path("/"), patience: float = PATIENCE) -> None:
    """Print what was found; raises StprError where something is broken."""
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
        raise StprError(f"this machine can't do its work yet: {names}; each has its fix above.")


def examine(root: Path, *, patience: float = PATIENCE) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        told = pool.map(partial(_examine_one, root=root, patience=patience), CHECKS)
        return [finding for findings in told for finding in findings]


def tell(name: str, root: str) -> None:
    """What the child does: the findings of one check as JSON on standard output, which libraries must not use."""
    try:
        found = [*resolve_name(f"{__name__}.{CHECKS[name]}")(Path(root))]
    except ImportError as error:
        reason = " ".join(str(error).split())
        found = [note(name, f"not looked at: {reason}", "mend first what is said of that library")]
    sys.stdout.write(f"\n{msgspec.json.encode(found).decode()}\n")


def _examine_one(name: str, *, root: Path, patience: float) -> list[Finding]:
    command = [sys.executable, "-c", CHILD, name, str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return [
            broken(name, f"no answer within {patience:g} s", "what is asked hangs: unplug it or restart the machine")
        ]
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=list[Finding])
    if done.returncode < 0:
        died = signal.Signals(-done.returncode)
        return [broken(name, f"the check was ended by {died.name}", DIED.get(died, "install what it loads again"))]
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return [broken(name, f"the check failed: {said}", "this is a fault of stpr-doctor: please report it")]
