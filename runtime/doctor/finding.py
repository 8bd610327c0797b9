"""What a check says: one thing, what was found, and the way out where it is not well."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

# "note": something that this machine lacks and may do without; "broken": it keeps stpr from its work.
State: TypeAlias = Literal["ok", "note", "broken"]


class Finding(msgspec.Struct, frozen=True):
    """One line of `stpr-doctor`."""

    what: str
    state: State
    found: str
    fix: str | None = None


def ok(what: str, found: str) -> Finding:
    """It is well."""
    return Finding(what, "ok", found)


def note(what: str, found: str, fix: str) -> Finding:
    """It may be wanted: here is how to get it."""
    return Finding(what, "note", found, fix)


def broken(what: str, found: str, fix: str) -> Finding:
    """It must be mended first."""
    return Finding(what, "broken", found, fix)
