"""How clips are halved decides what a view is asked: how it does with other people and places, or with the same."""

from __future__ import annotations

import pytest
import torch

from stpr.train.model.columns import Columns
from stpr.train.model.scores.halves import halved_by_clip, halved_by_recording
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import InnerSettings, StatisticsSettings


def clips_of(*labels: int, recordings: list[int] | None = None, views: int = 1) -> Samples:
    """One clip for each label, seen `views` times."""
    count = len(labels)
    return Samples(
        torch.zeros(count * views, 4, 3),
        torch.tensor(labels).repeat(views),
        torch.arange(count).repeat(views),
        recordings=None if recordings is None else torch.tensor(recordings).repeat(views),
    )


def test_recordings_stay_whole_and_the_first_are_asked_about_the_others() -> None:
    found = halved_by_recording(clips_of(*[0] * 7, recordings=[4, 4, 4, 7, 9, 9, 9], views=2), 1)
    assert found.half.tolist() == [0, 0, 0, 0, 1, 1, 1] * 2
    assert found.rows.tolist() == [[8, 6]]
    assert found.units.tolist() == [[2, 1]]  # three clips of one recording show no more than one other place


def test_neighbours_stay_together_in_a_class_with_one_recording() -> None:
    found = halved_by_recording(clips_of(0, 0, 1, 0, 1, 0, 1, 1, recordings=[3, 3, 4, 3, 5, 3, 4, 5]), 2)
    assert found.half[[0, 1, 3, 5]].tolist() == [0, 0, 1, 1]
    assert found.half[[2, 4, 6, 7]].tolist() == [0, 1, 0, 1]  # the other class has two
    assert found.units.tolist() == [[2, 2], [1, 1]]
    assert torch.equal(halved_by_recording(clips_of(*[0] * 6), 1).half, torch.tensor([0, 0, 0, 1, 1, 1]))


def test_every_other_clip_is_asked_about_the_same_people_and_places() -> None:
    found = halved_by_clip(clips_of(0, 1, 0, 1, 0, recordings=[2, 2, 2, 3, 3], views=2), 2)
    assert found.half.tolist() == [0, 0, 1, 1, 0] * 2
    assert found.rows.tolist() == [[4, 2], [2, 2]]
    assert found.units.tolist() == [[2, 1], [1, 1]]


def test_a_class_with_one_clip_has_nothing_to_ask() -> None:
    assert halved_by_recording(clips_of(0, recordings=[1]), 1).units.tolist() == [[1, 0]]


@pytest.mark.parametrize("named", [True, False])
def test_a_look_that_is_that_of_the_recordings_gets_no_weight(named: bool) -> None:
    """Each recording has a place of its own, and says nothing about the class; what moves does."""
    columns, generator = Columns(16, (16,)), torch.Generator().manual_seed(0)
    labels, recordings = torch.arange(6).repeat_interleave(16), torch.arange(24).repeat_interleave(4)
    places, classes = (torch.randn(count, 16, generator=generator) for count in (24, 6))
    noise = torch.randn(2, len(labels), 1, 16, generator=generator)
    seen = (3 * places[recordings][:, None] + 0.3 * noise[0]).expand(-1, 4, -1)
    told = (classes[labels][:, None] + 0.8 * noise[1]).expand(-1, 4, -1)
    settings = StatisticsSettings(
        parts=("mean",), inner=InnerSettings(parts=("mean",)), likelihood="cosine", concentration="learnt"
    )
    statistics = ClipStatistics(4, columns, settings)
    known = recordings if named else None  # names may be numbers only: neighbours are mostly of one recording
    statistics.update(Samples(torch.cat([seen, told], 2), labels, torch.arange(96), recordings=known), 6)
    look, inner = statistics.concentrations.tolist()
    assert look < 0.2 < 3 < inner
