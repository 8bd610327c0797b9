"""Several processes on one run (`accelerate launch`): who takes which clips, and how all stop at the same place.

Every process goes through the same program. Clips are shared out, what was computed for them is joined again, and from
there on all hold the same. Only the main process writes files and prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import accelerate
import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, distributed

from stpr.runtime.contract.errors import StprError

Rows = TypeVar("Rows", bound=Sequence[object] | Tensor)
Item = TypeVar("Item")
CPU: Final = torch.device("cpu")


class _AgreedError(StprError):
    """An error of one process that was passed on to all, so that each raises it."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a run."""

    index: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and prints."""
        return self.index == 0

    def own(self, total: int) -> int:
        """How many of `total` rows fall to this process."""
        return self._sizes(total)[self.index]

    def rounds(self, total: int, batch: int = 1) -> int:
        """How many batches the largest share of `total` rows makes."""
        return -(-max(self._sizes(total)) // batch)

    def share(self, rows: Rows) -> Rows:
        """The rows of this process, consecutive ones.

        Where none is left it gets the first as a stand-in, so that it can take part in what all do together; `join`
        leaves it out again.
        """
        sizes = self._sizes(len(rows))
        start = sum(sizes[: self.index])
        own: Rows = rows[start : start + sizes[self.index]]  # type: ignore[assignment]
        return own if len(own) else rows[:1]  # type: ignore[return-value]

    def join(self, own: Tensor, total: int) -> Tensor:
        """All `total` rows in order, from what each process has for its share.

        Only the own rows carry a gradient: of a loss over all rows, the gradients of all processes add up to the
        whole one.
        """
        if self.count == 1:
            return own
        sizes = self._sizes(total)
        padded = torch.zeros(max(sizes), *own.shape[1:], dtype=own.dtype, device=self.device)
        padded[: sizes[self.index]] = own[: sizes[self.index]].detach()
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        rows = [part[:size].to(own.device) for part, size in zip(parts, sizes, strict=True)]
        rows[self.index] = own[: sizes[self.index]]
        return torch.cat(rows)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that may fail in some process: a StprError in one becomes an error of all, at the block's end.

        No tensor may be joined inside it: a process that has failed would not be there.
        """
        mine: StprError | None = None
        try:
            yield
        except _AgreedError:
            raise
        except StprError as error:
            if self.count == 1:
                raise
            mine = error
        if self.count > 1:
            self._agree(mine)

    def lockstep(self, items: Iterator[Item], rounds: int) -> Iterator[Item]:
        """The items, at most `rounds` of them: all processes go on, or stop at an error, round by round."""
        if self.count == 1:
            yield from items
            return
        for _ in range(rounds):
            item = None
            with self.together():
                item = next(items, None)
            if item is not None:
                yield item

    def main_first(self, action: Callable[[], Item]) -> Item:
        """What the action gives in this process; the others begin when the main one is done, and find what it left."""
        results = []
        for turn in (True, False):
            with self.together():
                if self.is_main == turn:
                    results.append(action())
        return results[0]

    def main_says(self, value: bool) -> bool:
        """The main process's `value`, in every process."""
        return bool(self.join(torch.tensor([value]), self.count)[0])

    def _sizes(self, total: int) -> list[int]:
        ends = [total * (index + 1) // self.count for index in range(self.count)]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]

    def _agree(self, mine: StprError | None) -> None:
        failed = torch.tensor(int(mine is not None), device=self.device)
        distributed.all_reduce(failed)
        if failed:
            messages: list[str | None] = [None] * self.count
            distributed.all_gather_object(messages, mine and mine.message)
            raise _AgreedError(next(message for message in messages if message is not None)) from mine


ALONE = Processes()


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that `accelerate launch` started, or this one alone, each with its device."""
    state = accelerate.PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    processes = Processes(state.process_index, state.num_processes, state.device)
    try:
        yield processes
    except StprError:
        if processes.is_main:
            raise
        raise SystemExit(StprError.exit_code) from None  # the main process says it
    if processes.count > 1:
        state.destroy_process_group()
