"""The options of an export: run, precision, test clips, limits; and the interface for progress reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from stpr.export import CLIPS
from stpr.export.package.budget import check_latency, latency_here
from stpr.export.targets import TARGETS, check_target
from stpr.runtime.contract.errors import BundleError, CheckpointError
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.train.run.folder import RECIPE, RECORD
from stpr.train.settings.recipe import Recipe

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMED: Final = 3  # number of largest files named if a bundle is too large

Advance: TypeAlias = Callable[[int], None]  # called with the progress of a step
Steps: TypeAlias = Callable[[str], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Precision, number of test clips for the proof (None: all), signing key, and limits of a bundle."""

    precision: Precision = "fp32"
    clips: int | None = CLIPS
    sign: Ed25519PrivateKey | None = None
    max_mb: float | None = None
    max_p95_ms: float | None = None
    target: str | None = None

    @property
    def symmetric(self) -> bool:
        """Whether the target reads only quantised values whose zero point is 0."""
        return self.target is not None and TARGETS[self.target].symmetric

    def check_ahead(self, folder: Path, files: Mapping[GraphName, str]) -> None:
        """Checks before the proof: raise BundleError for graphs too large, too slow or unsupported by the target."""
        if self.target is not None:
            check_target(folder, files, self.target)
        self.check_size(folder)
        if self.max_p95_ms is not None:
            check_latency(latency_here(folder, files), self.max_p95_ms)

    def check_size(self, folder: Path) -> None:
        """Raise BundleError if `folder` has more than `max_mb` million bytes, naming the largest files."""
        max_mb = self.max_mb
        if max_mb is None:
            return
        sizes = {
            file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()
        }
        total = sum(sizes.values())
        if total <= max_mb * 1e6:
            return
        largest = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))[:NAMED]
        named = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in largest)
        raise BundleError(
            f"the bundle would have {total / 1e6:.2f} MB, more than --max-mb {max_mb:g}, so there is none; most of it"
            f" is {named} MB: allow more, try another --precision, or train with a lighter backbone or expert.width."
        )


DEFAULTS: Final = Options()


@dataclass(frozen=True, slots=True)
class RelocatedRun:
    """A run from another machine: its recipe with this machine's paths, and the folder of its videos."""

    run: Path
    recipe: Recipe | None = None
    data: Path | None = None


@contextmanager
def silent(name: str) -> Iterator[Advance]:
    """Show no progress."""
    del name
    yield lambda _: None


def find_run(folder: Path | None, root: Path) -> Path:
    """The given run, else the newest under `root`; raises CheckpointError if it is not a run."""
    run = newest_run(root) if folder is None else folder
    if not (run / RECIPE).is_file():
        raise CheckpointError(f"{run} is not a run: it has no {RECIPE}; name a run folder with --run.")
    return run


def newest_run(root: Path) -> Path:
    """The run under `root` with the most recently written stage; raises CheckpointError if there is none."""
    found = sorted(root.glob(f"*/stage-*/{RECORD}"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise CheckpointError(f"no run under {root}/: train one with `stpr-train motions`, or name one with --run DIR.")
    return found[-1].parent.parent
