"""Open the sources of a run and their sessions according to its settings."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from stpr.runtime.contract.bundle import PLACE
from stpr.runtime.filters import open_filters
from stpr.runtime.model import Model
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.credentials import read_secret
from stpr.runtime.sources import Frame, Source, SourceOptions, open_source, shows_login

__all__ = ["Frame", "Source", "cannot_adapt", "open_for", "session_for"]

log = logging.getLogger(__name__)


def open_for(settings: Settings, uri: str) -> Source:
    """Open one of the sources. Raises SourceError if that fails, StprError for an unreadable login file."""
    if shows_login(uri) and any(uri in word for word in sys.argv):
        log.warning(
            "the password in an address can be read by every user of this machine (ps); name it with --login FILE."
        )
    return open_source(uri, source_options(settings))


def session_for(source: Source, model: Model, settings: Settings) -> Session:
    """Create the session of a source with a model, with its own filters."""
    return Session(model, source.origin, open_filters(settings, model.manifest), adapt=settings.adapt)


def cannot_adapt(model: Model) -> str:
    """The warning if `--adapt` has no effect."""
    return (
        f"--adapt does nothing for {model.bundle.path}: it has no {PLACE}, since it is older or its statistics"
        " do not use mean features."
    )


def source_options(settings: Settings) -> SourceOptions:
    """The options for opening sources."""
    # systemd sets an invocation id for every service.
    wait = "INVOCATION_ID" in os.environ if settings.wait is None else settings.wait
    login = _login(settings.login)
    return SourceOptions(threads=settings.threads, transport=settings.transport, login=login, wait=wait)


def _login(path: Path | None) -> tuple[str, str] | None:
    """User and password of streams, from the file or else the environment."""
    if path is not None:
        user, password = read_secret(path, "--login", 2)
        return user, password
    user = os.environ.get("STPR_SOURCE_USER", "")
    return (user, os.environ.get("STPR_SOURCE_PASSWORD", "")) if user else None
