"""Evidence: the log odds that a clip shows one whole action, from which events are made.

A live window that slides over an action shows the action coming, whole, and going; between two actions it shows the end
of one and the start of another, or a pause. Such fragments are made from the training clips: half a clip joined to a
still frame or to half of another clip. Mean fragments are directions like those of classes, but are never predicted;
nor are a few means of what moves in background videos.
Four numbers distinguish whole actions from fragments, each group Gaussian with a shared covariance: closed form, no
clip stored, and the same weights for all classes. Where motion is described relative to how much moves, half an action
looks like more than half of one; a fifth number says how alike the two halves of a clip move in amount.

Classes recognised by appearance (such as hand shapes) have no such halves: a still frame points in the same direction
as the clip, so half a clip joined to a still frame still shows the class. They are told
from their fragments by how alike the two halves of a clip look. That holds for another person too, while margins
between classes shrink, and it needs no weights fitted to few clips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHOLE, PART = 1 / 8, 3 / 8  # missing share up to which a clip counts as whole, and from which it is a fragment
PENALTY: Final = 1e4  # nats for a clip without motion; applied continuously, so that rounding has no effect
DOUBT: Final = 20.0  # nats per unit of cosine by which a clip resembles a fragment more than the class
# By how much the mean cosine of a class's clips with their own middle frames exceeds that with the mean of all stills
# if it is recognised by appearance. Of hand shapes it is 0.66 to 0.95, of movements up to 0.2.
LOOK: Final = 0.4
# The cosine of how a clip's halves look from which it shows one look, and nats per unit below it. Halves of two classes
# are at right angles on average, those of one clip at 0.4 to 0.8, whoever shows it.
ALIKE: Final = 0.5
UNLIKE: Final = 8.0
RIDGE: Final = 1e-6  # relative to the variance of the numbers, which may vanish for few clips


Hold: TypeAlias = Callable[[Tensor], Tensor]  # frame features -> the same without motion


class Fragments(NamedTuple):
    """Clips `(n, T, D)` that do not show a whole action, made from n whole ones."""

    coming: Tensor  # a still start, then the first half
    going: Tensor  # the second half, then a still end
    still: Tensor  # one frame, repeated
    between: Tensor  # (2n, T, D): halves of two clips; still end of one, still start of another


def fragments(features: Tensor, others: Tensor, hold: Hold) -> Fragments:
    """Make fragments of whole clips `(n, T, D)`; each is joined to the clip in the same row of `others` `(n, T, D)`."""
    half = features.shape[1] // 2
    coming, going, joined, cut = _shifted(features, others, half, hold)
    return Fragments(coming, going, held_still(features, hold), torch.cat([joined, cut]))


class Slid(NamedTuple):
    """Windows that slide over n whole clips: `(m, T, D)`, n of each offset after the other."""

    clips: Tensor
    whole: Tensor  # (m,) whether it shows one whole action


def slid(features: Tensor, others: Tensor, hold: Hold) -> Slid:
    """Slide a window over whole clips `(n, T, D)`, each joined to the clip in the same row of `others`.

    Offsets that are neither whole nor a fragment are left out. The first n windows are the clips themselves, the next
    n the clips as stills.
    """
    count, frames = features.shape[:2]
    clips, whole = [features, held_still(features, hold)], [True, False]
    for missing in range(1, frames):
        coming, going, joined, cut = _shifted(features, others, missing, hold)
        clips.append(cut)
        whole.append(False)
        if missing / frames <= WHOLE or missing / frames >= PART:
            clips += [going, joined]
            whole += [missing / frames <= WHOLE] * 2
        shown = missing / frames  # `coming` shows the first `missing` frames
        if shown >= 1 - WHOLE or shown <= 1 - PART:
            clips.append(coming)
            whole.append(shown >= 1 - WHOLE)
    return Slid(torch.cat(clips), torch.tensor(whole, device=features.device).repeat_interleave(count))


def held_still(features: Tensor, hold: Hold) -> Tensor:
    """Replace clips `(n, T, D)` by their middle frame, repeated."""
    half = features.shape[1] // 2
    return hold(features[:, half : half + 1]).expand_as(features)


def recognised_by_look(alike: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Which classes `(c,)` are recognised by appearance, from one still frame; False for classes without a clip.

    `alike` `(n,)` is by how much more each clip resembles its still version than stills of all classes; those all
    resemble the class that moves least. `labels` `(n,)` count from 0.
    """
    own = F.one_hot(labels, classes).to(alike)
    return alike @ own > LOOK * own.sum(dim=0).clamp_min(1)


