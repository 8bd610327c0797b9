"""Whether the model hub answers is known at once, and what to do where it doesn't is said."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from stpr.train.model.hub import cached_only, fetched_elsewhere


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port of this machine that stands for the hub's."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as hub:
        hub.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        yield hub


def test_a_hub_that_answers_is_asked(port: socket.socket) -> None:
    port.listen()
    assert not cached_only()
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("port")
def test_one_that_does_not_is_not_asked_file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert not cached_only()  # what is behind a proxy is for the library to find out
    monkeypatch.delenv("HTTPS_PROXY")
    assert cached_only()
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_the_two_commands_are_said() -> None:
    said = fetched_elsewhere("google/mobilenet_v2_1.0_224")
    assert "`hf download google/mobilenet_v2_1.0_224 --local-dir mobilenet_v2_1.0_224`" in said
    assert "`--set backbone.source=mobilenet_v2_1.0_224`" in said
