"""Motion features: optical flow between pairs of small grey pictures, without weights (method §13.2).

pairs of greys ─▶ logarithm ─▶ slopes ─▶ least squares ─▶ flow minus its median ┬─▶ directions on a 3x3 grid
(N,K,2,s,s)       light        x, y, t   in a window      (the camera's motion) ├─▶ the same around what moves
                  cancels                                                       └─▶ four signals for each pair
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.motion import MotionSpec
from stpr.train.settings.learning import Flow

DIRECTIONS: Final = 4
CELLS: Final = 3  # to a side
SIGNALS: Final = 4  # per pair: mean flow in x and y, weighted by its energy; mean and RMS speed
MAPS: Final = 2 * DIRECTIONS * CELLS**2  # columns before the signals
BLUR: Final = 0.8  # pixels
STRIDE: Final = 2  # pixels between windows
FAINT: Final = 1e-4  # squared pixels: energy of flow that is ignored
CELL_SPREAD: Final = 0.8  # size of a cell around the moving region, in spreads
AFFINE: Final = 6  # numbers of an affine motion
MIRRORED_AFFINE: Final = (-1.0, 1.0, 1.0, -1.0, 1.0, -1.0)  # their signs in a mirror
REST: Final = 0.15  # RMS of maps of a clip, below which hardly anything moves
TYPICAL: Final = 0.3  # the same where somebody moves
SMALL: Final = 1e-4  # below it a root is nearly a line, so that rounding is not enlarged


class Noise(NamedTuple):
    """How flow allows for a camera's noise: ridges grow by a multiple of it, and a noisy window asks those around."""

    ridge: float  # times the noise, for a window
    wide: int  # windows to a side of a wider one, whose flow is the prior of the one in its middle
    wide_ridge: float  # times the noise, for a wider window: where noise hides what it sees, too, there is no flow
    quiet: float  # noise at which half of the wider window's flow is the prior; with less it is nearly none


class Windows(NamedTuple):
    """Windows of constant flow, and how sure a flow must be."""

    size: int  # pixels
    near: float  # minimum spread of the moving region, relative to half a picture
    ridge: float  # weight of the prior flow, so that there is no flow without contrast
    noise: Noise | None = None


WINDOWS: Final[dict[Flow, Windows]] = {
    "coarse": Windows(size=11, near=0.1, ridge=1e-4),
    "fine": Windows(size=5, near=0.05, ridge=1e-5, noise=Noise(ridge=20.0, wide=7, wide_ridge=3.0, quiet=2e-5)),
}


def motion_width(pairs: int) -> int:
    """The number of motion features per frame."""
    return MAPS + SIGNALS * pairs if pairs else 0


