"""Measure the gain from tuning the blocks before the inner layers on stage 1, frozen in all later stages."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from math import prod
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.stages import Stage
from stpr.train.data.videos import quiet_decoder
from stpr.train.datasets.annotations import Split
from stpr.train.learning.distributed import ALONE
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.losses.preservation import importance
from stpr.train.methods.build import build_model
from stpr.train.model.backbone import Backbone, load_backbone, spread
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.clips import VideoClips
from stpr.train.run.prepare import Prepared, Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import learn_stages
from stpr.train.run.trainers import Trainers
from stpr.train.settings.learning import PreservationSettings
from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe

AT_ONCE: Final = 32  # frames per call of the blocks
MOST_DRAWS: Final = 8  # draws per clip to tune on; the statistics are learnt from other draws
MOMENTUM: Final = 0.9


class Blocks(nn.Module):
    """The blocks of a MobileNetV2 that make its inner layers, batch norms folded in: `(N, C, h, w)` -> `(N, I)`.

    Blocks from `first` on are trainable. With the norms folded, a step changes a weight in proportion to its effect on
    the output, independent of the scale of the norm after it.
    """

    def __init__(self, backbone: Backbone, first: int) -> None:
        super().__init__()
        self.start, self.inner = min(first, *backbone.inner), backbone.inner
        network: Any = backbone.network
        self.layers: nn.ModuleList = copy.deepcopy(network.layer[self.start : max(backbone.inner) + 1])
        for part in self.layers.modules():
            if hasattr(part, "convolution"):
                part.convolution = fuse_conv_bn_eval(part.convolution, part.normalization)
                part.normalization = nn.Identity()
        self.layers[first - self.start :].requires_grad_(requires_grad=True)

    def forward(self, entering: Tensor) -> Tensor:
        """The inner layers' features, as the backbone computes them."""
        found = {}
        for number, layer in enumerate(self.layers, start=self.start):
            entering = layer(entering)
            if number in self.inner:
                found[number] = spread(entering)
        return torch.cat([found[number] for number in self.inner], dim=1)

    @torch.no_grad()
    def of_all(self, entering: Tensor) -> Tensor:
        """The same for `(…, C, h, w)` float16, a few frames at a time: `(…, I)`."""
        lead = entering.shape[:-3]
        parts = torch.split(entering.flatten(0, len(lead) - 1), AT_ONCE)
        return torch.cat([self(part.float()) for part in parts]).reshape(*lead, -1)


def showing_entering(recipe: Recipe, start: int) -> tuple[FrameEncoder, tuple[int, int, int]]:
    """The recipe's encoder with the input of block `start` as further inner columns, and its shape (C, h, w)."""
    backbone, held = load_backbone(recipe.backbone.source, recipe.backbone.inner), list[Tensor]()
    network: Any = backbone.network
    network.layer[start].register_forward_pre_hook(lambda _, given: held.append(given[0]))
    plain = backbone.forward

    def forward(pixels: Tensor) -> Tensor:
        held.clear()
        return torch.cat([plain(pixels), held[0].flatten(1)], dim=1)

    with torch.no_grad():
        plain(torch.zeros(1, 3, backbone.spec.height, backbone.spec.width))
    shape: tuple[int, int, int] = tuple(held[0].shape[1:])  # type: ignore[assignment]
    backbone.forward = forward  # type: ignore[method-assign]
    backbone.layer_widths += (held[0].numel(),)
    return build_model(recipe, backbone).encoder.eval(), shape


