"""Update the bundle of a running session.

Two threads take part. The updater's thread looks for new bundles, verifies, loads and tests them, and then waits for
the verdict. The run's thread calls `after` between two frames: there the candidate sees what the running model has just
seen, and only there models are swapped.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import BundleError, StprError
from stpr.runtime.model import Model
from stpr.runtime.result import Result
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.updates.candidate import Candidate, prepare
from stpr.runtime.updates.ledger import Book, Entry
from stpr.runtime.updates.models import Models
from stpr.runtime.updates.shadow import Shadow
from stpr.runtime.updates.watching import Folder, Found

LOOK_SECONDS: Final = 1.0  # between two scans of the folder; what is equal in both is complete
JOIN_SECONDS: Final = 1.0  # wait for a bundle that is being loaded when the run ends
MOST_NEW: Final = 3  # windows of new classes per compared window, above which there is too little to compare
ROLLED_BACK: Final = "rolled back"

Phase: TypeAlias = Literal["idle", "loading", "in shadow", "on trial"]

log = logging.getLogger(__name__)


class Ask(NamedTuple):
    """A request to update."""

    path: Path
    is_return: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an update, for display."""

    phase: Phase
    what: str | None = None  # the candidate's folder
    compared: int = 0
    wanted: int = 0
    agreed: int = 0
    new: int = 0  # windows that the candidate calls new classes
    swaps: int = 0
    last: str | None = None  # the outcome of the last one


