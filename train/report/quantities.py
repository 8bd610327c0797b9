"""Format shares, sizes and durations for pages and the console."""

from __future__ import annotations

from stpr.train.run.metrics import UNKNOWN


def percent(share: float | None) -> str:
    """Format a share in 0..1 as per cent; None as a dash."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def size(count: float) -> str:
    """Format bytes in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Format a time: from one minute on with two whole units, below with one decimal."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.1f} {unit}"
    return f"{seconds * 1e6:.1f} µs"
