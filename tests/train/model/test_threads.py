"""What is derived from kept statistics is the same to the bit on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.ridge import RidgeScores
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.threads import one_thread
from stpr.train.settings.model import RidgeSettings, StatisticsSettings

FRAMES, WIDTH, CLASSES = 4, 256, 4
COLUMNS, SETTINGS = Columns(WIDTH), StatisticsSettings(parts=("mean", "difference"))
KINDS: dict[str, Callable[[], ClipScores]] = {
    "gaussian": lambda: ClipStatistics(FRAMES, COLUMNS, SETTINGS),
    "cosine": lambda: ClipStatistics(FRAMES, COLUMNS, msgspec.structs.replace(SETTINGS, likelihood="cosine")),
    "ridge": lambda: RidgeScores(FRAMES, COLUMNS, SETTINGS, RidgeSettings(projection=WIDTH)),
}


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_given_back_after_an_error_too() -> None:
    @one_thread()
    def fails() -> None:
        raise ValueError(f"on {torch.get_num_threads()}")

    with pytest.raises(ValueError, match="on 1"):
        fails()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_are_the_same_to_the_bit(kind: str) -> None:
    torch.manual_seed(0)
    scores, labels = KINDS[kind](), torch.arange(400) % CLASSES
    scores.update(Samples(torch.randn(400, FRAMES, WIDTH), labels, torch.arange(400)), CLASSES)
    several = _derived(scores)
    torch.set_num_threads(1)
    alone = _derived(scores)
    assert [name for name in alone if not torch.equal(alone[name], several[name])] == []


def _derived(scores: ClipScores) -> dict[str, Tensor]:
    scores.refresh()
    return {name: value.clone() for name, value in scores.named_buffers()}
