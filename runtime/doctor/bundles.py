"""Check the newest bundle as `stpr-check` does, since a model that loads may still be wrong here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stpr.runtime.check import check_bundle
from stpr.runtime.contract.bundle import newest_bundle
from stpr.runtime.contract.errors import StprError
from stpr.runtime.doctor.finding import Finding, broken, note, ok
from stpr.runtime.settings import ENGINE
from stpr.runtime.updates.models import BUNDLES


def check_newest_bundle(root: Path) -> Iterator[Finding]:  # noqa: ARG001
    """Verify digests, then run the golden clip in every graph, which covers precision and library versions."""
    try:
        bundle = newest_bundle(BUNDLES)
    except StprError:
        yield note(
            "bundle", f"none under {BUNDLES}/ here", "copy the folder that stpr-export wrote, or go to where it is"
        )
        return
    try:
        wrong = [f"{line.what} {line.found}" for line in check_bundle(bundle, ENGINE) if not line.holds]
    except StprError as error:
        yield broken("bundle", f"{bundle}: {error.message}", "copy it again, or export it for this machine")
        return
    if wrong:
        fix = f"`stpr-check {bundle} --engine NAME` with another engine, or export it again"
        yield broken("bundle", f"{bundle}: {'; '.join(wrong)}", fix)
    else:
        yield ok("bundle", f"{bundle} does what it did where it was exported")
