"""What is compared, and what is not."""

from __future__ import annotations

import pytest

from stpr.runtime.decision import Decision
from stpr.runtime.updates.shadow import Tally

OLD = frozenset({"wave", "jump"})


def said(label: str | None) -> Decision:
    return Decision(label=label, state="unknown" if label is None else "known")


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("wave", "wave", (1, 0, 0)),
        (None, None, (1, 0, 0)),
        ("wave", "jump", (0, 1, 0)),
        ("wave", None, (0, 1, 0)),
        (None, "wave", (0, 1, 0)),
        ("wave", "spin", (0, 0, 1)),
        (None, "spin", (0, 0, 1)),
    ],
)
def test_old_classes_are_compared_and_new_ones_counted(
    before: str | None, after: str | None, counts: tuple[int, int, int]
) -> None:
    tally = Tally()
    tally.count(said(before), said(after), old=OLD)
    assert (tally.agreed, tally.disagreed, tally.new) == counts
    assert (tally.compared, tally.seen) == (counts[0] + counts[1], 1)
    assert tally.example == (f"{after or 'unknown'} instead of {before or 'unknown'}" if counts[1] else "")
