"""Prepare a bundle that may replace the running one: verify, load and test it, or refuse it with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stpr.runtime.check import check_bundle
from stpr.runtime.contract.bundle import DELTA, Bundle, open_bundle
from stpr.runtime.contract.delta import apply_delta, target_of
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.model import Model
from stpr.runtime.updates.encoders import same_encoder
from stpr.runtime.updates.memory import check_memory
from stpr.runtime.updates.models import Models


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded model, ready to run in shadow of the running one."""

    model: Model
    same_features: bool  # its encoder is identical to the running one's
    is_return: bool = False  # a roll-back, requested by a person, so nothing is compared


def prepare(path: Path, running: Bundle, models: Models, *, is_return: bool = False) -> Candidate:
    """Verify and load the bundle at `path`, or the one that an update at `path` makes of the running one.

    Meant for a separate thread; does not touch the running model. Raises StprError with the reason if it can't be used.
    """
    bundle = models.verified(path, lambda found: whole_bundle(found, running))
    if not is_return:
        check_succeeds(bundle, running)
    check_memory(bundle)
    for line in check_bundle(bundle.path, models.engine, threads=1):  # leave the other cores to the running bundle
        if not line.holds:
            raise BundleError(
                f"{bundle.path} does not do here what it was exported to do ({line.what}: {line.found});"
                " export the stage again."
            )
    return Candidate(models.open(bundle), same_encoder(bundle, running), is_return)


def whole_bundle(path: Path, running: Bundle) -> Bundle:
    """Open the bundle at `path`; an update is first applied to the running bundle, into a folder beside it."""
    if not (path / DELTA).is_file():
        return open_bundle(path)
    return apply_delta(running, path, target_of(running.path, path))


def check_succeeds(bundle: Bundle, running: Bundle) -> None:
    """Raise BundleError unless the bundle is a later stage of the running one: same name, old classes, clips."""
    new, old = bundle.manifest, running.manifest
    if new.name != old.name:
        raise BundleError(
            f"{bundle.path} is of {new.name!r}, but {old.name!r} is running; to change, stop and start with it."
        )
    if new.stage < old.stage:
        raise BundleError(f"{bundle.path} is stage {new.stage}, older than the running {old.stage}; roll back instead.")
    if new.classes[: len(old.classes)] != old.classes:
        lost = next(one.name for one, at in zip(old.classes, (*new.classes, *[None] * 999), strict=False) if one != at)
        raise BundleError(
            f"{bundle.path} does not continue the running stage {old.stage}: {lost!r} is missing or has another"
            " place among its classes; export a later stage of the same run."
        )
    if new.clip != old.clip:
        raise BundleError(
            f"{bundle.path} uses {new.clip.frames} frames in {new.clip.span_seconds:.3g} s, the running one"
            f" {old.clip.frames} in {old.clip.span_seconds:.3g} s, so they can't be compared; stop and start with it."
        )
