"""Who may read and who may change, by the address that is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.serve.access import Access, Address, read_address, read_token

TOKEN = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("localhost:8080", "localhost", 8080, True),
        ("9000", "localhost", 9000, True),
        ("127.0.0.5:1", "127.0.0.5", 1, True),
        ("[::1]:9000", "::1", 9000, True),
        ("::1", "::1", 8080, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("camera.local", "camera.local", 8080, False),
    ],
)
def test_an_address_is_host_and_port_or_one_of_them(text: str, host: str, port: int, local: bool) -> None:
    found = read_address(text)
    assert (found, found.is_local) == (Address(host, port), local)


@pytest.mark.parametrize("text", ["", ":", ":80", "host:x", "host:65536"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(StprError, match="--serve takes HOST:PORT"):
        read_address(text)


def test_a_wide_address_shows_nothing_without_the_token() -> None:
    access = Access(Address("0.0.0.0", 80), TOKEN)
    assert access.refuses_read(BEARER | {"host": "camera.local"}) is None
    for given in ("", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "é", f"Bearer é{TOKEN}"):
        refusal = access.refuses_read({"authorization": given})
        assert refusal is not None
        assert refusal.status == 401


def test_without_a_token_nobody_changes_anything_and_this_machine_reads() -> None:
    access = Access(Address("localhost", 80), None)
    assert access.refuses_read({"host": "localhost:80"}) is None
    assert not access.takes_writes
    for headers in ({}, BEARER, {"authorization": "Bearer "}):
        refusal = access.refuses_write(headers | {"host": "localhost"})
        assert refusal is not None
        assert "STPR_TOKEN" in refusal.why


def test_the_page_itself_may_write() -> None:
    same = {"origin": "http://localhost:80", "host": "localhost:80", "sec-fetch-site": "same-origin"}
    assert Access(Address("localhost", 80), TOKEN).refuses_write(BEARER | same) is None


def test_a_token_is_of_the_file_else_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STPR_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("STPR_TOKEN", "of the environment")
    (tmp_path / "token").write_text("of the file\n")
    assert (read_token(None), read_token(tmp_path / "token")) == ("of the environment", "of the file")
