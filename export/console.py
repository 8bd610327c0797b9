"""The terminal output of `stpr-export`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final, TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stpr.export.package.request import Advance
from stpr.export.parity.certificate import Certificate, Difference, certificate_file
from stpr.runtime.contract.bundle import MANIFEST, folder_name
from stpr.runtime.contract.delta import bytes_of
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import Manifest, read_manifest

WIDTH: Final = 100  # columns, if the output is not a terminal
SECONDS_OF_SILENCE: Final = 20.0


def new_console(file: TextIO | None = None) -> Console:
    """A console on a file or standard output that prints text literally, without rich markup.

    Names of runs and classes may contain anything, such as "exp [v2]" or "pay :smile:".
    """
    width = None if (file or sys.stdout).isatty() else WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


class ShownSteps:
    """Shows each step while it runs (on a terminal), then its duration."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def __call__(self, name: str) -> Iterator[Advance]:
        """Show one step; a long one also reports its progress now and then."""
        started = last_line = time.monotonic()

        def advance(done: int) -> None:
            nonlocal last_line
            status.update(Text(f"{name}: {done} done"))
            if not self.console.is_terminal and time.monotonic() - last_line > SECONDS_OF_SILENCE:
                last_line = time.monotonic()
                self.console.print(f"          {name}: {done} done")

        status = self.console.status(Text(name))  # a plain string would be parsed as markup
        with status if self.console.is_terminal else nullcontext():
            yield advance
        self.console.print(f"{time.monotonic() - started:6.1f} s  {name}")


def show_bundle(console: Console, bundle: Path) -> None:
    """Print the bundle's files and which are new, the differences from PyTorch, and the next command."""
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), str(bundle / MANIFEST)).manifest
    console.print()
    console.print(_files(manifest, _previous(bundle, manifest)))
    for precision in sorted(manifest.parity, key=lambda one: one != manifest.precision):  # the default precision first
        raw = (bundle / certificate_file(precision, manifest.precision)).read_bytes()
        certificate = msgspec.json.decode(raw, type=Certificate)
        console.print()
        console.print(_differences(certificate))
        console.print()
        for line in _decisions(certificate):
            console.print(line, soft_wrap=True)
    console.print(f"bundle: {bundle}", soft_wrap=True)
    console.print(f"next:   {shlex.join(['stpr-run', '--bundle', str(bundle), '--camera', '0'])}", soft_wrap=True)


def show_delta(console: Console, delta: Path, base: Path) -> None:
    """Print the size of an update, and the command to apply it."""
    console.print(f"update: {delta}, {bytes_of(delta):,} bytes for a device that has {base}", soft_wrap=True)
    console.print(f"next:   {shlex.join(['stpr-update', str(base), str(delta)])} on that device", soft_wrap=True)


def _previous(bundle: Path, manifest: Manifest) -> Manifest | None:
    """The previous stage's manifest, if its bundle is beside this one."""
    file = bundle.with_name(folder_name(manifest.stage - 1, manifest.precision)) / MANIFEST
    try:
        return read_manifest(file.read_bytes(), str(file)).manifest
    except (OSError, BundleError):
        return None


def _files(manifest: Manifest, previous: Manifest | None) -> Table:
    held = {entry.sha256 for entry in previous.files.values()} if previous else set()
    table = Table("file", box=None, pad_edge=False)
    table.add_column("bytes", justify="right")
    table.add_column("" if previous is None else f"since stage {previous.stage}")
    for name, entry in manifest.files.items():
        mark = "" if previous is None else "the same" if entry.sha256 in held else "new"
        table.add_row(name, f"{entry.bytes:,}", mark)
    total = sum(entry.bytes for entry in manifest.files.values())
    ship = sum(entry.bytes for entry in manifest.files.values() if entry.sha256 not in held)
    table.add_row("all", f"{total:,}", "" if previous is None else f"{ship:,} bytes to ship")
    return table


def _differences(certificate: Certificate) -> Table:
    table = Table("compared with PyTorch", "output", box=None, pad_edge=False)
    for title in ("off by", "allowed", "PyTorch's own noise"):
        table.add_column(title, justify="right")
    for one in _worst_expert_only(certificate.differences):
        table.add_row(one.part, one.output, f"{one.worst:.1e}", f"{one.tolerance:.1e}", f"{one.noise:.1e}")
    return table


def _worst_expert_only(differences: tuple[Difference, ...]) -> list[Difference]:
    experts = [one for one in differences if one.part.startswith("expert")]
    if not experts:
        return list(differences)
    worst = max(experts, key=lambda one: one.worst / one.tolerance if one.tolerance else 0.0)
    others = [one for one in differences if one not in experts]
    named = msgspec.structs.replace(worst, part=f"{worst.part} (worst of {len(experts)})")
    return [others[0], named, *others[1:]]


def _decisions(certificate: Certificate) -> list[str]:
    clips = len(certificate.real_clips)
    parts = [
        f"{one.decision} {one.share:.0%} ({one.part}{f', {one.undecided} undecided' if one.undecided else ''})"
        for one in certificate.agreements
    ]
    return [
        f"agrees with PyTorch: {', '.join(parts)}; {clips} of {certificate.test_clips} test clips,"
        f" {len(certificate.random_seeds)} random",
        *(f"{one.what}: {one.engine:.1%} here, {one.pytorch:.1%} in PyTorch" for one in certificate.rates),
        f"{certificate.engine}, {certificate.precision}: {_kinds(certificate)}",
    ]


def _kinds(certificate: Certificate) -> str:
    """Describe the element types found in the files."""
    layers = [
        f"{count} layers of the {part} in {kind}"
        for part, kinds in certificate.layers.items()
        for kind, count in kinds.items()
    ]
    sizes = [f"{size:,} bytes of {kind}" for kind, size in certificate.bytes.items()]
    return ", ".join([*layers, *sizes])