class Updater:
    """Replaces the model that all sessions of a run share. `ask` and `roll_back` may be called from any thread."""

    def __init__(self, models: Models, sessions: Sequence[Session], settings: Settings) -> None:
        """Without a folder to watch, nothing is started."""
        self._models, self._sessions, self._rules = models, sessions, settings.updates
        self._running = sessions[0].model
        self._asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._offered: Candidate | None = None  # handed from the updater's thread to the run's
        self._retired: Model | None = None  # handed back, to be closed
        self._decided = threading.Event()
        self._shadow: Shadow | None = None
        self._trial = 0  # predictions left until the new model is marked good
        self._returned = False  # the model on trial is a roll-back
        self._status = Status(phase="idle", wanted=self._rules.predictions)
        self._closing = False
        self._folder = None if settings.watch is None else Folder(settings.watch)
        self._thread = threading.Thread(target=self._work, name="updates", daemon=True)
        if self._folder is not None:
            models.ledger.start(_entry(self._running.bundle))
            models.ledger.save()
            self._thread.start()

    @property
    def status(self) -> Status:
        """The current state."""
        shadow = self._shadow
        if shadow is None:
            return self._status
        tally = shadow.tally
        return msgspec.structs.replace(self._status, compared=tally.compared, agreed=tally.agreed, new=tally.new)

    @property
    def book(self) -> Book:
        """The stored state: refused bundles with reasons, and the target of a roll-back."""
        return self._models.ledger.book

    def found(self) -> list[Found]:
        """The contents of the watched folder."""
        return [] if self._folder is None else self._folder.all()

    def ask(self, path: Path) -> None:
        """Try this bundle or update next, even if it was refused before. Raises StprError without `--watch`."""
        self._put(Ask(path))

    def roll_back(self) -> None:
        """Return to the bundle that ran before. Raises StprError if there is none. Safe in a signal handler."""
        if self._folder is not None and self.book.way_back is None:
            raise BundleError("nothing ran here before this bundle, so there is nothing to roll back to.")
        self._put(Ask(Path(self.book.way_back.path if self.book.way_back else ""), is_return=True))

    def on_signal(self, *_: object) -> None:
        """`roll_back`, as a signal handler."""
        try:
            self.roll_back()
        except StprError as error:
            log.warning("%s", error.message)

    def after(self, results: Sequence[tuple[Session, Result]]) -> None:
        """Called between two frames: let the candidate see the results, and swap models if that was decided.

        Takes all results of one step at once, since after a swap between them one camera's window would lack a frame.
        """
        if self._trial:
            self._trial -= min(self._trial, sum(_decided(result) for _, result in results))
            if not self._trial:
                self._mark_good()
        if not self._asks.empty():
            self._set_aside()
        shadow = self._shadow
        if shadow is None:
            offered = self._offered
            if offered is not None and (offered.is_return or not self._trial):
                self._offered, self._shadow = None, Shadow(offered, self._sessions)
                self._status = msgspec.structs.replace(self._status, phase="in shadow")
            return
        try:
            for session, result in results:
                shadow.see(session, result)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with the candidate, the running one serves)
            self._refuse(shadow, _words(error))
            return
        self._judge(shadow, results)

    def close(self) -> None:
        """Stop and close models that were opened here. A trial that a clean end interrupts is not counted."""
        self._closing = True
        self._decided.set()
        if self._thread.is_alive():
            self._asks.put(Ask(Path()))
            self._thread.join(JOIN_SECONDS)
        if self._trial:
            self._models.ledger.put_on_trial(None)
        self._models.ledger.save()
        for candidate in (self._offered, self._shadow.candidate if self._shadow else None):
            if candidate is not None:
                candidate.model.close()
        self._running.close()

    # Called in the run's thread.

    def _judge(self, shadow: Shadow, results: Sequence[tuple[Session, Result]]) -> None:
        tally, wanted = shadow.tally, self._rules.predictions
        if shadow.candidate.is_return:
            if shadow.is_warm():
                self._swap(shadow, results)
        elif tally.disagreed > self._rules.disagreement * wanted:
            self._refuse(
                shadow,
                f"it differs on {tally.disagreed} of {tally.compared} windows of old classes (at most"
                f" {self._rules.disagreement:.0%} of {wanted} may), such as {tally.example}",
                for_good=True,
            )
        elif tally.compared >= wanted:
            if shadow.is_warm():
                self._swap(shadow, results)
        elif tally.seen > (1 + MOST_NEW) * wanted:
            self._refuse(
                shadow,
                f"it predicts new classes on {tally.new} of {tally.seen} windows, so old classes can't be compared;"
                " it is tried again after a restart, or on request",
            )

    def _swap(self, shadow: Shadow, results: Sequence[tuple[Session, Result]]) -> None:
        old, new, tally = self._running, shadow.candidate.model, shadow.tally
        shadow.swap()
        self._running, self._shadow, self._trial = new, None, self._rules.predictions
        self._returned, self._retired = shadow.candidate.is_return, old
        ledger = self._models.ledger
        frame = max(result.frame.index for _, result in results) + 1
        if shadow.candidate.is_return:
            ledger.refuse(old.id.digest, ROLLED_BACK)
            compared = "rolled back"
        else:
            compared = f"alike on {tally.agreed} of {tally.compared} windows of old classes, {tally.new} of new ones"
        ledger.put_on_trial(_entry(new.bundle))
        self._conclude(f"{new.bundle.path}: stage {new.id.stage} from frame {frame} on, {compared}", swapped=True)
        self._decided.set()

    def _refuse(self, shadow: Shadow, why: str, *, for_good: bool = False) -> None:
        """Discard the candidate; `for_good`: it is not tried again automatically, not even after a restart."""
        model = shadow.candidate.model
        self._shadow, self._retired = None, model
        if for_good:
            self._models.ledger.refuse(model.id.digest, why)
        self._say_refused(model.bundle.path, why)
        self._decided.set()

    def _set_aside(self) -> None:
        """Make way for what was asked for meanwhile: a comparison may take hours where little is seen."""
        candidate = self._shadow.candidate if self._shadow else self._offered
        if candidate is None or candidate.is_return:
            return
        self._shadow = self._offered = None
        self._retired = candidate.model
        self._conclude(f"{candidate.model.bundle.path} is set aside: something else was asked for")
        self._decided.set()

    def _mark_good(self) -> None:
        self._models.ledger.mark_good(_entry(self._running.bundle), is_return=self._returned)
        self._conclude(f"{self._running.bundle.path}: stage {self._running.id.stage} is marked good")

    # Called in any thread.

    def _put(self, ask: Ask) -> None:
        if self._folder is None:
            raise BundleError("this run takes no updates; start it with --watch DIR.")
        self._asks.put(ask)

    def _say_refused(self, path: Path, why: str) -> None:
        running = self._running.id
        refusal = f"{path} is refused, stage {running.stage} goes on: {why.rstrip('.')}."
        log.warning("%s", refusal)
        self._status = msgspec.structs.replace(self._status, phase="idle", what=None, last=refusal)

    def _conclude(self, outcome: str, *, swapped: bool = False) -> None:
        log.info("%s.", outcome)
        phase: Phase = "on trial" if swapped or self._trial else "idle"
        swaps = self._status.swaps + swapped
        self._status = msgspec.structs.replace(self._status, phase=phase, what=None, last=outcome, swaps=swaps)

    # Called in the updater's thread.

    def _work(self) -> None:
        assert self._folder is not None
        while not self._closing:
            self._models.ledger.save()  # here, since a slow disk must not delay a frame
            try:
                ask = self._asks.get(timeout=LOOK_SECONDS)
                self._try(ask, is_asked=True)
            except queue.Empty:
                if (path := self._folder.newest(self._running.bundle, self.book.refused)) is not None:
                    self._try(Ask(path), is_asked=False)

    def _try(self, ask: Ask, *, is_asked: bool) -> None:
        """Take one candidate to its verdict; the losing model is closed here, outside the run's thread."""
        if self._closing:
            return
        path = ask.path
        self._status = msgspec.structs.replace(self._status, phase="loading", what=str(path), last=None)
        try:
            candidate = prepare(path, self._running.bundle, self._models, is_return=ask.is_return)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with it, the running one serves)
            self._say_refused(path, _words(error))
            return
        if is_asked:
            self._models.ledger.forgive(candidate.model.id.digest)
        self._decided.clear()
        if self._closing:
            candidate.model.close()
            return
        self._offered = candidate
        self._decided.wait()
        if self._retired is not None:
            self._retired.close()
            self._retired = None


def _entry(bundle: Bundle) -> Entry:
    return Entry(path=str(bundle.path.resolve()), digest=bundle.digest, stage=bundle.manifest.stage)


def _decided(result: Result) -> bool:
    return result.prediction is not None and bool(result.prediction.top)


def _words(error: Exception) -> str:
    """The reason as text; unexpected errors are logged with their traceback."""
    if isinstance(error, StprError):
        return error.message
    log.error("a bug, or a library that fails:", exc_info=error)
    return f"{error!r}"
