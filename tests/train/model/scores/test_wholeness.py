from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.model.scores.wholeness import (
    ALIKE,
    DOUBT,
    LOOK,
    PART,
    PENALTY,
    WHOLE,
    Fragments,
    Wholeness,
    fragments,
    recognised_by_look,
    slid,
)

T, D = 8, 3


def numbered(count: int, *, start: int = 0) -> Tensor:
    """Clips `(n, T, 1)` whose frames can be told apart: clip 2's are 20, 21, ..."""
    return (10.0 * torch.arange(start, start + count)[:, None] + torch.arange(T))[..., None]


def as_they_are(features: Tensor) -> Tensor:
    return features


def test_fragments_are_halves_pauses_and_joints() -> None:
    found = fragments(numbered(1), numbered(1, start=5), as_they_are)
    assert found.coming.flatten().tolist() == [0, 0, 0, 0, 0, 1, 2, 3]
    assert found.going.flatten().tolist() == [4, 5, 6, 7, 7, 7, 7, 7]
    assert found.still.flatten().tolist() == [4] * 8
    assert found.between[..., 0].tolist() == [[4, 5, 6, 7, 50, 51, 52, 53], [7, 7, 7, 7, 50, 50, 50, 50]]


def test_a_window_that_slides_sees_wholes_and_parts_and_nothing_doubtful() -> None:
    clips, whole = slid(numbered(1), numbered(1, start=5), as_they_are)
    assert len(clips) == len(whole)
    assert clips[1].flatten().tolist() == [4] * T  # held still, behind the clip as it is
    for clip, is_whole in zip(clips.flatten(1).tolist(), whole.tolist(), strict=True):
        shown = len({frame for frame in clip if frame < 10})  # of the clip itself
        missing = 1 - shown / T
        assert (missing <= WHOLE) if is_whole else (missing >= PART)
    assert whole.sum() == 1 + 3  # the clip itself, one frame early, late, and late before another


def test_a_slide_is_made_of_each_clip_alike() -> None:
    one, same = slid(numbered(1), numbered(1, start=5), as_they_are)
    two, both = slid(numbered(2), numbered(2, start=5), as_they_are)
    assert len(two) == 2 * len(one)
    assert both.sum() == 2 * same.sum()
    assert {tuple(clip) for clip in one[:, :, 0].tolist()} <= {tuple(clip) for clip in two[:, :, 0].tolist()}


def filled(classes: int = 3, size: int = 5) -> Wholeness:
    torch.manual_seed(0)
    wholeness = Wholeness(size)
    wholeness.halves, wholeness.pauses = torch.randn(classes, 2, size), torch.randn(2, size)
    wholeness.count, wholeness.floors = torch.tensor(4.0), torch.zeros(classes)
    wholeness.weight, wholeness.bias = torch.tensor([1.0, 2.0, 3.0, -1.0]), torch.tensor(0.5)
    wholeness.doubt = torch.tensor([DOUBT])
    return wholeness


def test_stages_add_up_and_old_halves_stay() -> None:
    torch.manual_seed(1)
    labels = torch.tensor([0, 0, 1, 1, 1])
    parts = fragments(torch.randn(5, T, D), torch.randn(5, T, D), as_they_are)
    described = Fragments(*(part.mean(dim=1) for part in parts))
    wholeness = Wholeness(D)
    by_motion = torch.zeros(2, dtype=torch.bool)
    wholeness.update(described, labels, torch.zeros(2), by_motion)
    before = wholeness.halves.clone()
    torch.testing.assert_close(before[1, 0], described.coming[2:].mean(dim=0))
    torch.testing.assert_close(before[0, 1], described.going[:2].mean(dim=0))
    wholeness.update(Fragments(*(part + 6 for part in described)), labels, torch.zeros(2), by_motion)
    torch.testing.assert_close(wholeness.halves[:2], before)
    torch.testing.assert_close(wholeness.pauses[0], described.still.mean(dim=0) + 3)
    assert wholeness.count == 10
    again = Wholeness(D)
    again.resize(4)
    again.doubt = torch.zeros(1)  # a checkpoint is restored by the sizes in its file; older ones have none
    again.load_state_dict(wholeness.state_dict())


def test_what_is_told_by_its_look_has_no_parts() -> None:
    labels = torch.tensor([0, 0, 2, 2, 2])
    alike = torch.tensor([0.9, 0.8, 0.9, LOOK - 0.3, LOOK - 0.3])
    assert recognised_by_look(alike, labels, 4).tolist() == [True, False, False, False]  # two have no clip here
    described = Fragments(*torch.randn(4, 5, D))
    wholeness = Wholeness(D)
    wholeness.update(described, labels.clamp_max(1), torch.zeros(2), torch.tensor([True, False]))
    between = described.between.mean(dim=0)
    torch.testing.assert_close(wholeness.halves[0], torch.stack([between, between]))
    torch.testing.assert_close(wholeness.halves[1, 0], described.coming[2:].mean(dim=0))
    assert wholeness.moving.tolist() == [False, True]


