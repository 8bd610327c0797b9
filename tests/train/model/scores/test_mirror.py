"""What is said of mirrored clips without seeing them, against clips that are mirrored."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor

from stpr.runtime.contract.motion import MotionSpec
from stpr.train.model.columns import Columns
from stpr.train.model.motion import MAPS, Motion, mirrored_motion, motion_width
from stpr.train.model.scores.description import Description
from stpr.train.model.scores.mirror import Mirror, joined
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import Part, StatisticsSettings, ViewSettings

FRAMES, PAIRS = 8, 2
COLUMNS = Columns(3, pairs=PAIRS)
EVERY: tuple[Part, ...] = ("mean", "difference", "deviation", "cosines", "change", "lag1", "lag2")


def drifting(clips: int, side: int) -> Tensor:
    """Pairs of grey pictures `(n, K, 2, s, s)` of soft blobs that move, each its own way."""
    rng = torch.Generator().manual_seed(0)
    line = torch.arange(float(side))
    made = torch.zeros(clips, PAIRS, 2, side, side)
    for _ in range(4):
        start, way = 10 + 44 * torch.rand(clips, 2, generator=rng), 3 * torch.randn(clips, 2, generator=rng)
        for pair in range(PAIRS):
            for side in range(2):
                at = start + (pair + side) * way
                near = (
                    torch.exp(-((line - at[:, :1]) ** 2) / 40)[:, None]
                    * torch.exp(-((line - at[:, 1:]) ** 2) / 40)[..., None]
                )
                made[:, pair, side] += 60 * near
    return made.clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("side", "apart"), [(65, 3e-3), (64, 0.06)])  # of 64, the last window is a pixel from the edge
def test_mirrored_pictures_are_described_by_the_mirrored_description(side: int, apart: float, relative: bool) -> None:
    settings = StatisticsSettings(
        parts=("mean",),
        motion=ViewSettings(parts=EVERY),
        rhythm=True,
        affine=True,
        relative_motion=relative,
        likelihood="cosine",
        concentration="learnt",
    )
    describe, motion = (
        Description(FRAMES, COLUMNS, settings),
        Motion(MotionSpec(pairs=PAIRS, side=side, seconds=1 / 15)),
    )
    greys = drifting(5 * FRAMES, side)
    looks = torch.randn(5 * FRAMES, 3)  # of a mirrored picture, nothing is known of these
    seen, mirrored = (
        describe(torch.cat([looks, motion(pictures)], dim=1).reshape(5, FRAMES, -1))
        for pictures in (greys, greys.flip(dims=(4,)))
    )
    for section, place, mirror in zip(describe.sections, describe.places, describe.mirrors, strict=True):
        found, wanted = seen[:, place], mirrored[:, place]
        if section.columns in ("motion", "affine"):
            assert mirror is not None
            assert (found - wanted).norm() > 0.3 * wanted.norm()  # else nothing is tested
            found = mirror(found)
        else:
            assert mirror is None
        assert (found - wanted).norm() < apart * wanted.norm()


def test_the_scatter_of_mirrored_clips_follows_from_that_of_clips() -> None:
    mirror = Mirror(torch.tensor([1, 0, 2]), torch.tensor([1.0, 1.0, -1.0]))
    rows = torch.randn(6, 3, dtype=torch.float64)
    around = mirror(rows) - mirror(rows).mean(dim=0)
    own = rows - rows.mean(dim=0)
    torch.testing.assert_close(mirror.scatter(own.T @ own), around.T @ around)
    twice = joined([mirror.repeated(2), mirror.unsigned()])
    wanted = torch.cat([mirror(rows), mirror(rows), mirror(rows).abs()], dim=1)
    torch.testing.assert_close(twice(torch.cat([rows, rows, rows.abs()], dim=1)), wanted)
    assert len(twice.order) == 9


MIRRORED = StatisticsSettings(
    parts=(),
    motion=ViewSettings(parts=("mean", "cosines")),
    affine=True,
    mirror=True,
    likelihood="cosine",
    concentration="learnt",
)
BOTH = Mirror(*mirrored_motion())


def in_mirror(features: Tensor) -> Tensor:
    """Frame features of the mirrored pictures, with one pair of signals a frame."""
    return torch.cat([features[..., :3], BOTH(features[..., 3:])], dim=-1)


def acted(way: Tensor, seed: int, clips: int = 12) -> Tensor:
    """Clips `(n, FRAMES, D)` of somebody who moves in one way `(FRAMES, D)`."""
    rng = torch.Generator().manual_seed(seed)
    moved = way + 0.6 * torch.randn(clips, *way.shape, generator=rng)
    moved[..., 3 : 3 + MAPS] = moved[..., 3 : 3 + MAPS].abs()
    return moved


def way_of(rng: torch.Generator, *, one_sided: float) -> Tensor:
    """A way to move `(FRAMES, D)`, more or less unlike its mirror image."""
    found = torch.rand(FRAMES, 3 + motion_width(1), generator=rng)
    return torch.lerp((found + in_mirror(found)) / 2, found, one_sided)


def stage_of(*classes: Tensor) -> Samples:
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(clips) for clips in classes]))
    return Samples(torch.cat(classes), labels, torch.arange(len(labels)))


def learnt(*stages: Samples, mirror: bool = True) -> ClipStatistics:
    found = ClipStatistics(FRAMES, Columns(3, pairs=1), msgspec.structs.replace(MIRRORED, mirror=mirror))
    for samples in stages:
        found.update(samples, int(samples.labels.max()) + 1)
    return found


def test_a_movement_is_known_from_the_other_side_until_that_is_another_class() -> None:
    rng = torch.Generator().manual_seed(0)
    kick, wave, jump = (way_of(rng, one_sided=share) for share in (0.8, 1.0, 0.6))
    first = stage_of(acted(kick, 1), acted(wave, 2), acted(jump, 3))
    other_wave = stage_of(in_mirror(acted(wave, 4)), acted(way_of(rng, one_sided=0.6), 5))
    labels = torch.arange(3).repeat_interleave(12)
    seen = torch.cat([acted(way, 9) for way in (kick, wave, jump)])

    def right(scores: ClipStatistics, clips: Tensor) -> float:
        with torch.no_grad():
            found = scores.log_likelihoods(scores.read(clips)).argmax(dim=1)
        return float((found == labels).float().mean())

    plain, mirrored = learnt(first, mirror=False), learnt(first)
    assert mirrored.symmetric.tolist() == [True, True, True]
    assert right(plain, in_mirror(seen)) < 0.8
    assert min(right(mirrored, seen), right(mirrored, in_mirror(seen))) > 0.9
    both = learnt(first, other_wave)
    assert both.symmetric.tolist() == [True, False, True, False, True]
    assert right(both, seen) > 0.9
    with torch.no_grad():
        waved = both.log_likelihoods(both.read(in_mirror(acted(wave, 9)))).argmax(dim=1)
    assert (waved == 3).float().mean() > 0.9
    turned = learnt(other_wave, first)  # the order of stages makes no difference
    assert turned.symmetric.tolist() == [False, True, True, False, True]
    torch.testing.assert_close(turned.concentrations, both.concentrations)


def test_what_mirrored_clips_add_needs_no_mirrored_clip() -> None:
    """The statistics of all clips and their mirror images, without storing more than those of the clips."""
    rng = torch.Generator().manual_seed(0)
    ways = [way_of(rng, one_sided=0.5) for _ in range(3)]
    classes = [acted(way, seed) for seed, way in enumerate(ways)]
    found = learnt(stage_of(*classes))
    rows = [torch.cat([clips, in_mirror(clips)]) for clips in classes]
    order = torch.arange(24).reshape(2, 12).T.flatten()  # each beside its mirror image, so that a half has both
    twice = learnt(stage_of(*(clips[order] for clips in rows)), mirror=False)
    seen = torch.cat([acted(way, 9) for way in ways])
    with torch.no_grad():
        torch.testing.assert_close(
            found.read(seen).cosines, twice.read(seen).cosines, atol=0.02, rtol=0
        )  # but for degrees of freedom
    sizes = [
        sum(value.numel() for value in scores.state_dict().values())
        for scores in (found, learnt(stage_of(*classes), mirror=False))
    ]
    assert sizes[0] - sizes[1] == 3  # a mark per class


def test_a_checkpoint_keeps_which_classes_are_symmetric() -> None:
    rng = torch.Generator().manual_seed(0)
    wave, jump = (way_of(rng, one_sided=share) for share in (1.0, 0.5))
    kept = learnt(stage_of(acted(wave, 1), in_mirror(acted(wave, 2)), acted(jump, 3)))
    assert kept.symmetric.tolist() == [False, False, True]
    again = ClipStatistics(FRAMES, Columns(3, pairs=1), MIRRORED)
    again.resize(3)
    again.load_state_dict(kept.state_dict())
    again.refresh()
    seen = acted(jump, 9)
    with torch.no_grad():
        assert torch.equal(again.log_likelihoods(again.read(seen)), kept.log_likelihoods(kept.read(seen)))
