"""Whether a clip shows one whole action: the evidence that events are made of.

While the live window slides over an action it sees the action coming, whole, and going; between two actions it sees the
end of one and the start of another, or a pause. What those moments look like is made from the training clips: halves
beside a still frame or beside another clip's half. Means of such fragments are directions like a class's, and are
never said. Four numbers tell a whole action from a fragment, each kind Gaussian with one covariance: closed form, no
clip kept, and the same weights for all classes.

A class that is told by its look (a hand shape) has no such parts: one still frame of it points where its clips point,
so half a clip beside a still frame shows the class and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHOLE, PART = 1 / 8, 3 / 8  # missing up to this share a clip is whole, from that share on it is a part
PENALTY: Final = 1e4  # nats for a clip in which nothing happens; continuous, so that rounding decides nothing
LOOK: Final = 0.5  # mean cosine of clips with their own middle frames, from which on a class is told by its look
RIDGE: Final = 1e-6  # of the four numbers' variance: few clips may agree in one of them


Hold: TypeAlias = Callable[[Tensor], Tensor]  # frame features -> those of the same frames if nothing moved in them


class Fragments(NamedTuple):
    """Clips `(n, T, D)` that show no whole action, made from n whole ones."""

    coming: Tensor  # a still start, then the first half
    going: Tensor  # the second half, then a still end
    still: Tensor  # one frame for the entire time
    between: Tensor  # (2n, T, D): half of one, half of another; the still end of one, the still start of another


def fragments(features: Tensor, others: Tensor, hold: Hold) -> Fragments:
    """The fragments of whole clips `(n, T, D)`; each is joined to the clip of `others` `(n, T, D)` beside it."""
    half = features.shape[1] // 2
    coming, going, joined, cut = _shifted(features, others, half, hold)
    return Fragments(coming, going, held_still(features, hold), torch.cat([joined, cut]))


class Slid(NamedTuple):
    """What a window sees while it slides over n whole clips: clips `(m, T, D)`, n of each kind after the other."""

    clips: Tensor
    whole: Tensor  # (m,): shows one whole action
    mostly: Tensor  # (m,): the largest share of the time that shows one clip, be it held still


def slid(features: Tensor, others: Tensor, hold: Hold) -> Slid:
    """Slide a window over whole clips `(n, T, D)`, each joined to the one of `others` beside it.

    Windows in between, neither whole nor a part, are left out. The first kind are the clips as they are, the second the
    same held still.
    """
    count, frames = features.shape[:2]
    clips, whole, mostly = [features, held_still(features, hold)], [True, False], [1.0, 1.0]
    for missing in range(1, frames):
        coming, going, joined, cut = _shifted(features, others, missing, hold)
        share = max(missing, frames - missing) / frames
        clips.append(cut)
        whole.append(False)
        mostly.append(share)
        if missing / frames <= WHOLE or missing / frames >= PART:
            clips += [going, joined]
            whole += [missing / frames <= WHOLE] * 2
            mostly += [1.0, share]
        shown = missing / frames  # `coming` shows the first `missing` frames
        if shown >= 1 - WHOLE or shown <= 1 - PART:
            clips.append(coming)
            whole.append(shown >= 1 - WHOLE)
            mostly.append(1.0)
    marks = (torch.tensor(mark, device=features.device).repeat_interleave(count) for mark in (whole, mostly))
    return Slid(torch.cat(clips), *marks)


def held_still(features: Tensor, hold: Hold) -> Tensor:
    """Clips `(n, T, D)` with their middle frame for the entire time."""
    half = features.shape[1] // 2
    return hold(features[:, half : half + 1]).expand_as(features)


def told_by_look(alike: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Which classes `(c,)` one still frame of theirs tells; one without a clip here is none of them.

    `alike` `(n,)` is the cosine of each clip with the same held still, `labels` `(n,)` count from 0.
    """
    own = F.one_hot(labels, classes).to(alike)
    return alike @ own > LOOK * own.sum(dim=0).clamp_min(1)


