"""What is said of a clip, section by section, against frame-by-frame sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.columns import Columns
from stpr.train.model.motion import AFFINE, MAPS, SIGNALS, affine_fit, affine_motion, motion_width, steadiest_speed
from stpr.train.model.scores.description import COSINES, Description
from stpr.train.settings.model import RHYTHM_LAGS, InnerSettings, Part, StatisticsSettings, ViewSettings

FRAMES, COLUMNS = 5, Columns(6, (4,), pairs=2)
ALL = StatisticsSettings(
    parts=("mean", "change"),
    inner=InnerSettings(parts=("deviation",), shrinkage=0.2),
    motion=ViewSettings(parts=("mean", "cosines"), shrinkage=0.3),
    rhythm=True,
    affine=True,
    likelihood="cosine",
    concentration="learnt",
)


LAYERS = Columns(6, (3, 1, 2, 2))


def clips(count: int = 3) -> Tensor:
    return torch.randn(count, FRAMES, COLUMNS.width, generator=torch.Generator().manual_seed(0))


def described(features: Tensor, parts: tuple[Part, ...]) -> Tensor:
    """A description of these columns alone."""
    found: Tensor = Description(FRAMES, Columns(features.shape[2]), StatisticsSettings(parts=parts))(features)
    return found


def test_sections_stand_side_by_side_each_with_its_size_and_shrinkage() -> None:
    whole = Description(FRAMES, COLUMNS, ALL)
    sizes = [2 * 6, 4, (MAPS + SIGNALS) * (1 + COSINES), SIGNALS * (len(RHYTHM_LAGS) + 1), 48]
    assert [place.stop - place.start for place in whole.places] == sizes
    assert [section.columns for section in whole.sections] == ["appearance", "inner", "motion", "rhythm", "affine"]
    assert [section.shrinkage for section in whole.sections] == [0.1, 0.2, 0.3, 0.1, 0.7]
    assert whole(clips()).shape == (3, whole.size) == (3, sum(sizes))
    some = Description(FRAMES, COLUMNS, StatisticsSettings(parts=(), inner=ALL.inner))
    assert ([section.columns for section in some.sections], some.size) == (["inner"], 4)


def test_inner_layers_are_shared_out_in_their_order() -> None:
    features = torch.randn(3, FRAMES, LAYERS.width)
    sought = InnerSettings(parts=("mean", "deviation"), views=2)
    both = Description(
        FRAMES, LAYERS, StatisticsSettings(parts=("mean",), inner=sought, likelihood="cosine", concentration="learnt")
    )
    assert [section.name for section in both.sections] == ["", "inner 1", "inner 2"]
    first, second = features[..., 6:10], features[..., 10:14]
    wanted = [described(part, ("mean", "deviation")) for part in (first, second)]
    torch.testing.assert_close(both(features)[:, 6:], torch.cat(wanted, dim=1))
    assert both.looks == [(slice(0, 6), slice(0, 6)), (slice(6, 10), slice(6, 10)), (slice(10, 14), slice(14, 18))]


@pytest.mark.parametrize("columns", [LAYERS, COLUMNS])
def test_layers_that_cant_be_shared_out_evenly_are_told(columns: Columns) -> None:
    with pytest.raises(RecipeError) as told:
        Description(
            FRAMES,
            columns,
            StatisticsSettings(
                parts=(), inner=InnerSettings(parts=("mean",), views=3), likelihood="cosine", concentration="learnt"
            ),
        )
    assert str(told.value) == (
        f"[statistics] inner: {len(columns.layers)} inner layers can't be divided evenly among 3 views; name a"
        " multiple of 3 layers in [backbone] inner, or set views = 1."
    )


def test_each_section_describes_its_own_columns() -> None:
    features, whole = clips(), Description(FRAMES, COLUMNS, ALL)
    appearance, inner, motion, *_ = (whole(features)[:, place] for place in whole.places)
    assert torch.equal(appearance, described(features[..., :6], ("mean", "change")))
    assert torch.equal(inner, described(features[..., 6:10], ("deviation",)))
    maps, signals = features[..., 10 : 10 + MAPS], features[..., 10 + MAPS :]
    # The signals of a frame's pairs stand one pair behind the other.
    means = torch.stack([(signals[..., at] + signals[..., SIGNALS + at]) / 2 for at in range(SIGNALS)], dim=-1)
    torch.testing.assert_close(motion, described(torch.cat([maps, means], dim=-1), ("mean", "cosines")))


def test_the_rhythm_is_how_signals_recur_from_pair_to_pair() -> None:
    features, whole = clips(), Description(FRAMES, COLUMNS, ALL)
    found = whole(features)[:, whole.places[3]]
    for clip, rhythm in zip(features.double().numpy(), found, strict=True):
        series = clip[:, 10 + MAPS :].reshape(FRAMES * COLUMNS.pairs, SIGNALS)
        moved = series - series.mean(axis=0)
        variance = (moved**2).mean(axis=0) + 1e-6
        wanted = [
            np.mean([moved[at] * moved[at - lag] for at in range(lag, len(moved))], axis=0) / variance
            for lag in RHYTHM_LAGS
        ]
        np.testing.assert_allclose(rhythm, np.concatenate([*wanted, np.log(variance)]), atol=1e-5)


def test_a_beat_shows_at_its_own_lag() -> None:
    features = torch.zeros(1, FRAMES, COLUMNS.width)
    beat = torch.tensor([1.0, -1.0]).repeat(FRAMES)  # from pair to pair
    features[0, :, 10 + MAPS :] = beat.reshape(FRAMES, 2, 1).expand(-1, -1, SIGNALS).flatten(1)
    whole = Description(FRAMES, COLUMNS, ALL)
    rhythm = whole(features)[0, whole.places[3]].reshape(-1, SIGNALS)
    assert rhythm[:-1, 0].tolist() == pytest.approx([(-1.0) ** lag for lag in RHYTHM_LAGS], abs=1e-4)


def test_the_affine_view_is_the_course_of_affine_motion() -> None:
    features, whole = clips(), Description(FRAMES, COLUMNS, ALL)
    found = whole(features)[:, whole.places[4]]
    for clip, course in zip(features, found, strict=True):
        moved = affine_motion(clip[:, 10:], affine_fit()).double().numpy()  # (T, AFFINE)
        time = (np.arange(FRAMES) + 0.5) * np.pi / FRAMES
        terms = [np.sqrt(2 / FRAMES) * np.cos(order * time) @ moved for order in range(1, COSINES + 1)]
        products = [np.mean([moved[at] * moved[at - lag] for at in range(lag, FRAMES)], axis=0) for lag in (0, 1, 2)]
        rooted = [np.sign(each) * np.sqrt(np.abs(each)) for each in products]
        np.testing.assert_allclose(course, np.concatenate([moved.mean(axis=0), *terms, *rooted]), atol=2e-3)


def test_a_region_that_comes_back_lasts_negatively() -> None:
    there_and_back = torch.zeros(1, FRAMES, COLUMNS.width)
    right, left = 10 + MAPS // 2, 10 + MAPS // 2 + MAPS // 4
    there_and_back[0, ::2, right : right + MAPS // 8] = 1.0
    there_and_back[0, 1::2, left : left + MAPS // 8] = 1.0
    whole = Description(FRAMES, COLUMNS, ALL)
    course = whole(there_and_back)[0, whole.places[4]].reshape(-1, AFFINE)
    assert course[-3:, 0].tolist() == pytest.approx([1, -1, 1], abs=1e-3)


def test_energy_is_the_speed_where_motion_is_seen_and_else_what_the_appearance_does() -> None:
    features = clips()
    with_motion, without = (
        Description(FRAMES, COLUMNS, ALL),
        Description(FRAMES, Columns(6, (4,)), StatisticsSettings()),
    )
    assert torch.equal(with_motion.energy(features), steadiest_speed(features[..., 10:]))
    seen = features[..., :6].double().numpy()
    wanted = [np.sqrt(np.mean((clip - clip.mean(axis=0)) ** 2)) for clip in seen]
    np.testing.assert_allclose(without.energy(features[..., :10]), wanted, rtol=1e-5)


def test_held_still_a_clip_keeps_its_pictures_and_loses_its_motion() -> None:
    features = clips()
    held = Description(FRAMES, COLUMNS, ALL).held_still(features)
    assert torch.equal(held[..., :10], features[..., :10])
    assert held.shape == features.shape
    assert (held[..., 10:] == 0).all()
    plain = features[..., :10]
    assert torch.equal(Description(FRAMES, Columns(6, (4,)), StatisticsSettings()).held_still(plain), plain)


def test_columns_stand_in_their_order() -> None:
    assert COLUMNS.width == 6 + 4 + motion_width(2)
    features = torch.arange(COLUMNS.width, dtype=torch.float)
    parts = COLUMNS.appearance_of(features), COLUMNS.inner_of(features), COLUMNS.motion_of(features)
    assert [len(part) for part in parts] == [6, 4, motion_width(2)]
    assert torch.equal(torch.cat(parts), features)
    assert Columns(6).appearance_of(features[:6]).shape == (6,)
    assert len(Columns(6).motion_of(features[:6])) == len(Columns(6).inner_of(features[:6])) == 0


@pytest.mark.parametrize("parts", [("mean",), ("deviation", "mean", "change")])
def test_half_clips_are_described_by_their_own_mean_and_all_else_of_the_clip(parts: tuple[Part, ...]) -> None:
    describe = Description(FRAMES, LAYERS, StatisticsSettings(inner=InnerSettings(parts=parts)))
    features = torch.randn(3, FRAMES, LAYERS.width, generator=torch.Generator().manual_seed(0))
    whole = describe(features)
    row, first, last = describe.halves(features, whole)
    assert row == len(describe.sections) - 1
    place, looks = describe.places[row], LAYERS.inner_of(features)
    start = parts.index("mean") * looks.shape[2]
    mean = slice(start, start + looks.shape[2])
    torch.testing.assert_close(first[:, mean], looks[:, :2].mean(dim=1))  # of five frames the middle one is in no half
    torch.testing.assert_close(last[:, mean], looks[:, 3:].mean(dim=1))
    for half in (first, last):
        half[:, mean] = whole[:, place][:, mean]
        assert torch.equal(half, whole[:, place])


def test_halves_are_in_balance_if_as_much_moves_in_both_whatever_it_is() -> None:
    relative = StatisticsSettings(
        motion=ViewSettings(parts=("mean",)), relative_motion=True, likelihood="cosine", concentration="learnt"
    )
    describe, moving = Description(4, COLUMNS, relative), torch.zeros(3, 4, COLUMNS.width)
    moving[:, :, 10 : 10 + MAPS] = torch.tensor([[1.0, -1.0, 1.0, 1.0], [1.0, 1.0, 0.5, 0.5], [0.0, 0.0, 2.0, 2.0]])[
        ..., None
    ]
    found = describe.balance(torch.cat([moving, moving.flip(dims=(1,))]))
    assert found is not None
    wanted = [0.0, np.log(0.25), np.log(1e-3 / 4)]
    assert found.tolist() == pytest.approx([*wanted, *wanted], abs=0.01)
    assert Description(4, COLUMNS, ALL).balance(moving) is None
    without_motion = StatisticsSettings(relative_motion=True)
    assert Description(4, Columns(6), without_motion).balance(torch.zeros(1, 4, 6)) is None
