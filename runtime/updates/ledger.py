"""Persistent state of updates: which bundle was marked good, which ran before, which were refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import BundleError

LEDGER: Final = "updates.json"
UNFINISHED: Final = "the run ended before it was marked good"

log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bundle, by path and digest."""

    path: str
    digest: str
    stage: int


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `updates.json`."""

    schema: int = 1
    running: Entry | None = None  # the bundle last marked good, with which a restart begins
    before: Entry | None = None  # the bundle before that, the target of a roll-back
    trial: Entry | None = None  # swapped in, not yet marked good
    refused: dict[str, str] = {}  # digest -> why

    @property
    def way_back(self) -> Entry | None:
        """The bundle that a roll-back returns to."""
        return self.before if self.trial is None else self.running


class Ledger:
    """Reads and writes `updates.json` in a watched folder; without a folder the state lasts as long as the run."""

    def __init__(self, folder: Path | None) -> None:
        """Raises BundleError if the file can't be read. A trial that was never marked good is refused from now on.

        Changes are made in memory and are fast; `save` writes to the disk, which may be slow.
        """
        self._file = None if folder is None else folder / LEDGER
        self.book = Book() if self._file is None or not self._file.is_file() else _read(self._file)
        self._saved = self.book
        if self.book.trial is not None:
            self.refuse(self.book.trial.digest, UNFINISHED)

    def start(self, entry: Entry) -> None:
        """Record that a run starts with this bundle, which may differ from the last one."""
        self.forgive(entry.digest)
        self.mark_good(entry)

    def put_on_trial(self, entry: Entry | None) -> None:
        """Record that a bundle was swapped in; None: the run was ended during the trial."""
        self.book = msgspec.structs.replace(self.book, trial=entry)

    def mark_good(self, entry: Entry, *, is_return: bool = False) -> None:
        """Record that this bundle works: a restart begins with it; a roll-back returns to the last good one, once."""
        book = self.book
        before = book.before
        if book.running is not None and book.running.digest != entry.digest:
            before = None if is_return else book.running
        self.book = msgspec.structs.replace(book, running=entry, before=before, trial=None)

    def refuse(self, digest: str, why: str) -> None:
        """Record that a bundle must not be tried again automatically."""
        self.book = msgspec.structs.replace(self.book, trial=None, refused=self.book.refused | {digest: why})

    def forgive(self, digest: str) -> None:
        """Allow a refused bundle again, since a person requested it."""
        others = {key: why for key, why in self.book.refused.items() if key != digest}
        self.book = msgspec.structs.replace(self.book, refused=others)

    def save(self) -> None:
        """Write the file if anything changed; a failure is logged, and the run continues."""
        book = self.book
        if self._file is None or book == self._saved:
            return
        self._saved = book
        try:
            write_file(self._file, msgspec.json.format(msgspec.json.encode(book), indent=1) + b"\n")
        except OSError as error:
            log.warning("%s can't be written (%s): this update will be lost on a restart.", self._file, error)


def _read(file: Path) -> Book:
    try:
        book = msgspec.json.decode(file.read_bytes(), type=Book)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} can't be read ({error}); remove it, and the newest bundle runs.") from error
    if book.schema != Book().schema:
        raise BundleError(f"{file} has schema {book.schema}; this runtime reads {Book().schema}. Upgrade stpr here.")
    return book
