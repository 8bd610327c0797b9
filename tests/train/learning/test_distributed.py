"""How rows are shared out among processes; that real ones agree is tested in tests/end_to_end/test_two_processes.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError
from stpr.train.learning.distributed import ALONE, Processes

counts, totals = st.integers(1, 7), st.integers(1, 40)


def all_of(count: int) -> list[Processes]:
    return [Processes(index, count) for index in range(count)]


@given(count=counts, total=totals)
def test_every_row_falls_to_one_process_in_order_and_shares_are_even(count: int, total: int) -> None:
    rows = list(range(total))
    sizes = [one.own(total) for one in all_of(count)]
    assert max(sizes) - min(sizes) <= 1
    assert [row for one in all_of(count) for row in one.share(rows)[: one.own(total)]] == rows


@given(count=counts, total=totals, batch=st.integers(1, 9))
def test_rounds_are_enough_for_the_largest_share_and_no_more(count: int, total: int, batch: int) -> None:
    largest = max(one.own(total) for one in all_of(count))
    rounds = {one.rounds(total, batch) for one in all_of(count)}
    assert len(rounds) == 1
    assert (rounds.pop() - 1) * batch < largest <= all_of(count)[0].rounds(total, batch) * batch


def test_where_no_row_is_left_the_first_stands_in() -> None:
    first, second = all_of(2)
    assert (first.own(1), second.own(1)) == (0, 1)
    assert torch.equal(first.share(torch.tensor([5])), torch.tensor([5]))
    assert second.share(["only"]) == ["only"]


def test_alone_all_is_its_own() -> None:
    rows = torch.arange(5.0, requires_grad=True)
    assert ALONE.is_main
    assert ALONE.join(rows, 5) is rows
    assert list(ALONE.lockstep(iter("abc"), 1)) == ["a", "b", "c"]  # nobody to keep step with
    assert ALONE.main_first(lambda: 3) == 3
    assert [ALONE.main_says(value) for value in (True, False)] == [True, False]


def test_alone_an_error_is_raised_as_it_is() -> None:
    error = DataError("a clip is damaged.")
    with pytest.raises(DataError) as caught, ALONE.together():
        raise error
    assert caught.value is error
