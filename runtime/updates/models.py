"""Every model of a run is opened alike; which bundle it begins with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from stpr.runtime.contract.bundle import Bundle, newest_bundle, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model, open_model
from stpr.runtime.settings import Settings
from stpr.runtime.updates.ledger import Ledger

BUNDLES: Final = Path("bundles")

log = logging.getLogger(__name__)


class Models:
    """What opens models in this run, and the ledger of the folder that it watches."""

    def __init__(self, settings: Settings) -> None:
        """Raises BundleError for a folder to watch that is not there, or whose ledger can't be read."""
        self.engine, self.options = settings.engine, EngineOptions(threads=settings.threads)
        if settings.watch is not None and not settings.watch.is_dir():
            raise BundleError(f"there is no folder {settings.watch} to watch; make it, or name another with --watch.")
        self.ledger = Ledger(settings.watch)
        self._settings = settings

    def first(self) -> Model:
        """The named bundle, else the one that was last marked good, else the newest. Raises StprError."""
        wanted, watch = self._settings.bundle, self._settings.watch
        if wanted is None and (good := self.ledger.book.running) is not None:
            try:
                return self.open(open_bundle(Path(good.path)))
            except BundleError as error:
                log.warning("stage %d was marked good, and can't be used: %s", good.stage, error.message)
        return self.open(open_bundle(wanted or newest_bundle(watch or BUNDLES)))

    def open(self, bundle: Bundle) -> Model:
        """The bundle at work. Raises EngineError when it can't run here."""
        return open_model(bundle, self.engine, self.options)