@dataclasses.dataclass
class Kept:
    """The clips of a run, each encoded once by `wide`; tuned `blocks`, if set, recompute their inner columns."""

    clips: VideoClips
    wide: FrameEncoder
    shape: tuple[int, int, int]  # of what enters the blocks
    blocks: Blocks | None = None
    seen: dict[tuple[int, Split], tuple[FrozenFeatures, Tensor]] = dataclasses.field(default_factory=dict)

    def train(self, encoder: FrameEncoder, stage: Stage) -> FrozenFeatures:
        """As every source of clips."""
        return self._inputs(encoder, stage, "train")

    def test(self, encoder: FrameEncoder, stage: Stage) -> FrozenFeatures:
        """As every source of clips."""
        return self._inputs(encoder, stage, "test")

    def entering(self, stage: Stage, split: Split) -> tuple[FrozenFeatures, Tensor]:
        """Frozen features `(n, V, T, F)`, and what enters the blocks `(n, V, T, C, h, w)` float16."""
        if (stage.index, split) not in self.seen:
            found = self.clips.train(self.wide, stage) if split == "train" else self.clips.test(self.wide, stage)
            assert isinstance(found, FrozenFeatures)
            lead, entering = found.features.shape[:3], prod(self.shape)
            start = self.wide.backbone.width + self.wide.backbone.inner_width - entering
            kept = found.features[..., start : start + entering].half().reshape(*lead, *self.shape)
            rest = [found.features[..., :start], found.features[..., start + entering :]]
            found.features = torch.cat(rest, dim=-1)
            self.seen[stage.index, split] = found, kept
        return self.seen[stage.index, split]

    def _inputs(self, encoder: FrameEncoder, stage: Stage, split: Split) -> FrozenFeatures:
        found, entering = self.entering(stage, split)
        if self.blocks is None:
            return found
        tuned, start = copy.copy(found), encoder.backbone.width
        behind = found.features[..., start + encoder.backbone.inner_width :]
        tuned.features = torch.cat([found.features[..., :start], self.blocks.of_all(entering), behind], dim=-1)
        return tuned


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Settings of the tuning."""

    steps: int
    rate: float
    temperature: float
    hold: float


def tune(blocks: Blocks, entering: Tensor, labels: Tensor, how: Tuning) -> Blocks:
    """Tune the blocks on single frames of `(n, V, T, C, h, w)`: cosine with learnt class vectors, and FSSD."""
    frozen, blocks, rng = blocks, copy.deepcopy(blocks), np.random.default_rng(0)
    before = frozen.of_all(entering)  # (n, V, T, I)
    per_frame, classes = before.flatten(1, 2), int(labels.max()) + 1
    means = torch.stack([per_frame[labels == place].mean(dim=(0, 1)) for place in range(classes)])
    within = (per_frame - means[labels][:, None]).square().mean(dim=(0, 1)).sqrt().clamp_min(1e-6)
    middle = means.mean(dim=0)
    vectors = nn.Parameter(F.normalize((means - middle) / within, dim=1))
    settings = PreservationSettings(normalise=False, variance="frames")
    matter = importance((per_frame - middle) / within, labels, (means - middle) / within, settings)
    matter = matter / matter.mean(dim=1, keepdim=True)
    tuned = [value for value in blocks.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD([*tuned, vectors], lr=how.rate, momentum=MOMENTUM)
    rows_of = [torch.nonzero(labels == place)[:, 0].numpy() for place in range(classes)]
    for step in range(how.steps):
        optimizer.param_groups[0]["lr"] = how.rate * 0.5 * (1 + np.cos(np.pi * step / how.steps))
        rows = [rng.choice(rows_of[place]) for place in rng.integers(0, classes, AT_ONCE)]
        views, frames = (rng.integers(0, count, AT_ONCE) for count in before.shape[1:3])
        new, old, right = blocks(entering[rows, views, frames].float()), before[rows, views, frames], labels[rows]
        cosines = F.normalize((new - middle) / within, dim=1) @ F.normalize(vectors, dim=1).T
        loss = F.cross_entropy(cosines / how.temperature, right)
        if how.hold:
            loss = loss + how.hold * (matter[right] * ((new - old) / within).square()).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return blocks


def report_accuracy(name: str, prepared: Prepared, source: Kept, out: Path) -> None:
    """Train all stages on that source and print the final accuracy on all, the first and the later classes."""
    plan = prepared.plan
    with ShownProgress(quiet=True) as shown:
        trainers = Trainers(prepared, out / name, shown)
        torch.manual_seed(plan.recipe.seed)
        *_, last = learn_stages(plan, plan.build(), source, trainers.of)
    assert last.known is not None
    right, early = last.known.predicted == last.known.labels, last.known.stages == 1
    shares = [100 * float(part.mean()) for part in (right, right[early], right[~early])]
    click.echo(f"{name:<8} all {shares[0]:.1f} %, classes of stage 1 {shares[1]:.1f} %, later ones {shares[2]:.1f} %")


def draws_to_tune_on(source: Kept, stage: Stage) -> tuple[Tensor, Tensor]:
    """The blocks' input for stage 1's training clips, in draws that the statistics don't see, and their labels."""
    recipe = source.clips.recipe
    drawn = msgspec.structs.replace(recipe.sampling, draws=MOST_DRAWS)
    other = msgspec.structs.replace(recipe, sampling=drawn, seed=recipe.seed + 1_000_000)
    clips = dataclasses.replace(source.clips, recipe=other, _tests={})
    found, entering = Kept(clips, source.wide, source.shape).entering(stage, "train")
    return entering, found.labels


@click.command(cls=Command, extra="train")
@click.argument("recipe")
@click.option("--data", metavar="DIR", help="Where the videos lie.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--first", type=click.IntRange(min=1), default=12, show_default=True, help="The first block to tune.")
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True, help=f"Of {AT_ONCE} frames each.")
@click.option("--rate", type=float, default=0.01, show_default=True)
@click.option("--temperature", type=float, default=0.2, show_default=True)
@click.option("--hold", "holds", type=float, multiple=True, default=(0.0,), help="Weight of FSSD, or several; 0: none.")
def main(recipe: str, data: str | None, changes: tuple[str, ...], holds: tuple[float, ...], **how: Any) -> None:
    """Train RECIPE's stages on frozen features, then with blocks tuned on stage 1, and print the accuracies."""
    quiet_decoder()
    settings = load_recipe(recipe, changes=changes, root=data)
    with tempfile.TemporaryDirectory() as work, ShownProgress() as shown:
        prepared = prepare(settings, Request(out=Path(work) / "run"), shown, ALONE)
        assert prepared is not None  # a new run has all to learn
        backbone = prepared.model.encoder.backbone
        if not backbone.inner or not hasattr(backbone.network, "layer"):
            raise RecipeError("this measures a MobileNetV2 with inner layers: set backbone.source and backbone.inner.")
        if backbone.correlated:
            raise RecipeError("this measures inner layers alone: add --set 'backbone.correlations=[]'.")
        if (first := how.pop("first")) > max(backbone.inner):
            raise RecipeError(
                f"--first {first}: no inner layer ({list(backbone.inner)}) would change; take a lower one."
            )
        blocks = Blocks(backbone, first)
        source = Kept(prepared.clips, *showing_entering(prepared.plan.recipe, blocks.start))
        report_accuracy("frozen", prepared, source, Path(work))
        entering, labels = draws_to_tune_on(source, prepared.plan.stages[0])
        for weight in holds:
            source.blocks = tune(blocks, entering, labels, Tuning(**how, hold=weight))
            report_accuracy(f"hold {weight:g}", prepared, source, Path(work))


if __name__ == "__main__":
    main()