def _shifted(features: Tensor, others: Tensor, shift: int, hold: Hold) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coming, going, joined and cut after the window moved on by `shift` of T frames."""
    rest = features.shape[1] - shift
    first, last, start = hold(features[:, :1]), hold(features[:, -1:]), hold(others[:, :1])
    return (
        torch.cat([first.expand(-1, rest, -1), features[:, :shift]], dim=1),
        torch.cat([features[:, shift:], last.expand(-1, shift, -1)], dim=1),
        torch.cat([features[:, shift:], others[:, :shift]], dim=1),
        torch.cat([last.expand(-1, rest, -1), start.expand(-1, shift, -1)], dim=1),
    )


class Wholeness(nn.Module):
    """Where descriptions point `(B, S)`, view by view -> evidence `(B, C)`: log odds of one whole action of each class.

    Kept: the mean description of each class's coming and going half `(C, 2, S)`, of stillness and of what lies between
    `(2, S)` with the number of clips behind them, each class's least energy `(C,)`, and five weights. The rest is
    derived.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.halves: Tensor
        self.pauses: Tensor
        self.count: Tensor
        self.weight: Tensor
        self.bias: Tensor
        self.directions: Tensor
        self.register_buffer("halves", torch.zeros(0, 2, size))
        self.register_buffer("pauses", torch.zeros(2, size))
        self.register_buffer("count", torch.zeros(()))
        self.floors: Tensor
        self.register_buffer("floors", torch.zeros(0))
        self.register_buffer("weight", torch.zeros(4))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("directions", torch.zeros(0, size), persistent=False)  # (2 + 2C, S)

    @property
    def is_calibrated(self) -> bool:
        """Whether there ever were held-out clips enough to weigh the numbers; else there is no evidence."""
        return bool(self.weight.any())

    def update(self, described: Fragments, labels: Tensor, floors: Tensor, look: Tensor) -> None:
        """Add a stage's classes: the fragments' descriptions `(n, S)`, `labels` `(n,)` from 0 within the stage.

        `floors` `(c,)` is the least energy of each class, 0 where nobody knows one. Of those told by their `look`
        `(c,)` no half is a part; in its place stands what lies between two actions.
        """
        classes = len(floors)
        self.floors = torch.cat([self.floors, floors.to(self.floors)])
        one_hot = F.one_hot(labels, classes).to(described.coming)
        share = one_hot.T / one_hot.sum(dim=0)[:, None]
        halves = torch.stack([share @ described.coming, share @ described.going], dim=1)
        halves[look] = described.between.mean(dim=0)
        self.halves = torch.cat([self.halves, halves])
        new = torch.stack([described.still.mean(dim=0), described.between.mean(dim=0)])
        total = self.count + len(labels)
        self.pauses = (self.pauses * self.count + new * len(labels)) / total
        self.count = total

    def resize(self, classes: int) -> None:
        """Give what is kept the size that it has for so many classes, and no values."""
        self.halves = self.halves.new_zeros(classes, *self.halves.shape[1:])
        self.floors = self.floors.new_zeros(classes)

    def refresh(self, point: Callable[[Tensor], Tensor], shares: Tensor) -> None:
        """Derive the directions: where what is kept points `(n, S)`, each view by its share of all weight `(S,)`."""
        kept = torch.cat([self.pauses, self.halves.flatten(0, 1)])
        self.directions = shares * point(kept)

    def calibrate(self, numbers: Tensor, whole: Tensor) -> None:
        """Set the weights from `measure`'s numbers `(m, 4)` of the class that each clip is taken for.

        `whole` `(m,)` says which clips show one whole action and are taken for the right class. Linear discriminant:
        replaces the weights of the stage before, which knew fewer classes.
        """
        groups = [numbers[whole].double(), numbers[~whole].double()]
        means = [group.mean(dim=0) for group in groups]
        centred = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
        covariance = centred.T @ centred / len(centred)
        covariance = covariance + RIDGE * covariance.diagonal().mean() * torch.eye(4).to(covariance)
        weight = torch.linalg.solve(covariance, means[0] - means[1])
        self.weight = weight.float()
        odds = torch.log(torch.tensor(len(groups[0]) / len(groups[1]), dtype=torch.float64))
        self.bias = (odds - weight @ (means[0] + means[1]) / 2).float()

    def measure(self, pointed: Tensor, length: Tensor, cosines: Tensor) -> Tensor:
        """The four numbers of every class `(B, C, 4)`, from where clips point `(B, S)`, how far `(B, 1)`, and cosines.

        How far the cosine `(B, C)` lies above the best other class's, above the best fragment's, above that of what
        lies between two actions; and the log of the description's length.
        """
        unlike = pointed @ self.directions.T
        best = cosines.amax(dim=1, keepdim=True)
        # The best of the others: for the best class itself, the second.
        second = cosines.masked_fill(cosines == best, -1.0).amax(dim=1, keepdim=True)
        rival = torch.where(cosines == best, second, best)
        columns = (cosines - rival, cosines - unlike.amax(dim=1, keepdim=True), cosines - unlike[:, 1:2])
        # Spread over the classes by a sum: an expansion would ask for a shape, which some engines compute on the CPU.
        return torch.stack([*columns, length.clamp_min(1e-12).log() + 0 * cosines], dim=-1)

    def forward(self, pointed: Tensor, length: Tensor, cosines: Tensor, energies: Tensor) -> Tensor:
        """Evidence `(B, C)`; next to none for a class in which more happens than in clips of these energies `(B,)`."""
        missing = F.relu(1 - energies[:, None] / self.floors.clamp_min(1e-6))
        return self.measure(pointed, length, cosines) @ self.weight + self.bias - PENALTY * missing
