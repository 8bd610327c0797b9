"""The motion feature against Lucas-Kanade written window by window, and against pictures whose motion is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from stpr.runtime.contract.motion import MotionSpec
from stpr.train.model.motion import (
    AFFINE,
    BLUR,
    CELL_SPREAD,
    CELLS,
    FAINT,
    MAPS,
    SIGNALS,
    STRIDE,
    TYPICAL,
    WINDOWS,
    Motion,
    Windows,
    affine_fit,
    affine_motion,
    motion_width,
    relative_motion,
    soft_root,
    steadiest_speed,
)
from stpr.train.settings.learning import Flow

Floats = npt.NDArray[np.float64]
SIDE, EDGE, RIGHT, DOWN = 64, 20, (1, 0), (0, 1)
WAYS = [RIGHT, DOWN, (-1, 0), (0, -1)]  # in the order of the maps


def texture(seed: int, side: int = SIDE + 2 * EDGE) -> Floats:
    """Smooth spots, larger than a pixel and smaller than a window."""
    spots = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2.0)
    return np.asarray(np.clip(127 + 40 * spots / spots.std(), 0, 255))


def shifted(way: tuple[int, int], seed: int = 0) -> Floats:
    """A cut of a texture that moved by so many pixels to the right and down."""
    left, top = EDGE - way[0], EDGE - way[1]
    return texture(seed)[top : top + SIDE, left : left + SIDE]


def moving_patch(way: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A pair `(2, s, s)`: a fifth of the picture, in its middle, moves by so many pixels and the rest stands still."""
    before, after = shifted((0, 0)), shifted((0, 0)).copy()
    after[18:46, 18:46] = shifted(way)[18:46, 18:46]
    return np.stack([before, after]).round().astype(np.uint8)


def light(greys: npt.NDArray[np.uint8]) -> Floats:
    return np.log(greys / 4 + 1) / np.log(1 + 255 / 4)


def motion_of(greys: npt.NDArray[np.uint8], flow: Flow = "coarse") -> torch.Tensor:
    """Features of one frame's pairs `(K, 2, s, s)`."""
    module = Motion(MotionSpec(pairs=len(greys), side=greys.shape[-1], seconds=0.1), flow)
    found: torch.Tensor = module(torch.from_numpy(greys)[None])
    assert found.shape == (1, motion_width(len(greys)))
    return found[0]


# The slow reference.


def slow_solution(squares: Floats, ridge: float, prior: Floats) -> Floats:
    """The flow of least squares and ridge * |flow - prior|^2, from a matrix of slopes in x, y and time."""
    return np.asarray(np.linalg.solve(squares[:2, :2] + ridge * np.eye(2), ridge * prior - squares[:2, 2]))


