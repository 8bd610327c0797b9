"""The model hub of `transformers`: whether it can be reached, and what to do where it can't."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub.constants

PATIENCE: Final = 5.0  # seconds


def cached_only() -> bool:
    """Whether only files in the cache can be used; then the library is told so for the rest of the process.

    It would otherwise try each file again for half a minute, cached or not. A proxy is left to the library.
    """
    constants = huggingface_hub.constants
    address = urlsplit(constants.ENDPOINT)
    if not constants.HF_HUB_OFFLINE and not getproxies():
        try:
            socket.create_connection((address.hostname, address.port or 443), timeout=PATIENCE).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    return constants.HF_HUB_OFFLINE


def fetched_elsewhere(source: str) -> str:
    """The two commands that bring a network to a machine without the hub."""
    folder = source.rpartition("/")[2]
    return (
        f"where the hub can be reached, `hf download {source} --local-dir {folder}`; copy that folder here and add"
        f" `--set backbone.source={folder}`."
    )
