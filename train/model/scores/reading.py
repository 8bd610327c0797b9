"""What class scores compute of clips, each step once, however many of a decision's numbers are made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from torch import Tensor

from stpr.train.model.directions import SHORTEST
from stpr.train.model.scores.view import View


class Reading:
    """Frame features of clips `(B, T, D)`, and what statistics compute of them; each is computed when first needed.

    Lists have one entry per view, whose descriptions have S columns.
    """

    def __init__(
        self,
        features: Tensor,
        describe: Callable[[Tensor], Tensor] | None = None,
        views: Sequence[tuple[View, slice]] = (),
    ) -> None:
        """`describe`: features -> descriptions; `views`: with the columns of each in a description."""
        self.features = features
        self._describe, self._views = describe, views

    @cached_property
    def described(self) -> Tensor:
        """The descriptions `(B, S)` of all views, one after the other."""
        assert self._describe is not None, "this head has no statistics"
        return self._describe(self.features)

    @cached_property
    def in_units(self) -> list[Tensor]:
        """The clips `(B, S)` centred on the classes, in units of the deviation of a class's clips."""
        return [view.in_units(self.described[:, place]) for view, place in self._views]

    @cached_property
    def whitened(self) -> list[Tensor]:
        """The clips `(B, S)`, whitened."""
        return [view.whiten(part) for (view, _), part in zip(self._views, self.in_units, strict=True)]

    @cached_property
    def lengths(self) -> list[Tensor]:
        """The distances `(B, 1)` of the whitened clips from the centre of the classes."""
        return [part.norm(dim=-1, keepdim=True) for part in self.whitened]

    @cached_property
    def pointed(self) -> list[Tensor]:
        """The directions `(B, S)` of the whitened clips from the centre of the classes."""
        parts = zip(self.whitened, self.lengths, strict=True)
        return [part / length.clamp_min(SHORTEST) for part, length in parts]

    @cached_property
    def directions(self) -> list[Tensor]:
        """The directions `(C, S)` of the classes."""
        return [view.directions for view, _ in self._views]

    @cached_property
    def cosines(self) -> list[Tensor]:
        """The cosines `(B, C)` of the clips with the classes."""
        return [part @ known.T for part, known in zip(self.pointed, self.directions, strict=True)]