def slow_prior(means: Floats, row: int, column: int, noise: float, windows: Windows) -> Floats:
    """The flow of the windows around one, none where they are not looked at."""
    nothing, allow = np.zeros(2), windows.noise
    if allow is None:
        return nothing
    reach = allow.wide // 2
    around = means[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    wide = around.sum(axis=(0, 1)) / allow.wide**2
    share = noise / (noise + allow.quiet)
    return share * slow_solution(wide, windows.ridge + allow.wide_ridge * noise, nothing)


def slow_flow(pair: npt.NDArray[np.uint8], windows: Windows) -> Floats:
    """Flow `(2, L, L)` of a pair, one window at a time, each a least-squares problem of its own."""
    tap = np.exp(-0.5 * (np.arange(-2, 3) / BLUR) ** 2)
    smooth = [
        ndimage.convolve1d(ndimage.convolve1d(one, tap / tap.sum(), 0), tap / tap.sum(), 1) for one in light(pair)
    ]
    mean = (smooth[0] + smooth[1]) / 2
    inner = slice(3, -3)
    across = ((np.roll(mean, -1, 1) - np.roll(mean, 1, 1)) / 2)[inner, inner]
    down = ((np.roll(mean, -1, 0) - np.roll(mean, 1, 0)) / 2)[inner, inner]
    change = (smooth[1] - smooth[0])[inner, inner]
    slopes = np.stack([across, down, change])
    places = range(0, across.shape[0], STRIDE)

    def squares(*at: int) -> Floats:
        rows, columns = (slice(max(0, one - windows.size // 2), one + windows.size // 2 + 1) for one in at)
        near = slopes[:, rows, columns].reshape(3, -1)
        return np.asarray(near @ near.T / windows.size**2)

    means = np.array([[squares(top, left) for left in places] for top in places])
    noises = np.sort(means[::2, ::2, 2, 2], axis=None)
    noise = noises[(len(noises) - 1) // 2]
    ridge = windows.ridge + (windows.noise.ridge * noise if windows.noise else 0)
    flow = np.zeros((2, len(places), len(places)))
    for row, column in np.ndindex(*flow.shape[1:]):
        flow[:, row, column] = slow_solution(means[row, column], ridge, slow_prior(means, row, column, noise, windows))
    ordered = np.sort(flow.reshape(2, -1), axis=1)
    return flow - ordered[:, (ordered.shape[1] - 1) // 2][:, None, None]


def slow_cells(positive: Floats) -> Floats:
    """Means over 3 x 3 equal parts of a map, whose borders may cut places in three."""
    fine = positive.repeat(CELLS, axis=0).repeat(CELLS, axis=1)
    length = len(positive)
    return fine.reshape(CELLS, length, CELLS, length).mean(axis=(1, 3))


def slow_weights(mass: Floats, windows: Windows) -> Floats:
    """Weights `(3, L)` of places to either side of the middle of what moves."""
    at, total = np.linspace(-1, 1, len(mass)), mass.mean() + FAINT
    centre = (mass * at).mean() / total
    spread = np.sqrt((mass * (at - centre) ** 2).mean() / total + windows.near**2)
    weights = np.stack(
        [np.exp(-0.5 * ((at - centre) / spread - offset) ** 2 / CELL_SPREAD**2) for offset in (-1, 0, 1)]
    )
    return np.asarray(weights / (weights.sum(axis=1, keepdims=True) + 1e-3))


def slow_motion(pairs: npt.NDArray[np.uint8], windows: Windows) -> Floats:
    maps, signals = [], []
    for pair in pairs:
        flow = slow_flow(pair, windows)
        power = (flow**2).sum(axis=0)
        ways = [np.maximum(way[0] * flow[0] + way[1] * flow[1], 0) for way in WAYS]
        rows, columns = slow_weights(power.mean(axis=1), windows), slow_weights(power.mean(axis=0), windows)
        maps.append(np.ravel([slow_cells(way) for way in ways] + [rows @ way @ columns.T for way in ways]))
        drift = [(one * power).mean() / (power.mean() + FAINT) for one in flow]
        signals.append([*drift, np.sqrt(power).mean(), np.sqrt(power.mean())])
    rooted = [np.sign(values) * np.sqrt(np.abs(values)) for values in (np.array(maps), np.array(signals))]
    return np.concatenate([rooted[0].mean(axis=0), rooted[1].ravel()])


@pytest.mark.parametrize("flow", WINDOWS)
@pytest.mark.parametrize(
    ("seed", "side", "pairs"), [(0, 64, 1), (1, 64, 4), (2, 16, 2), (3, 33, 3), (4, 48, 2), (5, 50, 1)]
)
def test_it_is_lucas_kanade_in_every_window(seed: int, side: int, pairs: int, flow: Flow) -> None:
    rng = np.random.default_rng(seed)
    pictures = [texture(int(rng.integers(1000)), side) for _ in range(2)]
    steps = rng.uniform(-1.5, 1.5, (pairs, 2, 2))
    greys = [[ndimage.shift(pictures[half], step, mode="nearest") for half, step in enumerate(pair)] for pair in steps]
    greys = [[before, 0.7 * before + 0.3 * after + 2 * rng.normal(size=before.shape)] for before, after in greys]
    shown = np.clip(greys, 0, 255).astype(np.uint8)
    module, windows = Motion(MotionSpec(pairs=pairs, side=side, seconds=0.1), flow).double(), WINDOWS[flow]
    found = module.flow(torch.from_numpy(light(shown)))
    np.testing.assert_allclose(found, np.stack([slow_flow(pair, windows) for pair in shown]), atol=1e-5)
    wanted = slow_motion(shown, windows)
    np.testing.assert_allclose(module(torch.from_numpy(shown)[None])[0], wanted, atol=1e-4)
    np.testing.assert_allclose(motion_of(shown, flow), wanted, atol=2e-3)  # in single precision
    assert np.ptp(wanted[:MAPS]) > 0.05


@pytest.mark.parametrize("flow", WINDOWS)
@pytest.mark.parametrize("way", WAYS)
def test_a_shift_by_a_pixel_reads_about_one_where_most_stands_still(way: tuple[int, int], flow: Flow) -> None:
    module = Motion(MotionSpec(pairs=1, side=SIDE, seconds=0.1), flow)
    found = module.flow(torch.from_numpy(light(moving_patch(way))).float()[None])[0]
    middle, corner = found[:, 11:17, 11:17].mean(dim=(1, 2)), found[:, :3, :3]
    np.testing.assert_allclose(middle, way, atol=0.15)
    np.testing.assert_allclose(corner, 0, atol=0.02)


@pytest.mark.parametrize("way", WAYS)
def test_fine_flow_also_reads_a_pixel_where_what_moves_is_small(way: tuple[int, int]) -> None:
    before, after, small = shifted((0, 0)), shifted((0, 0)).copy(), slice(27, 37)
    after[small, small] = shifted(way)[small, small]
    pair = torch.from_numpy(light(np.stack([before, after]).round().astype(np.uint8))).float()[None]
    read = {}
    for flow in WINDOWS:
        found = Motion(MotionSpec(pairs=1, side=SIDE, seconds=0.1), flow).flow(pair)[0]
        read[flow] = float(found[:, 13:16, 13:16].mean(dim=(1, 2)) @ torch.tensor(way).float())
    assert read["fine"] == pytest.approx(1, abs=0.15)
    assert read["coarse"] < 0.75


@pytest.mark.parametrize(("noise", "grey"), [(2.0, 1.0), (2.0, 0.15), (5.0, 1.0), (5.0, 0.4)])
def test_fine_flow_is_what_moves_and_not_the_cameras_noise(noise: float, grey: float) -> None:
    """Also where it is dark: the same noise is more of the same light."""
    rng, module = np.random.default_rng(0), Motion(MotionSpec(pairs=1, side=SIDE, seconds=0.1), "fine")

    def flow(pair: npt.NDArray[np.uint8]) -> torch.Tensor:
        seen = np.clip(grey * pair + noise * rng.normal(size=pair.shape), 0, 255).round()
        return module.flow(torch.from_numpy(light(seen.astype(np.uint8))).float()[None])[0]

    still = flow(np.stack([shifted((0, 0))] * 2).astype(np.uint8)).norm(dim=0)
    moved = flow(moving_patch(RIGHT)).norm(dim=0)[11:17, 11:17]
    assert still.mean() < 0.1
    assert moved.mean() > 5 * still.mean()


def test_directions_stand_in_the_order_right_down_left_up() -> None:
    for place, way in enumerate(WAYS):
        found = motion_of(moving_patch(way)[None])
        for maps in (found[: MAPS // 2], found[MAPS // 2 : MAPS]):
            sums = maps.reshape(4, CELLS**2).sum(dim=1)
            assert int(sums.argmax()) == place
            assert sums[(place + 2) % 4] < 0.1 * sums[place]
        drift = found[MAPS : MAPS + 2]
        assert torch.dot(drift, torch.tensor(way, dtype=torch.float)) > 0.8


def test_cells_stand_row_by_row_and_those_around_what_moves_go_with_it() -> None:
    still = shifted((0, 0))
    found = {}
    for place, (top, left) in {2: (4, 42), 6: (42, 4)}.items():
        after = still.copy()
        after[top : top + 18, left : left + 18] = shifted(RIGHT)[top : top + 18, left : left + 18]
        found[place] = motion_of(np.stack([still, after]).round().astype(np.uint8)[None])
        assert int(found[place][: CELLS**2].argmax()) == place
    grid, around = (torch.stack([one[start : start + MAPS // 2] for one in found.values()]) for start in (0, MAPS // 2))
    assert (grid[0] - grid[1]).norm() > grid[0].norm()
    assert (around[0] - around[1]).norm() < 0.3 * around[0].norm()


def test_what_all_of_the_picture_does_is_the_cameras_and_taken_out() -> None:
    def strength(after: Floats) -> float:
        return float(motion_of(np.stack([shifted((0, 0)), after]).round().astype(np.uint8)[None])[MAPS + 3])

    both = shifted((2, 1)).copy()  # the patch one pixel to the right of what the camera does
    both[18:46, 18:46] = shifted((3, 1))[18:46, 18:46]
    whole, patch = strength(shifted(RIGHT)), strength(moving_patch(RIGHT)[1])
    assert whole < 0.7 * patch
    flow = Motion(MotionSpec(pairs=1, side=SIDE, seconds=0.1)).flow(
        torch.from_numpy(light(np.stack([shifted((0, 0)), both]).round().astype(np.uint8))).float()[None]
    )[0]
    assert flow[0, 11:17, 11:17].mean() == pytest.approx(1, abs=0.35)
    assert float(flow[:, 5:-5, 5:-5].median().abs()) < 0.1


@pytest.mark.parametrize(("gain", "offset", "change"), [(0.6, 0, 0.02), (1.3, 0, 0.02), (1, -30, 0.1), (0.7, 30, 0.12)])
def test_light_changes_it_little(gain: float, offset: float, change: float) -> None:
    pair = moving_patch(RIGHT)
    plain = motion_of(pair[None])
    lit = motion_of(np.clip(pair * float(gain) + offset, 0, 255).astype(np.uint8)[None])
    assert (lit - plain).norm() < change * plain.norm()


def test_where_nothing_moves_it_is_zero() -> None:
    still = np.stack([texture(3, SIDE)] * 2).astype(np.uint8)
    np.testing.assert_allclose(motion_of(np.stack([still] * 3)), 0, atol=1e-3)
    np.testing.assert_allclose(motion_of(np.zeros((1, 2, SIDE, SIDE), np.uint8)), 0, atol=1e-3)


def test_maps_are_means_over_pairs_and_each_pair_has_its_signals() -> None:
    right, down = moving_patch(RIGHT), moving_patch(DOWN)
    alone = [motion_of(pair[None]) for pair in (right, down)]
    both = motion_of(np.stack([right, down]))
    torch.testing.assert_close(both[:MAPS], (alone[0][:MAPS] + alone[1][:MAPS]) / 2)
    torch.testing.assert_close(both[MAPS:], torch.cat([one[MAPS:] for one in alone]))
    assert (motion_width(0), motion_width(2)) == (0, MAPS + 2 * SIGNALS)


@pytest.mark.parametrize("noise", [0.0, 3.0, 6.0])
def test_a_cameras_noise_is_no_lasting_speed_and_a_moving_patch_is(noise: float) -> None:
    def speed(step: float) -> float:
        """Of a clip of 8 frames with 4 pairs each; the patch goes so many pixels from picture to picture."""
        rng, pictures = np.random.default_rng(0), []
        for index in range(33):
            picture, at = shifted((0, 0)).copy(), 10 + int(step * index) % 30
            if step:
                picture[10:30, at : at + 20] = texture(5)[:20, :20]
            pictures.append(np.clip(picture + noise * rng.normal(size=picture.shape), 0, 255).round())
        greys = np.array([[pictures[at], pictures[at + 1]] for at in range(32)]).astype(np.uint8)
        frames = Motion(MotionSpec(pairs=4, side=SIDE, seconds=0.1))(
            torch.from_numpy(greys).reshape(8, 4, 2, SIDE, SIDE)
        )
        return float(steadiest_speed(frames[None]))

    assert speed(0) < 0.01
    assert speed(0.6) > 0.2
    assert speed(1) > 0.4


def test_speed_is_that_of_the_fastest_cell_over_clips() -> None:
    """Worked by hand: one cell goes right at 2 pixels throughout, another to and fro at 5, which does not last."""
    motion = torch.zeros(2, 6, motion_width(1))
    motion[0, :, 4] = 2**0.5  # right, in the middle; the maps are square roots
    motion[1, 0::2, 0] = 5**0.5  # right ...
    motion[1, 1::2, 2 * CELLS**2] = 5**0.5  # ... and left, in the corner
    torch.testing.assert_close(steadiest_speed(motion), torch.tensor([2.0, 0.0]))


def moved_within(matrix: Floats, shift: tuple[float, float], seed: int) -> npt.NDArray[np.uint8]:
    """A pair `(2, s, s)`: a disc in the middle moves by `matrix` (x, y) about its middle, and by `shift`."""
    still, middle = texture(seed, SIDE), (SIDE - 1) / 2
    at = np.indices((SIDE, SIDE))[::-1] - middle  # x, y
    from_x, from_y = np.linalg.inv(np.eye(2) + matrix) @ (at - np.reshape(shift, (2, 1, 1))).reshape(2, -1) + middle
    moved = ndimage.map_coordinates(still, [from_y, from_x], order=3, mode="nearest").reshape(SIDE, SIDE)
    disc = np.hypot(*at) < SIDE / 4
    return np.stack([still, np.where(disc, moved, still)]).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("place", "matrix", "shift"),
    [
        (0, [[0, 0], [0, 0]], (1, 0)),
        (1, [[0, 0], [0, 0]], (0, 1)),
        (2, [[1, 0], [0, 1]], (0, 0)),  # grows
        (3, [[0, -1], [1, 0]], (0, 0)),  # turns: right of the middle it goes down, so clockwise
        (4, [[1, 0], [0, -1]], (0, 0)),
        (5, [[0, 1], [1, 0]], (0, 0)),
    ],
)
def test_affine_motion_tells_how_a_region_moves_as_a_whole(
    place: int, matrix: list[list[int]], shift: tuple[int, int], sign: int
) -> None:
    how, way = sign * 0.07 * np.array(matrix, dtype=float), (float(sign * shift[0]), float(sign * shift[1]))
    found = affine_motion(motion_of(np.stack([moved_within(how, way, seed) for seed in range(4)])), affine_fit())
    assert int(found.abs().argmax()) == place
    assert found[place] * sign > 0.3
    others = found[torch.arange(AFFINE) != place]
    assert float(others.square().max()) < 0.4 * float(found[place].square())


def test_a_soft_root_is_a_root_whose_slope_at_0_is_finite() -> None:
    found = soft_root(torch.tensor([-4.0, -0.25, 0.0, 1e-9, 1.0]))
    assert found.tolist() == pytest.approx([-2, -0.5, 0, 1e-7, 1], abs=1e-4)
    assert float(found[3]) == pytest.approx(1e-7, rel=1e-3)


def test_relative_motion_is_alike_from_farther_away_and_faint_while_nothing_moves() -> None:
    rng = torch.Generator().manual_seed(0)
    near = 0.4 * torch.randn(3, 6, MAPS + 2 * SIGNALS, generator=rng)
    far, still = near / 2, near / 40
    seen, farther, resting = (relative_motion(clips) for clips in (near, far, still))
    torch.testing.assert_close(farther[..., :MAPS], seen[..., :MAPS], rtol=0.1, atol=0)
    assert torch.equal(farther[..., MAPS:], far[..., MAPS:])  # signals stay as they are
    for part in (slice(0, MAPS // 2), slice(MAPS // 2, MAPS)):
        assert seen[..., part].square().mean(dim=(1, 2)).sqrt().tolist() == pytest.approx([TYPICAL] * 3, rel=0.02)
        assert float(resting[..., part].square().mean().sqrt()) < 0.1 * TYPICAL
    assert torch.equal(relative_motion(torch.zeros(1, 6, MAPS)), torch.zeros(1, 6, MAPS))
