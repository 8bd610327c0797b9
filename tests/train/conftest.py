"""Tiny backbones on disk, and one thread: cores are for parallel tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.train.networks import write_clip, write_mobilenet, write_resnet


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws at random is the same in every run, alone or beside others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def mobilenet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mobilenet(tmp_path_factory.mktemp("mobilenet"))


@pytest.fixture(scope="session")
def resnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_resnet(tmp_path_factory.mktemp("resnet"))


@pytest.fixture(scope="session")
def splits(shared_data: Path) -> Path:
    """The official list files."""
    return shared_data / "splits"
