"""Time several functions in interleaved rounds, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def median_seconds(work: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median time of each function, in seconds, over `runs` rounds in which each is called once."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        for name, do in work.items():
            start = time.perf_counter()
            do()
            taken[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in taken.items()}
