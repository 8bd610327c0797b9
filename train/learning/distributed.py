"""Several processes on one run (`accelerate launch`): divide the clips, gather results, propagate errors.

Every process executes the same program. Clips are divided, their results are gathered, and from there on all processes
hold the same values. Only the main process writes files and prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
    """An error of one process, raised in all of them."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's index, the number of processes of the run, and the device."""

    index: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.index == 0

    def own(self, total: int) -> int:
        """How many of `total` rows this process gets."""
        return self._sizes(total)[self.index]

    def rounds(self, total: int, batch: int = 1) -> int:
        """How many batches the largest share of `total` rows needs."""
        return -(-max(self._sizes(total)) // batch)

    def share(self, rows: Rows) -> Rows:
        """This process's consecutive rows.

        If there are fewer rows than processes, it gets the first row as a placeholder, so that it can take part in
        collective operations; `join` drops it.
        """
        sizes = self._sizes(len(rows))
        start = sum(sizes[: self.index])
        own: Rows = rows[start : start + sizes[self.index]]  # type: ignore[assignment]
        return own if len(own) else rows[:1]  # type: ignore[return-value]

    def join(self, own: Tensor, total: int) -> Tensor:
        """Gather the results of all processes, in order: `total` rows.

        Only this process's rows carry a gradient; for a loss over all rows, the processes' gradients sum to the full
        gradient.
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
        """A block that may fail in one process: its StprError is raised in all processes at the block's end.

        The block must not call `join`, since a process that has failed would not take part.
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
        """Yield at most `rounds` items; after each, an error in one process stops all."""
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
        """Run the action in the main process first, then in the others, which find the files it wrote."""
        results = []
        for turn in (True, False):
            with self.together():
                if self.is_main == turn:
                    results.append(action())
        return results[0]

    def main_says(self, value: bool) -> bool:
        """Broadcast the main process's `value`."""
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
    """Set up the processes that `accelerate launch` started, or a single one, with its device.

    Several processes wait for each other at the end of the block, and end there.
    """
    state = accelerate.PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    processes = Processes(state.process_index, state.num_processes, state.device)
    try:
        yield processes
    except StprError:
        if processes.is_main:
            raise
        raise SystemExit(StprError.exit_code) from None  # the main process prints it
    if processes.count > 1:
        with suppress(RuntimeError):  # the main process has failed meanwhile, and says why
            state.wait_for_everyone()
        state.destroy_process_group()
        # A wrapped model leaves threads of its group behind (torch 2.13), and one that needs Python while Python ends
        # aborts the process: one of thirty runs under load, whose launcher then also stops the main process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
