"""A GPU for the tests, which need none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engines.fakes import Machine, compile_cudart


@pytest.fixture(scope="session")
def cudart_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library in C, compiled once."""
    return compile_cudart(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def machine(cudart_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose GPU is none; whatever a test did, everything must have been given back."""
    made = Machine(cudart_file, monkeypatch)
    yield made
    assert made.live == 0
