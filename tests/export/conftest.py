"""A run of three stages, learnt by chance, and its bundles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from tests.export.runs import STAGES, write_run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a network whose old experts stay and whose adapters change from stage to stage."""
    return write_run(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def bundles(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundles of stages 1, 2 and 3, each exported for itself."""
    out = tmp_path_factory.mktemp("bundles")
    return [export_stage(run, stage, out, options=Options(clips=6)) for stage in range(1, STAGES + 1)]