class Motion(nn.Module):
    """Pairs of grey pictures `(N, K, 2, s, s)` uint8, before and after, oldest pair first -> `(N, MAPS + 4 K)`.

    Maps are means over the pairs; the signals of all pairs follow one after the other. All are signed square roots.
    """

    def __init__(self, spec: MotionSpec, flow: Flow = "coarse") -> None:
        super().__init__()
        self.spec, self.windows = spec, WINDOWS[flow]
        places = (spec.side - 6 - 1) // STRIDE + 1  # the 7-tap derivative loses 6 pixels
        angle = torch.arange(DIRECTIONS, dtype=torch.float64) * 2 * math.pi / DIRECTIONS
        compass = torch.stack([angle.cos(), angle.sin()], dim=1).round(decimals=12)
        self.slopes: Tensor
        self.compass: Tensor
        self.cells: Tensor
        self.line: Tensor
        self.offsets: Tensor
        for name, value in (
            ("slopes", _slopes()),
            ("compass", compass[:, :, None, None]),
            ("cells", _cells(places)),
            ("line", torch.linspace(-1, 1, places, dtype=torch.float64)),
            ("offsets", torch.linspace(-1, 1, CELLS, dtype=torch.float64)[:, None]),
        ):
            self.register_buffer(name, value.float(), persistent=False)

    def forward(self, greys: Tensor) -> Tensor:
        """Motion features `(N, MAPS + 4 K)`."""
        side, pairs = self.spec.side, self.spec.pairs
        light = torch.log(greys.to(self.slopes.dtype) * 0.25 + 1) * (1 / math.log(1 + 255 / 4))
        flow = self.flow(light.reshape(-1, 2, side, side))  # (N K, 2, L, L)
        power = flow.square().sum(dim=1)
        along = torch.relu(F.conv2d(flow, self.compass))  # (N K, DIRECTIONS, L, L)
        grid = self.cells @ along @ self.cells.T
        rows, columns = power.mean(dim=2), power.mean(dim=1)
        total = rows.mean(dim=1, keepdim=True)  # (N K, 1)
        centred = self._around(rows, total)[:, None] @ along @ self._around(columns, total)[:, None].transpose(2, 3)
        drift = (flow * power[:, None]).mean(dim=(2, 3)) / (total + FAINT)
        speed = power.sqrt().mean(dim=(1, 2))[:, None]
        maps = _signed_root(torch.cat([grid.flatten(1), centred.flatten(1)], dim=1))
        signals = _signed_root(torch.cat([drift, speed, total.sqrt()], dim=1))
        return torch.cat([maps.reshape(-1, pairs, MAPS).mean(dim=1), signals.reshape(-1, pairs * SIGNALS)], dim=1)

    def flow(self, light: Tensor) -> Tensor:
        """Log-grey pairs `(n, 2, s, s)` -> flow in pixels `(n, 2, L, L)` (x, y), minus its median over the picture.

        Regularised Lucas-Kanade: least-squares flow per window, a 2x2 system each.
        """
        size, ridge, allow = self.windows.size, self.windows.ridge, self.windows.noise
        slope = F.conv2d(light, self.slopes)
        x, y, time = slope[:, 0:1], slope[:, 1:2], slope[:, 2:3]
        products = [x * x, y * y, x * y, x * time, y * time, *([time * time] if allow else [])]
        means = _pooled(torch.cat(products, dim=1), size, STRIDE)
        if allow is None:
            moved = _solved(means, ridge)
        else:
            noise = _median(means[:, 5:, ::2, ::2])  # in most windows only noise differs between the two pictures
            around = _solved(_pooled(means[:, :5], allow.wide), ridge + allow.wide_ridge * noise)
            moved = _solved(means, ridge + allow.ridge * noise, around * (noise / (noise + allow.quiet)))
        return moved - _median(moved)

    def _around(self, mass: Tensor, total: Tensor) -> Tensor:
        """Weights `(n, CELLS, L)` of cells around the mean position of moving mass `(n, L)`, sized by its spread."""
        total = total + FAINT
        centre = (mass * self.line).mean(dim=1, keepdim=True) / total
        variance = (mass * (self.line - centre).square()).mean(dim=1, keepdim=True) / total
        place = ((self.line - centre) / (variance + self.windows.near**2).sqrt())[:, None]
        weight = torch.exp((place - self.offsets).square() * (-0.5 / CELL_SPREAD**2))
        return weight / (weight.sum(dim=2, keepdim=True) + 1e-3)


def steadiest_speed(motion: Tensor) -> Tensor:
    """Speed in pixels of the cell that moves most, for motion features of clips `(B, T, M)`: `(B,)`.

    RMS over time of each cell's net flow, averaged over neighbouring frames, since flow caused by camera noise has no
    consistent direction and does not last.
    """
    cells = CELLS**2
    flow = motion[..., : DIRECTIONS * cells].square()  # right, down, left, up
    right, down = (flow[..., way * cells : (way + 1) * cells] for way in (0, 1))
    left, up = (flow[..., way * cells : (way + 1) * cells] for way in (2, 3))
    net = torch.cat([right - left, down - up], dim=-1)
    lasting = ((net[:, 1:] + net[:, :-1]) / 2).square().mean(dim=1)  # (B, 2 cells)
    return (lasting[:, :cells] + lasting[:, cells:]).amax(dim=1).sqrt()


