"""Access rules of the server.

    address    reads                    writes (update, roll-back)
    localhost  anybody on this machine  with the token; disabled without one
    wider      with the token           with the token

`/healthz`, `/readyz` and the empty page are open: they show no picture. The token is sent in the header `Authorization:
Bearer …`, never in a cookie or URL, so pages of other sites can't send it; requests that the browser marks as
cross-site are refused as well. On localhost the Host header must be localhost's, against DNS rebinding.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.small_file import read_small
from stpr.runtime.settings import PAGE_ADDRESS

TOKEN: Final = "STPR_TOKEN"
SHORTEST: Final = 16  # characters; shorter tokens can be guessed


class Refusal(NamedTuple):
    """A refused request: status code and reason."""

    status: int
    why: str


class Address(NamedTuple):
    """The address to listen on."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Access:
    """The rules of one server."""

    def __init__(self, address: Address, token: str | None) -> None:
        """Raises StprError for a non-local address without a token, and for a short token."""
        if token is not None and len(token) < SHORTEST:
            raise StprError(
                f"the token has {len(token)} characters; use {SHORTEST} or more, as `openssl rand -hex 16` gives."
            )
        if token is None and not address.is_local:
            raise StprError(
                f"--serve {address.host}:{address.port} is open to other machines and needs a token: set {TOKEN} or"
                " --token-file FILE, or serve on localhost."
            )
        self._address, self._token = address, token

    @property
    def takes_writes(self) -> bool:
        """Whether writes are possible at all."""
        return self._token is not None

    def refuses_read(self, headers: Mapping[str, str]) -> Refusal | None:
        """The refusal of a read request; None if it is allowed."""
        if self._address.is_local:
            return self._refuses_host(headers)
        return self._refuses_token(headers)

    def refuses_write(self, headers: Mapping[str, str]) -> Refusal | None:
        """The refusal of a write request; None if it is allowed."""
        if self._token is None:
            return Refusal(403, f"changes are disabled: start with {TOKEN} set, or with --token-file FILE.")
        origin = headers.get("origin")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != headers.get("host")
        ):
            return Refusal(403, "requests from another site's page are refused.")
        return (self._refuses_host(headers) if self._address.is_local else None) or self._refuses_token(headers)

    def _refuses_host(self, headers: Mapping[str, str]) -> Refusal | None:
        name = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if Address(name.strip("[]"), 0).is_local:
            return None
        return Refusal(403, "this server only answers to the name localhost.")

    def _refuses_token(self, headers: Mapping[str, str]) -> Refusal | None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        # Compared in constant time.
        if kind.lower() == "bearer" and hmac.compare_digest(given.encode(), (self._token or "").encode()):
            return None
        return Refusal(401, "this needs the token.")


def read_address(text: str) -> Address:
    """Parse HOST:PORT, PORT or HOST. Raises StprError for anything else."""
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = ("localhost", text) if text.isdecimal() else (text, "")
    elif ":" in host and not host.startswith("["):  # a bare IPv6 address
        host, port = text, ""
    if not (port == "" or (port.isdecimal() and int(port) < 1 << 16)) or not host.strip("[]"):
        raise StprError(f"--serve takes HOST:PORT, such as {PAGE_ADDRESS}, not {text!r}.")
    return Address(host.strip("[]"), int(port or PAGE_ADDRESS.rpartition(":")[2]))


def read_token(file: Path | None) -> str | None:
    """Read the token from the file or the environment; None if not set. Raises StprError for an unreadable file."""
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        return read_small(file).decode().strip()
    except (OSError, ValueError) as error:
        raise StprError(f"the token in {file} can't be read ({error}); check the file.") from error