@pytest.mark.parametrize("background", [0, 2])
def test_the_four_numbers_are_those_of_a_loop(background: int) -> None:
    wholeness, whitened = filled(), torch.randn(4, 5)
    wholeness.background = whitened[:background] + 0.1  # nearer than any half of a class
    assert len(wholeness.parts) == 2 + 2 * 3 + background
    cosines = torch.rand(4, 3) * 2 - 1
    pointed, length = F.normalize(whitened, dim=-1), whitened.norm(dim=-1, keepdim=True)
    found = wholeness.measure(pointed @ F.normalize(wholeness.parts, dim=-1).T, length, cosines)
    for clip in range(4):
        unlike = F.cosine_similarity(whitened[clip][None], wholeness.parts)
        for label in range(3):
            others = max(float(cosines[clip, other]) for other in range(3) if other != label)
            own = float(cosines[clip, label])
            numbers = [
                own - others,
                own - float(unlike.max()),
                own - float(unlike[1]),
                float(whitened[clip].norm().log()),
            ]
            assert found[clip, label].tolist() == pytest.approx(numbers, abs=1e-5)
    wanted = (found * torch.tensor([1.0, 2.0, 3.0, -1.0])).sum(dim=-1) + 0.5 - DOUBT * (-found[..., 1]).clamp_min(0)
    torch.testing.assert_close(wholeness(found, torch.full((4,), 0.2), None), wanted)
    wholeness.floors = torch.tensor([0.1, 0.2, 0.4])
    still = wholeness(found, torch.full((4,), 0.2), None)
    torch.testing.assert_close(still[:, :2], wanted[:, :2])
    torch.testing.assert_close(still[:, 2], wanted[:, 2] - PENALTY / 2)


def test_a_class_told_by_its_look_is_heard_by_how_alike_the_halves_look() -> None:
    wholeness, numbers = filled(classes=2), torch.tensor([[[0.1, 0.3, 0.2, 1.0]] * 2] * 4)
    wholeness.halves[1, 1] = wholeness.halves[1, 0]
    alike = torch.tensor([-1.0, 0.0, ALIKE, 0.9])
    found = wholeness(numbers, torch.ones(4), alike)
    assert found[:, 0].tolist() == wholeness(numbers, torch.ones(4), None)[:, 0].tolist()
    assert found[:, 1].tolist() == pytest.approx([-10, -2, 2, 2])
    others = numbers + torch.rand(numbers.shape)
    assert wholeness(others, torch.ones(4), alike)[:, 1].tolist() == found[:, 1].tolist()
    numbers[..., 1] = -0.1  # background, or a fragment, resembles the clips more
    assert wholeness(numbers, torch.ones(4), alike)[:, 1].tolist() == pytest.approx([-12, -4, 0, 0])


def test_of_earlier_runs_no_class_is_doubted_for_resembling_a_fragment() -> None:
    wholeness, numbers = filled(classes=2), torch.tensor([[[0.1, -0.3, 0.2, 1.0]] * 2])
    now = wholeness(numbers, torch.ones(1), None)
    wholeness.doubt = torch.zeros(0)
    torch.testing.assert_close(wholeness(numbers, torch.ones(1), None), now + 0.3 * DOUBT)


def test_one_class_alone_has_no_rival_but_minus_one() -> None:
    found = filled(classes=1).measure(torch.randn(2, 4), torch.ones(2, 1), torch.tensor([[0.25], [-0.5]]))
    assert found[:, 0, 0].tolist() == pytest.approx([1.25, 0.5])


def test_calibrated_evidence_is_the_log_odds_of_two_gaussians() -> None:
    torch.manual_seed(2)
    mixing = torch.randn(4, 4)
    whole = torch.arange(40_000) < 10_000
    numbers = torch.randn(40_000, 4) @ mixing + torch.where(whole[:, None], 1.0, 0.0)
    wholeness = filled()
    wholeness.calibrate(numbers, whole)
    evidence = numbers @ wholeness.weight + wholeness.bias
    for low, high in ((-3, -1), (-1, 1), (1, 3)):
        within = (evidence > low) & (evidence < high)
        assert float(whole[within].float().mean()) == pytest.approx(float(evidence[within].sigmoid().mean()), abs=0.03)


def test_numbers_that_never_vary_do_no_harm() -> None:
    wholeness = filled()
    numbers = torch.tensor([[1.0, 2.0, 3.0, 7.0], [0.0, 1.0, 3.5, 7.0], [-1.0, 0.0, 1.0, 7.0], [-2.0, -1.5, 0.0, 7.0]])
    wholeness.calibrate(numbers, torch.tensor([True, True, False, False]))
    assert wholeness.weight.isfinite().all()
    evidence = numbers @ wholeness.weight + wholeness.bias
    assert evidence[:2].min() > 0 > evidence[2:].max()
