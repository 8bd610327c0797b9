"""Class scores from clip statistics: how well each class explains a clip.

They use a covariance shared by all stages: closed form, exemplar-free, comparable across stages. Descriptions are
modelled as Gaussian per class with one within-class covariance (streaming LDA; method §12.1), or compared by direction
after whitening; then each view of the clip (appearance, inner layers, motion, rhythm) has its own covariance and weight
(method §13). Means and scatter are sums over clips, so their size does not depend on the number of clips.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stpr.train.model.columns import Columns
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.familiarity import Familiarity
from stpr.train.model.scores.halves import halved_by_recording
from stpr.train.model.scores.likeness import FEWEST_CLASSES, Likeness, likeness_to_other_classes
from stpr.train.model.scores.near import Near
from stpr.train.model.scores.reading import Reading
from stpr.train.model.scores.reliability import weigh
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.view import View
from stpr.train.model.scores.wholeness import Wholeness
from stpr.train.settings.model import StatisticsSettings


class ClipStatistics(ClipScores):
    """Class means and within-class scatter: a Gaussian per class, or directions of several views."""

    def __init__(self, frames: int, columns: Columns, settings: StatisticsSettings) -> None:
        super().__init__(frames, columns, settings)
        self.learns_weights = settings.concentration == "learnt"
        if settings.likelihood == "gaussian":
            self.places = [slice(0, self.size)]
            self.views = nn.ModuleList([View(self.size, settings.shrinkage, in_halves=self.learns_weights)])
        else:
            self.places = self.describe.places
            self.views = nn.ModuleList(
                View(
                    place.stop - place.start,
                    section.shrinkage,
                    in_halves=self.learns_weights,
                    rounding=section.rounding,
                    mirror=mirror if settings.mirror else None,
                )
                for place, section, mirror in zip(
                    self.places, self.describe.sections, self.describe.mirrors, strict=True
                )
            )
        self.count: Tensor
        self.units: Tensor
        self.symmetric: Tensor
        self.concentrations: Tensor
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("units", torch.zeros(0, 2, 2))  # rows and independent units of each class's two halves
        self.register_buffer("concentrations", torch.zeros(len(self.views)), persistent=self.learns_weights)
        # Classes (C,) that are their own mirror images.
        self.register_buffer("symmetric", torch.zeros(0, dtype=torch.bool), persistent=settings.mirror)
        self.familiarity = Familiarity([view.axes.shape[1] for view in self._views()], settings.unknown_shrinkage)
        self.likeness = Likeness(len(self.views)) if settings.unknown == "direction" else None
        self.wholeness = Wholeness(self.size, 5 if self.describe.relative else 4) if settings.events else None
        self.near_place, self.near = slice(0), None
        if settings.near:
            self.near_place, section = self.describe.last_look
            self.near = Near(self.near_place.stop - self.near_place.start, section.shrinkage)
        self.shares: Tensor
        self.register_buffer("shares", torch.zeros(self.size), persistent=False)  # of all weight, by column

    def _views(self) -> list[View]:
        return [view for view in self.views if isinstance(view, View)]

    @property
    def decision_weights(self) -> dict[str, float]:
        """The learnt weight of each view by name; empty if the recipe states it."""
        if not self.learns_weights:
            return {}
        names = [section.name or section.columns for section in self.describe.sections]
        weights = dict(zip(names, self.concentrations.tolist(), strict=True))
        return weights if self.near is None else {**weights, "near": float(self.near.concentration)}

    @property
    def tells_events(self) -> bool:
        """Whether `evidence` of whole actions is available."""
        return self.wholeness is not None and self.wholeness.is_calibrated

    @property
    def moving(self) -> tuple[bool, ...]:
        """Which classes are recognised by how they move; only if `tells_events`."""
        assert self.wholeness is not None
        return tuple(self.wholeness.moving.tolist())

    @property
    def classes(self) -> int:
        """The number of classes learnt so far."""
        return len(self._views()[0].means)

    @property
    def knows_by_direction(self) -> bool:
        """Whether familiarity is by direction (`Likeness`); with too few classes it is by distance."""
        return self.likeness is not None and self.classes >= FEWEST_CLASSES

    def read(self, features: Tensor) -> Reading:
        """See `ClipScores`."""
        return Reading(features, self.describe, list(zip(self._views(), self.places, strict=True)))

    def log_likelihoods(self, clips: Reading) -> Tensor:
        """Log p(clip | class) up to a constant per clip: `(B, C)`."""
        if self.settings.likelihood == "gaussian":
            return super().log_likelihoods(clips)
        scores = self._weighted_cosines(clips)
        if self.near is None:
            return scores
        decided: Tensor = self.near(clips.described[:, self.near_place], scores)
        return decided

    def resemble(self, clips: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Directions `(B, S)`, normalised per view; distances from the centre `(B, 1)`; mean cosines `(B, C)`."""
        squares = [
            length.square() * self.shares[place.start] for length, place in zip(clips.lengths, self.places, strict=True)
        ]
        length = torch.stack(squares).sum(dim=0).sqrt()
        return torch.cat(clips.pointed, dim=1), length, self._weighted_cosines(clips) / self.concentrations.sum()

    def _weighted_cosines(self, clips: Reading) -> Tensor:
        """Cosines `(B, C)` with the classes, summed over the views with their weights."""
        first, *others = (self.concentrations[row] * cosines for row, cosines in enumerate(clips.cosines))
        return sum(others, start=first)

    def familiar(self, clips: Reading) -> Tensor:
        """Familiarity `(B,)`, by `Familiarity` or `Likeness`."""
        if self.likeness is None or not self.knows_by_direction:
            found: Tensor = self.familiarity(self._views(), clips.in_units)
            return found
        alike: Tensor = self.likeness(clips.whitened, clips.directions, self._view_shares())
        return alike

    def familiar_to_others(self, features: Tensor, label: int) -> Tensor:
        """Familiarity `(B,)` of clips `(B, T, D)` of class `label` if that class had not been learnt.

        Only if `knows_by_direction`.
        """
        described, views = self.describe(features), self._views()
        others = torch.arange(self.classes) != label
        moved = [view.whitened(described[:, place]) for view, place in zip(views, self.places, strict=True)]
        places = [view.whitened(view.known[others]) for view in views]
        return likeness_to_other_classes(moved, places, self._view_shares().to(moved[0]))

    def _view_shares(self) -> Tensor:
        """Each view's share of the total weight: `(V,)`."""
        return self.shares[[place.start for place in self.places]]

    def evidence(self, clips: Reading) -> Tensor:
        """Log odds `(B, C)` that clips show one whole action of each class."""
        assert self.wholeness is not None
        numbers, energies = self.measure(clips), self.describe.energy(clips.features)
        found: Tensor = self.wholeness(numbers, energies, self.alike(clips))
        return found

    def alike(self, clips: Reading) -> Tensor | None:
        """Cosine `(B,)` of how the first and the last half of clips look, in the last view that describes it.

        None if no view does.
        """
        if not self.describe.looks:
            return None
        row, first, last = self.describe.halves(clips.features, clips.described)
        view = self._views()[row]
        return (view.pointed(first) * view.pointed(last)).sum(dim=1)

    def measure(self, clips: Reading) -> Tensor:
        """What tells whole actions from fragments: `Wholeness.measure`."""
        assert self.wholeness is not None
        pointed, length, cosines = self.resemble(clips)
        return self.wholeness.measure(self.unlike(pointed), length, cosines, self.describe.balance(clips.features))

    def unlike(self, pointed: Tensor) -> Tensor:
        """Cosines `(B, P)` of clips, described by `resemble`, with the fragments of `Wholeness.parts`."""
        assert self.wholeness is not None
        return pointed @ self.weighted_directions(self.wholeness.parts).T

    def weighted_directions(self, described: Tensor) -> Tensor:
        """Directions `(P, S)` of descriptions `(P, S)`, normalised per view and multiplied by the view's share."""
        views = zip(self._views(), self.places, strict=True)
        return torch.cat([view.pointed(described[:, place]) for view, place in views], dim=1) * self.shares

    def class_place(self) -> tuple[Tensor, Tensor]:
        """The mean of the classes and the standard deviation within a class, per feature column `(D,)`.

        The deviation is 0 for motion columns and for columns whose mean is not part of the description.
        """
        counts = self.units[:, :, 0] if self.learns_weights else self.count
        means = torch.cat([view.means.mean(dim=0) for view in self._views()])
        variances = torch.cat([view.covariance(counts).diagonal() for view in self._views()])
        middle = means.new_zeros(self.describe.columns.width)
        deviation = torch.zeros_like(middle)
        for columns, place in self.describe.looks:
            middle[columns] = means[place]
            deviation[columns] = variances[place].clamp_min(0).sqrt().to(deviation)
        return middle, deviation

    def update(self, samples: Samples, classes: int) -> None:
        """Add the `classes` new classes of a stage."""
        described, halves = self.describe(samples.features), halved_by_recording(samples, classes)
        for view, place in zip(self._views(), self.places, strict=True):
            view.update(described[:, place], samples, halves.half, classes)
        self.count = self.count + (len(described) if samples.weights is None else samples.weights.sum())
        if self.learns_weights:
            self.units = torch.cat([self.units, torch.stack([halves.rows, halves.units], dim=2).to(self.units)])
            rows, units = self.units.unbind(dim=2)
            if self.settings.mirror:
                self.symmetric = self._find_symmetric(rows)
                self._share_symmetric()
            self.concentrations = weigh([view.halved(rows) for view in self._views()], units).to(self.units)
        if self.near is not None:
            self.near.update(described[:, self.near_place], samples, classes)
        self.refresh()

    def _find_symmetric(self, rows: Tensor) -> Tensor:
        """Which classes `(C,)` look most like themselves in a mirror, and are no other class's mirror image.

        `rows` `(C, 2)` are counts per half. Compared by the views that a mirror changes, without mirrored clips.
        """
        alike = torch.zeros(self.classes, self.classes, dtype=torch.float64, device=rows.device)  # mirrored, as it is
        for view in self._views():
            if view.mirror is not None:
                alike = alike + view.alike_in_mirror(rows)
        own = torch.arange(self.classes, device=rows.device)
        return (alike.argmax(dim=1) == own) & (alike.argmax(dim=0) == own)

    def _share_symmetric(self) -> None:
        for view in self._views():
            view.symmetric = self.symmetric

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        super().resize(classes)
        if self.settings.mirror:
            self.symmetric = self.symmetric.new_zeros(classes)
        for view in self._views():
            view.resize(classes, triangular=self.likeness is not None and classes >= FEWEST_CLASSES)
        self.units = self.units.new_zeros(classes if self.learns_weights else 0, 2, 2)
        if self.near is not None:
            self.near.resize(classes)
        if self.wholeness is not None:
            self.wholeness.resize(classes)
        self.familiarity.resize(classes)
        if self.likeness is not None:
            self.likeness.resize(classes)

    def _derive(self) -> None:
        """Compute from means and scatter the map of `log_likelihoods`, up to a term common to all classes."""
        views = self._views()
        if self.settings.mirror:
            self._share_symmetric()
        counts = self.units[:, :, 0] if self.learns_weights else self.count
        if self.settings.likelihood == "gaussian":
            covariance = views[0].covariance(counts)
            self.familiarity.refresh([views[0].refresh(covariance)])
            self._compare_distances(views[0], covariance)
            return
        if self.knows_by_direction:
            for view in views:
                view.refresh_triangular(view.covariance(counts))
        else:
            self.familiarity.refresh([view.refresh(view.covariance(counts)) for view in views])
        if not self.learns_weights:
            self.concentrations = self.concentrations.new_full((1,), float(self.settings.concentration))
        shares = self.concentrations / self.concentrations.sum().clamp_min(1e-12)
        self.shares = torch.cat([shares[row].expand(view.size) for row, view in enumerate(views)])
        if self.likeness is not None:
            self.likeness.refresh([view.directions for view in views])
        if self.near is not None:
            self.near.refresh()

    def _compare_distances(self, view: View, covariance: Tensor) -> None:
        """Linear discriminants relative to the mean of the classes, without the common term."""
        correlation, scale = view.correlation(covariance)
        self.centre = view.means.mean(dim=0)
        means = (view.means.double() - self.centre) / scale
        solved = torch.linalg.solve(correlation, means.T).T  # (C, S)
        bias = -0.5 * (solved * means).sum(dim=1)
        self.weight = ((solved - solved.mean(dim=0)) / scale).float()
        self.bias = (bias - bias.mean()).float()
