"""Describe a clip by a vector of statistics: its mean, and how its frames vary around it (method §12.1, §13)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from stpr.train.model.columns import Columns
from stpr.train.model.motion import (
    AFFINE,
    MAPS,
    MIRRORED_AFFINE,
    SIGNALS,
    affine_fit,
    affine_motion,
    mirrored_motion,
    motion_width,
    relative_motion,
    soft_root,
    steadiest_speed,
)
from stpr.train.model.scores.mirror import Mirror, joined
from stpr.train.settings.model import RHYTHM_LAGS, InnerSettings, Part, StatisticsSettings

COSINES: Final = 4
RHYTHM_SHRINKAGE: Final = 0.1
AFFINE_SHRINKAGE: Final = 0.7
FAINT: Final = 1e-3  # mean square of motion maps that is ignored


@dataclass(frozen=True, slots=True)
class Section:
    """A group of columns of the frame features, and which statistics of them are part of the description."""

    columns: Literal["appearance", "inner", "motion", "rhythm", "affine"]
    parts: tuple[Part, ...]  # empty for rhythm and affine, which have only one form
    shrinkage: float
    share: slice | None = None  # the view's part of the inner columns; None: all of them
    name: str = ""  # the view's name, if it is not that of the columns

    @property
    def rounding(self) -> float:
        """Variation below this is treated as rounding; the flow of still pictures is not exactly 0."""
        return 1e-6 if self.columns in ("appearance", "inner") else 3e-4


def cosine_terms(frames: int) -> Tensor:
    """The first COSINES non-constant terms of the orthonormal cosine transform over time: `(COSINES, T)`."""
    time = (torch.arange(frames, dtype=torch.float64) + 0.5) * math.pi / frames
    order = torch.arange(1, min(COSINES, frames - 1) + 1, dtype=torch.float64)
    terms: Tensor = (2 / frames) ** 0.5 * torch.cos(order[:, None] * time)
    return terms.float()


class Description(nn.Module):
    """Clips `(B, T, D)` -> descriptions `(B, S)`: those of the views that the settings ask for, one after the other."""

    def __init__(self, frames: int, columns: Columns, settings: StatisticsSettings) -> None:
        super().__init__()
        self.frames, self.columns = frames, columns
        self.cosines: Tensor
        self.register_buffer("cosines", cosine_terms(frames), persistent=False)
        self.affine_fit: Tensor
        self.register_buffer("affine_fit", affine_fit(), persistent=False)
        inner: list[Section] = []
        if settings.inner.parts:  # correlations first: the last look is that of the inner layers
            inner += _views("correlations", columns.correlated_shares(), settings.inner)
            inner += _views("inner", columns.inner_shares(settings.inner.views), settings.inner)
        every = (
            Section("appearance", settings.parts, settings.shrinkage),
            *inner,
            Section("motion", settings.motion.parts, settings.motion.shrinkage),
        )
        self.relative = settings.relative_motion and bool(columns.pairs)
        self.sections = [section for section in every if section.parts]
        if settings.rhythm:
            self.sections.append(Section("rhythm", (), RHYTHM_SHRINKAGE))
        if settings.affine:
            self.sections.append(Section("affine", (), AFFINE_SHRINKAGE))
        blank = torch.zeros(1, frames, columns.width)
        ends = [0, *accumulate(self._section(blank, section).shape[1] for section in self.sections)]
        self.places = [slice(start, stop) for start, stop in pairwise(ends)]  # slice of each section in the description
        self.size = ends[-1]
        self.mirrors = [self._mirror(section) for section in self.sections]  # None: unknown, or as it is
        # Slices of frame-feature columns (without motion) whose clip mean is described, and of that mean in it.
        self.looks = self._find_looks()

    def forward(self, features: Tensor) -> Tensor:
        """The sections' descriptions, concatenated: `(B, S)`."""
        if self.relative:
            start = self.columns.width - motion_width(self.columns.pairs)
            features = torch.cat([features[..., :start], relative_motion(features[..., start:])], dim=-1)
        return torch.cat([self._section(features, section) for section in self.sections], dim=1)

    def _find_looks(self) -> list[tuple[slice, slice]]:
        found, start = [], self.columns.appearance
        blank = torch.zeros(1, self.frames, self.columns.width)
        for section, place in zip(self.sections, self.places, strict=True):
            if section.columns not in ("appearance", "inner") or "mean" not in section.parts:
                continue
            share, before = section.share, section.parts[: section.parts.index("mean")]
            columns = slice(0, start) if share is None else slice(start + share.start, start + share.stop)
            width = columns.stop - columns.start
            first = place.start
            if before:
                first += self._section(blank, replace(section, parts=before)).shape[1]
            found.append((columns, slice(first, first + width)))
        return found

    def halves(self, features: Tensor, described: Tensor) -> tuple[int, Tensor, Tensor]:
        """The last view whose clip mean is described, as its number and descriptions `(B, S)` of two half clips.

        They are those of the whole clips, with the mean of their first or last half of the frames.
        """
        columns, mean = self.looks[-1]
        row = next(row for row, place in enumerate(self.places) if place.start <= mean.start < place.stop)
        look, place, half = features[..., columns], self.places[row], self.frames // 2
        before, behind = described[:, place.start : mean.start], described[:, mean.stop : place.stop]
        parts = (look[:, :half].mean(dim=1), look[:, -half:].mean(dim=1))
        first, last = (torch.cat([before, part, behind], dim=1) for part in parts)
        return row, first, last

    @property
    def last_look(self) -> tuple[slice, Section]:
        """The last section that describes how clips look, and its slice in the description."""
        looks = [
            (place, section)
            for place, section in zip(self.places, self.sections, strict=True)
            if section.columns in ("appearance", "inner")
        ]
        return looks[-1]

    def energy(self, features: Tensor) -> Tensor:
        """The motion energy of clips `(B, T, D)`: `(B,)`, not negative.

        With motion features, the speed in the cell that moves most, in pixels; else the RMS deviation of the appearance
        from its mean over time.
        """
        if self.columns.pairs:
            return steadiest_speed(self.columns.motion_of(features))
        seen = self.columns.appearance_of(features)
        return (seen - seen.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).sqrt()

    def balance(self, features: Tensor) -> Tensor | None:
        """The log ratio `(B,)` of how much moves in the half of a clip `(T, D)` where less does to that in the other.

        None where motion is not described relative to how much moves.
        """
        if not self.relative:
            return None
        power = self.columns.motion_of(features)[..., :MAPS].square().mean(dim=-1)  # (B, T)
        half = self.frames // 2
        first, last = ((part.mean(dim=1) + FAINT).log() for part in (power[:, :half], power[:, -half:]))
        return -(first - last).abs()

    def held_still(self, features: Tensor) -> Tensor:
        """Replace the motion columns of frame features `(…, D)` by those of a still picture."""
        if not self.columns.pairs:
            return features
        start = self.columns.appearance + self.columns.inner
        return torch.cat([features[..., :start], torch.zeros_like(features[..., start:])], dim=-1)

    def _section(self, features: Tensor, section: Section) -> Tensor:
        if section.columns == "rhythm":
            return self._rhythm(features)
        if section.columns == "affine":
            return self._affine(features)
        if section.columns == "motion":
            return self._parts(self._motion(features), section.parts)
        columns = self.columns
        if section.columns == "appearance":
            return self._parts(columns.appearance_of(features), section.parts)
        return self._parts(columns.inner_of(features)[..., section.share], section.parts)

    def _mirror(self, section: Section) -> Mirror | None:
        """How the section's description changes if the pictures are mirrored: known of motion, not of looks."""
        if section.columns == "affine":
            moved = Mirror(torch.arange(AFFINE), torch.tensor(MIRRORED_AFFINE))
            lasting = moved.unsigned().repeated(self.frames // 2 + 1)
            return joined([moved, moved.repeated(len(self.cosines)), lasting])
        if section.columns != "motion":
            return None
        moved = Mirror(*mirrored_motion())
        signed = {"mean": 1, "difference": 1, "cosines": len(self.cosines)}
        return joined([moved.repeated(signed[part]) if part in signed else moved.unsigned() for part in section.parts])

    def _parts(self, features: Tensor, parts: tuple[Part, ...]) -> Tensor:
        static = features.mean(dim=1)
        residual = features - static[:, None]
        half = features.shape[1] // 2
        describe = {
            "mean": lambda: static,
            "difference": lambda: residual[:, half:].mean(dim=1) - residual[:, :half].mean(dim=1),
            "deviation": lambda: (residual.square().mean(dim=1) + 1e-6).sqrt(),
            "cosines": lambda: (self.cosines @ residual).flatten(1),
            "change": lambda: (features[:, 1:] - features[:, :-1]).abs().mean(dim=1),
            "lag1": lambda: (residual[:, 1:] * residual[:, :-1]).mean(dim=1),
            "lag2": lambda: (residual[:, 2:] * residual[:, :-2]).mean(dim=1),
        }
        return torch.cat([describe[name]() for name in parts], dim=1)

    def _motion(self, features: Tensor) -> Tensor:
        """Motion maps, and the signals averaged over a frame's pairs: `(B, T, MAPS + SIGNALS)`."""
        motion = self.columns.motion_of(features)
        signals = motion[..., MAPS:].reshape(-1, self.frames, self.columns.pairs, SIGNALS).mean(dim=2)
        return torch.cat([motion[..., :MAPS], signals], dim=-1)

    def _rhythm(self, features: Tensor) -> Tensor:
        """Autocorrelations of the signals over all pairs of the clip, and their log variances."""
        signals = self.columns.motion_of(features)[..., MAPS:].reshape(-1, self.frames * self.columns.pairs, SIGNALS)
        around = signals - signals.mean(dim=1, keepdim=True)
        variance = around.square().mean(dim=1) + 1e-6
        lagged = [(around[:, lag:] * around[:, :-lag]).mean(dim=1) / variance for lag in RHYTHM_LAGS]
        return torch.cat([*lagged, variance.log()], dim=1)

    def _affine(self, features: Tensor) -> Tensor:
        """The course of the moving region: mean and cosine terms of its affine motion, and how long it lasts.

        The latter is the mean product of moments up to half a clip apart: positive if it goes on, negative if it comes
        back.
        """
        moved = affine_motion(self.columns.motion_of(features), self.affine_fit)  # (B, T, AFFINE)
        lags = range(1, self.frames // 2 + 1)
        lasting = [moved.square(), *(moved[:, lag:] * moved[:, :-lag] for lag in lags)]
        products = torch.stack([soft_root(each.mean(dim=1)) for each in lasting], dim=1)
        return torch.cat([moved.mean(dim=1), (self.cosines @ moved).flatten(1), products.flatten(1)], dim=1)


def _views(name: str, shares: Sequence[slice], settings: InnerSettings) -> list[Section]:
    """A view for each share of the inner columns, numbered where there are several."""
    names = [name] if len(shares) == 1 else [f"{name} {number + 1}" for number in range(len(shares))]
    return [
        Section("inner", settings.parts, settings.shrinkage, share, each)
        for share, each in zip(shares, names, strict=True)
    ]