def relative_motion(motion: Tensor) -> Tensor:
    """Motion features of clips `(B, T, M)` with maps relative to how much moves in the clip; the signals as they are.

    So somebody who is farther away or slower moves alike.
    """
    maps = []
    for part in (motion[..., : MAPS // 2], motion[..., MAPS // 2 : MAPS]):
        power = part.square().mean(dim=(1, 2), keepdim=True)
        level = (power.square() + REST**4).sqrt().sqrt()  # nearly the larger of both RMS
        maps.append(part * (TYPICAL / level))
    return torch.cat([*maps, motion[..., MAPS:]], dim=-1)


def mirrored_motion() -> tuple[Tensor, Tensor]:
    """The order and signs `(MAPS + SIGNALS,)` that turn maps, and mean signals of the pairs, into those of a mirror."""
    maps = torch.arange(MAPS).reshape(2, DIRECTIONS, CELLS, CELLS)  # grid and around what moves; right, down, left, up
    order = torch.cat([maps[:, [2, 1, 0, 3]].flip(dims=(3,)).flatten(), torch.arange(MAPS, MAPS + SIGNALS)])
    signs = torch.ones(MAPS + SIGNALS)
    signs[MAPS] = -1  # the mean flow in x
    return order, signs


def affine_motion(motion: Tensor, fit: Tensor) -> Tensor:
    """How the moving region moves as a whole, for motion features `(…, M)` and `affine_fit()`: `(…, AFFINE)`.

    Signed roots of shift in x and y, growth, clockwise turn, and two shears, fitted to the net flow of the cells around
    it.
    """
    cells = CELLS**2
    flow = motion[..., DIRECTIONS * cells : MAPS].square()  # right, down, left, up
    net = flow[..., : 2 * cells] - flow[..., 2 * cells :]
    return soft_root(net @ fit)


def soft_root(x: Tensor) -> Tensor:
    """The signed square root, with a finite slope at 0."""
    return x * (x.abs() + SMALL).rsqrt()


def affine_fit() -> Tensor:
    """The weights of net flow of the cells in x, then in y, in an affine motion: `(2 cells, AFFINE)`."""
    cells = [(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]
    rows = [(1, 0, x, -y, x, y) for x, y in cells] + [(0, 1, y, x, -y, x) for x, y in cells]
    return torch.tensor(rows) / CELLS**2


def _slopes() -> Tensor:
    """Filters `(3, 2, 7, 7)` on a blurred pair: derivatives of its mean in x and y, and the temporal difference."""
    at = torch.arange(-2, 3, dtype=torch.float64)
    blur = torch.exp(-0.5 * (at / BLUR) ** 2)
    blur = blur / blur.sum()
    smooth, rise = F.pad(blur, (1, 1)), 0.5 * (F.pad(blur, (2, 0)) - F.pad(blur, (0, 2)))
    plain = torch.outer(smooth, smooth)
    across, down = torch.outer(smooth, rise) / 2, torch.outer(rise, smooth) / 2
    return torch.stack([torch.stack(pair) for pair in ((across, across), (down, down), (-plain, plain))])


def _cells(length: int) -> Tensor:
    """Averaging weights over CELLS equal parts of a line: `(CELLS, length)`."""
    edges = torch.arange(CELLS + 1, dtype=torch.float64) * length / CELLS
    low = torch.arange(length, dtype=torch.float64)
    part = (torch.minimum(edges[1:, None], low + 1) - torch.maximum(edges[:-1, None], low)).clamp_min(0)
    return part / part.sum(dim=1, keepdim=True)


def _pooled(maps: Tensor, size: int, stride: int = 1) -> Tensor:
    """Means of maps `(n, C, s, s)` over windows, of which those at the border have zeros outside."""
    rows = F.avg_pool2d(maps, (size, 1), (stride, 1), (size // 2, 0))
    return F.avg_pool2d(rows, (1, size), (1, stride), (0, size // 2))


def _solved(means: Tensor, ridge: float | Tensor, prior: Tensor | None = None) -> Tensor:
    """Least squares plus ridge * |flow - prior|^2 from mean products of slopes `(n, 5, L, L)`: flow `(n, 2, L, L)`."""
    xx, yy, xy, xt, yt = (means[:, row : row + 1] for row in range(5))
    xx, yy = xx + ridge, yy + ridge
    if prior is not None:
        xt, yt = xt - ridge * prior[:, :1], yt - ridge * prior[:, 1:]
    determinant = xx * yy - xy * xy
    return torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], dim=1) / determinant


def _median(maps: Tensor) -> Tensor:
    """The median over places of maps `(n, C, L, L)`, of two in the middle the smaller: `(n, C, 1, 1)`."""
    middle = maps.shape[2] * maps.shape[3] // 2 + 1  # its rank among the largest
    return torch.topk(maps.flatten(2), middle, dim=2).values[:, :, middle - 1 :][..., None]


def _signed_root(x: Tensor) -> Tensor:
    return torch.sign(x) * x.abs().sqrt()
