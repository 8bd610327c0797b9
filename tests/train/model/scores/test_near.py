"""Clips that are like the training clips are decided by these too; all others as if nothing had been added."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.columns import Columns
from stpr.train.model.scores.near import RAMP
from stpr.train.model.scores.samples import Samples, joined
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.view import View
from stpr.train.settings.load import load_recipe
from stpr.train.settings.model import InnerSettings, StatisticsSettings

FRAMES, COLUMNS, CLASSES = 2, Columns(4, (12, 12)), 5
NEAR = StatisticsSettings(
    parts=(),
    inner=InnerSettings(parts=("mean",), shrinkage=0.03, views=2),
    draws="together",
    near=True,
    likelihood="cosine",
    concentration="learnt",
)


def clips_of(seed: int, *, strange: float = 0.0, draws: int = 0, count: int = 60) -> Samples:
    """Clips whose classes differ a little in all columns, and vary most in a few; other people vary them elsewhere.

    A draw varies a clip as another person does.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(count, 1, COLUMNS.width, generator=generator).expand(-1, FRAMES, -1)

    places = torch.randn(CLASSES, 1, COLUMNS.width, generator=torch.Generator().manual_seed(1))
    other = torch.where(torch.arange(COLUMNS.width) % 12 < 4, 0.3, 3.0)
    labels = torch.arange(count) % CLASSES
    centre = places[labels] + 1.2 * noise() + strange * other * noise()
    drawn = [centre + other * noise() for _ in range(draws)]
    views = 1 + draws
    return Samples(
        torch.cat([centre, *drawn]),
        labels.repeat(views),
        torch.arange(count).repeat(views),
        torch.tensor([1.0] * count + [1 / max(1, draws)] * count * draws),
        torch.arange(views).repeat_interleave(count) > 0,
    )


def learnt(settings: StatisticsSettings = NEAR, samples: Samples | None = None) -> ClipStatistics:
    found = ClipStatistics(FRAMES, COLUMNS, settings)
    found.update(clips_of(0, draws=4) if samples is None else samples, CLASSES)
    return found


def scores(statistics: ClipStatistics, clips: Samples) -> Tensor:
    return statistics.log_likelihoods(statistics.read(clips.features))


def nearness(statistics: ClipStatistics, clips: Samples) -> Tensor:
    """The largest cosine `(B,)` by the centre views."""
    assert statistics.near is not None
    view = statistics.near.view
    described = statistics.describe(clips.features)[:, statistics.near_place]
    return (view.pointed(described) @ view.directions.T).amax(dim=1)


def accuracy(statistics: ClipStatistics, clips: Samples) -> float:
    return float((scores(statistics, clips).argmax(dim=1) == clips.labels).float().mean())


WITHOUT = learnt(StatisticsSettings(**{name: getattr(NEAR, name) for name in NEAR.__struct_fields__} | {"near": False}))


def test_people_who_were_filmed_are_told_better_and_others_as_before() -> None:
    found, same, other = learnt(), clips_of(7, count=400), clips_of(8, strange=1.0, count=400)
    assert accuracy(found, same) > accuracy(WITHOUT, same) + 0.02
    assert abs(accuracy(found, other) - accuracy(WITHOUT, other)) < 0.01


def test_a_far_clip_has_the_same_scores_and_a_near_one_the_mean_of_both() -> None:
    found = learnt()
    assert found.near is not None
    clips = joined([clips_of(7), clips_of(8, strange=1.0)])
    near, plain = nearness(found, clips), scores(WITHOUT, clips)
    far, close = near < RAMP[0], near > RAMP[1]
    assert min(int(far.sum()), int(close.sum())) > 20
    assert torch.equal(scores(found, clips)[far], plain[far])
    view, place = found.near.view, found.near_place
    own = view.pointed(found.describe(clips.features)[:, place]) @ view.directions.T
    wanted = (plain + found.near.concentration * own) / 2
    torch.testing.assert_close(scores(found, clips)[close], wanted[close])


def test_no_rounding_error_decides_who_is_near() -> None:
    """Along the way from a near clip to a far one, scores change as little as the clip does."""
    found = learnt()
    near, far = clips_of(7).features[:1], clips_of(8, strange=1.5).features[:1]
    steps = torch.linspace(0, 1, 2001)[:, None, None]
    moved = found.log_likelihoods(found.read(near + steps * (far - near)))
    assert float((moved[1:] - moved[:-1]).abs().max()) < 0.02 * float(moved.amax() - moved.amin())


def test_it_is_learnt_from_centre_views_alone_and_halves_that_share_people() -> None:
    samples = clips_of(0, draws=4)
    found = learnt(samples=samples).near
    assert found is not None
    own = samples.of(samples.centre)
    described = WITHOUT.describe(own.features)[:, learnt().near_place]
    wanted = View(12, 0.03, in_halves=True)
    half = torch.arange(60) // CLASSES % 2
    wanted.update(described, own, half, CLASSES)
    torch.testing.assert_close(found.view.means, wanted.means)
    torch.testing.assert_close(found.view.scatter, wanted.scatter)
    torch.testing.assert_close(found.view.differences, wanted.differences)
    assert found.clips.tolist() == [[6, 6]] * CLASSES
    shares_a_recording = samples._replace(recordings=samples.clips // 30)
    again = learnt(samples=shares_a_recording).near
    assert again is not None
    assert torch.equal(again.view.differences, found.view.differences)


def test_what_is_kept_makes_the_same_scores_again_after_any_number_of_stages() -> None:
    found, asked = learnt(), clips_of(7)
    found.update(clips_of(3, draws=4), CLASSES)
    again = ClipStatistics(FRAMES, COLUMNS, NEAR)
    again.resize(2 * CLASSES)
    again.load_state_dict(found.state_dict())
    again.refresh()
    assert torch.equal(scores(again, asked), scores(found, asked))
    assert found.decision_weights["near"] == pytest.approx(float(again.near.concentration)) if again.near else False


@pytest.mark.parametrize(
    "change", ["statistics.draws=false", "statistics.concentration=20", "statistics.inner.parts=[]"]
)
def test_settings_that_leave_nothing_to_add_are_refused(change: str) -> None:
    changes = [change, "statistics.inner.views=1"] if "=[]" in change or "=20" in change else [change]
    with pytest.raises(RecipeError, match=r"near = true is a second view of how clips look, without draws; set"):
        load_recipe("asl24", changes=[*changes, *(["statistics.rhythm=true"] if "=[]" in change else [])])