def _shifted(features: Tensor, others: Tensor, shift: int, hold: Hold) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coming, going, joined and cut windows for an offset of `shift` of T frames."""
    rest = features.shape[1] - shift
    first, last, start = hold(features[:, :1]), hold(features[:, -1:]), hold(others[:, :1])
    return (
        torch.cat([first.expand(-1, rest, -1), features[:, :shift]], dim=1),
        torch.cat([features[:, shift:], last.expand(-1, shift, -1)], dim=1),
        torch.cat([features[:, shift:], others[:, :shift]], dim=1),
        torch.cat([last.expand(-1, rest, -1), start.expand(-1, shift, -1)], dim=1),
    )


class Wholeness(nn.Module):
    """Cosines with classes and fragments -> evidence `(B, C)`: log odds of one whole action of each class.

    Stored: the mean description of each class's coming and going half `(C, 2, S)`, of still clips and of transitions
    `(2, S)` with their clip counts, of groups of background windows `(K, S)`, each class's minimum energy `(C,)`, five
    fitted weights, and how much a more similar fragment counts. The rest is derived.
    """

    def __init__(self, size: int, numbers: int = 4) -> None:
        super().__init__()
        self.halves: Tensor
        self.pauses: Tensor
        self.count: Tensor
        self.background: Tensor
        self.weight: Tensor
        self.bias: Tensor
        self.doubt: Tensor
        self.register_buffer("halves", torch.zeros(0, 2, size))
        self.register_buffer("pauses", torch.zeros(2, size))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("background", torch.zeros(0, size))
        self.floors: Tensor
        self.register_buffer("floors", torch.zeros(0))
        self.register_buffer("weight", torch.zeros(numbers))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("doubt", torch.zeros(0))  # (1,) from the first stage on; empty in earlier runs

    @property
    def is_calibrated(self) -> bool:
        """Whether there have been enough held-out clips to fit the weights; without them there is no evidence."""
        return bool(self.weight.any())

    def mean_still(self, still: Tensor) -> Tensor:
        """The mean description `(S,)` of stills, of all classes so far and those `(n, S)` of a new stage."""
        return (self.pauses[0] * self.count + still.sum(dim=0)) / (self.count + len(still))

    def update(self, described: Fragments, labels: Tensor, floors: Tensor, look: Tensor) -> None:
        """Add a stage's classes: the fragments' descriptions `(n, S)`, `labels` `(n,)` from 0 within the stage.

        `floors` `(c,)` is the minimum energy of each class, 0 if unknown. For classes recognised by appearance (`look`
        `(c,)`), halves are not fragments; transitions take their place.
        """
        classes = len(floors)
        self.floors = torch.cat([self.floors, floors.to(self.floors)])
        one_hot = F.one_hot(labels, classes).to(described.coming)
        share = one_hot.T / one_hot.sum(dim=0)[:, None]
        halves = torch.stack([share @ described.coming, share @ described.going], dim=1)
        halves[look] = described.between.mean(dim=0)
        self.halves = torch.cat([self.halves, halves])
        total = self.count + len(labels)
        between = (self.pauses[1] * self.count + described.between.mean(dim=0) * len(labels)) / total
        self.pauses = torch.stack([self.mean_still(described.still), between])
        self.count = total
        self.doubt = total.new_tensor([DOUBT])

    def resize(self, classes: int) -> None:
        """Resize the stored tensors for `classes` classes, without setting values."""
        self.halves = self.halves.new_zeros(classes, *self.halves.shape[1:])
        self.floors = self.floors.new_zeros(classes)

    @property
    def moving(self) -> Tensor:
        """Which classes `(C,)` are recognised by how they move; those recognised by appearance have no halves."""
        return (self.halves[:, 0] != self.halves[:, 1]).any(dim=1)

    @property
    def parts(self) -> Tensor:
        """Mean descriptions `(2 + 2C + K, S)` of stills, of transitions, of halves, and of background windows."""
        background = [self.background] if len(self.background) else []  # nothing empty in the graphs
        return torch.cat([self.pauses, self.halves.flatten(0, 1), *background])

    def calibrate(self, numbers: Tensor, whole: Tensor) -> None:
        """Fit the weights to `measure`'s numbers `(m, N)` for each clip's predicted class, as a linear discriminant.

        `whole` `(m,)` marks clips that show one whole action and are classified correctly. Replaces the weights of the
        previous stage, which were fitted with fewer classes.
        """
        groups = [numbers[whole].double(), numbers[~whole].double()]
        means = [group.mean(dim=0) for group in groups]
        centred = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
        covariance = centred.T @ centred / len(centred)
        covariance = covariance + RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
        weight = torch.linalg.solve(covariance, means[0] - means[1])
        self.weight = weight.float()
        odds = torch.log(torch.tensor(len(groups[0]) / len(groups[1]), dtype=torch.float64))
        self.bias = (odds - weight @ (means[0] + means[1]) / 2).float()

    def measure(self, unlike: Tensor, length: Tensor, cosines: Tensor, balance: Tensor | None = None) -> Tensor:
        """The numbers per class `(B, C, N)`, from cosines with `parts` and classes, and lengths `(B, 1)`.

        The cosine's margin over the best other class, over the best fragment, and over transitions; the log length of
        the description; and the `balance` `(B,)` of the clips' halves, if there is one.
        """
        best = cosines.amax(dim=1, keepdim=True)
        # The best other class; for the best class itself this is the second best.
        second = cosines.masked_fill(cosines == best, -1.0).amax(dim=1, keepdim=True)
        rival = torch.where(cosines == best, second, best)
        columns = (cosines - rival, cosines - unlike.amax(dim=1, keepdim=True), cosines - unlike[:, 1:2])
        # Broadcast by a sum: an expand would need a shape computation, which some engines run on the CPU.
        whole = [length.clamp_min(1e-12).log() + 0 * cosines]
        if balance is not None:
            whole.append(balance[:, None] + 0 * cosines)
        return torch.stack([*columns, *whole], dim=-1)

    def forward(self, numbers: Tensor, energies: Tensor, alike: Tensor | None) -> Tensor:
        """Evidence `(B, C)` from `measure`'s numbers `(B, C, N)`, the clips' motion energies `(B,)` and halves.

        For a class recognised by appearance it depends on how `alike` `(B,)` the clips' halves look (None: no class
        is). Reduced where a fragment or background resembles the clip more than the class does, which few clips to fit
        the weights to often don't show; very low for a class whose minimum energy exceeds the clips'.
        """
        missing = F.relu(1 - energies[:, None] / self.floors.clamp_min(1e-6))
        evidence = numbers @ self.weight + self.bias
        if alike is not None:
            looks = UNLIKE * (alike.clamp_max(ALIKE) - ALIKE / 2)
            evidence = torch.where(self.moving, evidence, looks[:, None])
        if len(self.doubt):
            evidence = evidence - self.doubt * F.relu(-numbers[..., 1])
        return evidence - PENALTY * missing
