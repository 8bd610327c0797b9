"""A finding of a check: subject, state, result, and the fix if it is not ok."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

# "note": missing but optional; "broken": stpr can't work.
State: TypeAlias = Literal["ok", "note", "broken"]


class Finding(msgspec.Struct, frozen=True):
    """One line of `stpr-doctor`."""

    what: str
    state: State
    found: str
    fix: str | None = None


def ok(what: str, found: str) -> Finding:
    """A finding without a problem."""
    return Finding(what, "ok", found)


def note(what: str, found: str, fix: str) -> Finding:
    """Something optional is missing."""
    return Finding(what, "note", found, fix)


def broken(what: str, found: str, fix: str) -> Finding:
    """Something that must be fixed."""
    return Finding(what, "broken", found, fix)
