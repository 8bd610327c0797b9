"""Open all models of a run with the same settings, and choose the bundle that it starts with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stpr.runtime.contract.bundle import MANIFEST, Bundle, newest_bundle, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.signature import check_is_signed, read_public_key, signer
from stpr.runtime.engines import why_to_wait
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model, open_model
from stpr.runtime.settings import Settings
from stpr.runtime.updates.building import MEANWHILE, Building
from stpr.runtime.updates.ledger import Ledger

BUNDLES: Final = Path("bundles")

log = logging.getLogger(__name__)


class Models:
    """Opens the models of a run; holds the ledger of the watched folder."""

    def __init__(self, settings: Settings) -> None:
        """Raises StprError for a missing folder to watch, or an unreadable ledger or public key."""
        self.engine, self.options = settings.engine, EngineOptions(threads=settings.threads)
        if settings.watch is not None and not settings.watch.is_dir():
            raise BundleError(f"there is no folder {settings.watch} to watch; make it, or name another with --watch.")
        self.ledger = Ledger(settings.watch)
        self._building: Building | None = None
        self._settings, wanted = settings, settings.require_signature
        self._trusted = None if wanted is None else read_public_key(wanted)

    def first(self) -> Model:
        """Open the bundle given by the user, else the one last marked good, else the newest. Raises StprError.

        If its engines have to be built first, another engine is used until they are ready; see `after`.
        """
        wanted, watch = self._settings.bundle, self._settings.watch
        if wanted is None and (good := self.ledger.book.running) is not None:
            try:
                return self._begin(self.verified(Path(good.path)))
            except BundleError as error:
                log.warning("stage %d was marked good but can't be used: %s", good.stage, error.message)
        return self._begin(self.verified(wanted or newest_bundle(watch or BUNDLES)))

    def verified(self, path: Path, read: Callable[[Path], Bundle] = open_bundle) -> Bundle:
        """Verify the signature of the bundle or update at `path`, if required, then `read` it.

        Raises BundleError before reading anything that is not signed as required.
        """
        if self._trusted is None:
            return read(path)
        # The path of a manifest stands for its bundle.
        found = signer(path.parent if path.name == MANIFEST and path.is_file() else path, self._trusted)
        bundle = read(path)
        if found is not None:
            check_is_signed(bundle, found[1])
        return bundle

    def after(self) -> None:
        """Called between two frames: switch to engines that have been built meanwhile."""
        if self._building is not None:
            self._building.after()

    def close(self) -> None:
        """Stop building engines."""
        if self._building is not None:
            self._building.close()

    def _begin(self, bundle: Bundle) -> Model:
        why = why_to_wait(self.engine, bundle)
        if why is None:
            return self.open(bundle)
        log.warning("%s: %s; %s answers meanwhile.", bundle.path, why, MEANWHILE)
        self._building = Building(bundle, self.engine, self.options)
        return self._building.model

    def open(self, bundle: Bundle) -> Model:
        """Open the bundle's model. Raises EngineError if it can't run here."""
        return open_model(bundle, self.engine, self.options)
