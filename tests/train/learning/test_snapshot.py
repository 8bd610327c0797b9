"""A fit that goes on from its snapshot ends at the very weights, and takes up none that is not its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.datasets.annotations import Video
from stpr.train.learning import snapshot
from stpr.train.learning.snapshot import FitState, Snapshots, fingerprint
from tests.train.synthetic import STAGES, make_recipe

VIDEOS = [Video(Path(f"/data/a/{index}.avi"), "a", "train") for index in range(3)]


@pytest.fixture(autouse=True)
def _at_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "EVERY", 0.0)


def make_state(width: int = 3) -> FitState:
    torch.manual_seed(0)
    layer = nn.Linear(width, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    return FitState(dict(layer.named_parameters()), optimizer, None)


def step(state: FitState) -> None:
    """A step that depends on weights, momentum and random numbers."""
    for value in state.parameters.values():
        value.grad = value.detach() + torch.randn(value.shape)
    state.optimizer.step()


def weights(state: FitState) -> list[Tensor]:
    return [value.detach().clone() for value in state.parameters.values()]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def snapshots(tmp_path: Path, said: list[str]) -> Snapshots:
    return Snapshots(tmp_path / "snapshot.safetensors", 2, "ours", said.append)


def test_a_fit_goes_on_to_the_very_weights(snapshots: Snapshots, said: list[str]) -> None:
    state = make_state()
    step(state)
    snapshots.epoch_ended(state, [{"loss": 1.5}])
    step(state)
    again = make_state()
    torch.manual_seed(99)  # another process's random numbers
    assert replace(snapshots).restore(again) == [{"loss": 1.5}]
    step(again)
    assert all(map(torch.equal, weights(state), weights(again)))
    assert said == ["stage 2 continues after epoch 1."]


def test_time_spent_before_counts(snapshots: Snapshots) -> None:
    earlier = replace(snapshots, spent=100.0)
    earlier.epoch_ended(make_state(), [])
    snapshots.restore(make_state())
    assert 100 <= snapshots.seconds < 160


def test_without_one_a_fit_begins(snapshots: Snapshots, said: list[str]) -> None:
    assert (snapshots.restore(make_state()), said) == ([], [])


@pytest.mark.parametrize(
    ("change", "width", "why"),
    [
        (lambda one: replace(one, fingerprint="others'"), 3, "is of other videos, classes, settings or processes."),
        (lambda one: one, 4, "is of other videos, classes, settings or processes."),
        (lambda one: (one.file.write_bytes(b"no"), one)[1], 3, "can't be read (SafetensorError)."),
    ],
)
def test_one_that_is_not_its_own_is_told_and_left(
    snapshots: Snapshots, said: list[str], change: Callable[[Snapshots], Snapshots], width: int, why: str
) -> None:
    snapshots.epoch_ended(make_state(), [{"loss": 1.0}])
    state = make_state(width)
    before = weights(state)
    assert change(snapshots).restore(state) == []
    assert all(map(torch.equal, weights(state), before))
    assert said == [f"stage 2 starts again: {snapshots.file} {why}"]


def test_one_of_a_finished_stage_is_not_worth_a_word(snapshots: Snapshots, said: list[str]) -> None:
    replace(snapshots, stage=1).epoch_ended(make_state(), [{"loss": 1.0}])
    assert (snapshots.restore(make_state()), said) == ([], [])


def test_none_is_taken_too_soon(snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "EVERY", 60.0)
    snapshots.epoch_ended(make_state(), [])
    assert not snapshots.file.exists()


def test_one_that_can_not_be_written_is_told(snapshots: Snapshots) -> None:
    elsewhere = replace(snapshots, file=Path("/proc/none/snapshot.safetensors"))
    with pytest.raises(CheckpointError, match=r"can't be written .*; free disk space, then continue with --resume"):
        elsewhere.epoch_ended(make_state(), [])


def test_the_fingerprint_is_of_all_that_a_fit_depends_on_and_nothing_else() -> None:
    recipe, learnt = make_recipe(), [STAGES[0]]
    ours = fingerprint(recipe, "net", learnt, VIDEOS)
    moved = [replace(video, path=Path("/mnt") / "a" / video.path.name) for video in VIDEOS]
    elsewhere = {"data": {"root": "elsewhere"}, "backbone": {"source": "/mnt/net"}, "sampling": {"workers": 7}}
    assert fingerprint(make_recipe(**elsewhere), "net", learnt, moved) == ours
    others = [
        fingerprint(make_recipe(optimizer={"rate": 0.5}), "net", learnt, VIDEOS),
        fingerprint(recipe, "other", learnt, VIDEOS),
        fingerprint(recipe, "net", [STAGES[1]], VIDEOS),
        fingerprint(recipe, "net", learnt, VIDEOS[:2]),
        fingerprint(recipe, "net", learnt, [replace(video, label="b") for video in VIDEOS]),
    ]
    assert len({ours, *others}) == 6
