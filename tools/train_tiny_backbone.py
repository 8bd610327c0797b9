"""Train the tiny frozen backbone of the embedded demo: a CLIP vision tower that encodes an actor's pose in ONE still.

It sees stills of train actors only, never a motion or the name of an action, and learns to predict the pose (x, y,
log size, cosine and sine of the angle) through a linear head that is discarded. The result loads through
`transformers` like any other CLIP.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stpr.runtime import motions
from stpr.runtime.contract.preprocess import PreprocessSpec, preprocess

IMAGE_SIZE, PATCH, WIDTH = 48, 8, 64
GRID = IMAGE_SIZE // PATCH
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SPEC = PreprocessSpec(height=IMAGE_SIZE, width=IMAGE_SIZE, resize="crop", crop_fraction=1.0, mean=MEAN, std=STD)
POSES_PER_SCENE = 8
HELD_OUT_SCENES = 500
# Centre and half width of the poses drawn, for x, y, log size, angle: a little more than the range of all actions.
CENTRE, SPREAD = np.array([0.5, 0.52, 0.0, 0.0]), np.array([0.36, 0.34, 0.66, 1.5])
README = """# tiny

A frozen image backbone for the embedded `motions` set: a CLIP vision tower of {parameters:,} parameters
({width} wide, {layers} layers). It was taught, on {stills:,} single stills of train actors, to tell the pose of the
actor; it has seen no motion and no name of an action.

Made by `python tools/train_tiny_backbone.py --seed {seed} --steps {steps} --scenes {scenes}`.
Licence: Apache-2.0.

Error on {held_out:,} stills of actors and scenes never seen (root mean square; and the same for a guess at the centre):

| | error | guess |
|---|---|---|
{rows}
"""


@dataclass(frozen=True, slots=True)
class Stills:
    """Pictures `(N, H, W, 3)` uint8; targets `(N, 5)`: x, y, log size (scaled to -1..1), cos and sin of the angle."""

    images: Tensor
    targets: Tensor


def draw_stills(split: motions.Split, *, scenes: int, seed: int) -> Stills:
    """Draw actors in random poses, a few per scene; `seed` makes calls differ."""
    rng = np.random.default_rng([seed, motions.ACTORS[split].start])
    images = np.empty((scenes, POSES_PER_SCENE, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    poses = CENTRE + SPREAD * rng.uniform(-1.0, 1.0, (scenes, POSES_PER_SCENE, 4))
    for index, some in enumerate(poses):
        drawn = motions.draw(some, actor_split=split, seed=int(rng.integers(2**32)))
        images[index] = [preprocess(image, SPEC) for image in drawn]
    targets = as_targets(poses.reshape(-1, 4))
    return Stills(torch.from_numpy(images).flatten(0, 1), torch.from_numpy(targets))


def as_targets(poses: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convert poses `(N, 4)` to regression targets `(N, 5)` of similar scale."""
    scaled = (poses[:, :3] - CENTRE[:3]) / SPREAD[:3]
    angle = poses[:, 3:]
    return np.concatenate([scaled, np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def as_maps(targets: Tensor) -> Tensor:
    """Heat maps over the grid of patches, `(N, GRID * GRID, 2)` in 0..1: the actor's body, and its head."""
    place = targets[:, :3] * torch.from_numpy(SPREAD[:3]).float() + torch.from_numpy(CENTRE[:3]).float()
    centre, radius = place[:, :2], motions.RADIUS * place[:, 2:].exp()
    head = centre + 0.75 * radius * torch.stack([targets[:, 4], -targets[:, 3]], dim=1)
    ticks = (torch.arange(GRID) + 0.5) / GRID
    patches = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).flatten(0, 1)
    return torch.stack([nearness(patches, centre, radius), nearness(patches, head, radius / 2)], dim=-1)


def nearness(patches: Tensor, spot: Tensor, radius: Tensor) -> Tensor:
    """A Gaussian over the patches `(N, P)` around `spot` `(N, 2)`, at least about a patch wide."""
    distance = (patches[None] - spot[:, None]).square().sum(dim=-1)
    return torch.exp(-distance / (2 * (radius.square() + (0.5 / GRID) ** 2)))


def build() -> CLIPVisionModelWithProjection:
    """A new tiny tower; position embeddings start as a 2-D Fourier grid, which learns places far faster than noise."""
    config = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        projection_dim=64,
    )
    model = CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager")
    ticks = (torch.arange(GRID) + 0.5) / GRID
    rows, columns = (axis.flatten() for axis in torch.meshgrid(ticks, ticks, indexing="ij"))
    waves = math.pi * torch.arange(1, WIDTH // 4 + 1) / 4
    phases = [axis[:, None] * waves for axis in (rows, columns)]
    grid = torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], dim=1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("position_embedding.weight"):
                weights[1:] = 0.3 * grid
    return model


def embed(model: CLIPVisionModelWithProjection, images: Tensor) -> tuple[Tensor, Tensor]:
    """Projected features `(N, D)` of uint8 pictures `(N, H, W, 3)`, and the patch tokens that the last layer reads."""
    pixels = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    outputs = model(pixel_values=pixels.permute(0, 3, 1, 2).contiguous(), output_hidden_states=True)
    return outputs.image_embeds, outputs.hidden_states[-2][:, 1:]


def mirrored(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same stills in a mirror: x and the sine of the angle change sign."""
    return images.flip(2), targets * torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0])


def train(stills: Stills, *, steps: int, batch: int, rate: float) -> tuple[CLIPVisionModelWithProjection, nn.Linear]:
    """Regress the pose from stills; returns the tower and the head. A second head, on patch tokens, speeds it up."""
    model = build().train()
    head, finder = nn.Linear(model.config.projection_dim, stills.targets.shape[1]), nn.Linear(WIDTH, 2)
    parameters = [*model.parameters(), *head.parameters(), *finder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, steps))
    average = 0.0
    for step in range(steps):
        chosen = torch.randint(len(stills.images), (batch,))
        images, targets = stills.images[chosen], stills.targets[chosen]
        if step % 2:
            images, targets = mirrored(images, targets)
        features, tokens = embed(model, images)
        pose_loss = nn.functional.smooth_l1_loss(head(features), targets, beta=0.2)
        loss = pose_loss + 0.3 * nn.functional.binary_cross_entropy_with_logits(finder(tokens), as_maps(targets))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average += (pose_loss.item() - average) / min(step % 250 + 1, 250)
        if step % 250 == 249:
            click.echo(f"step {step + 1}/{steps}: pose loss {average:.4f}")
    return model.eval(), head.eval()


def warm_cosine(step: int, steps: int) -> float:
    """Learning rate factor: 5 % of linear warm-up, then half a cosine to 0."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def errors(model: CLIPVisionModelWithProjection, head: nn.Linear, stills: Stills) -> NDArray[np.float64]:
    """Root-mean-square errors `(2, 5)` per target: ours, and a guess at the mean's."""
    found = torch.cat([head(embed(model, images)[0]) for images in torch.split(stills.images, 256)])
    guess = stills.targets.mean(dim=0)
    both = torch.stack([found - stills.targets, guess - stills.targets])
    return np.asarray(both.square().mean(dim=1).sqrt().double())


def write_readme(out: Path, table: NDArray[np.float64], **facts: int) -> None:
    """Write a README beside the weights: what they are, and their errors."""
    units = [*SPREAD[:3], 1.0, 1.0]
    names = ("x (frame widths)", "y (frame widths)", "log size", "cosine of the angle", "sine of the angle")
    rows = "\n".join(
        f"| {name} | {ours * unit:.3f} | {guess * unit:.3f} |"
        for name, unit, ours, guess in zip(names, units, *table, strict=True)
    )
    (out / "README.md").write_text(README.format(rows=rows, **facts), encoding="utf-8")


def write_preprocessor(out: Path) -> None:
    """The image processor's settings, in the form of CLIP's."""
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": IMAGE_SIZE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "do_convert_rgb": True,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("train/model/tiny"), show_default=True
)
@click.option("--seed", default=0, show_default=True)
@click.option("--steps", default=6000, show_default=True, help="Optimizer steps of 64 stills.")
@click.option("--scenes", default=8000, show_default=True, help="Scenes drawn, eight stills each.")
@click.option("--threads", default=1, show_default=True)
def main(out: Path, seed: int, steps: int, scenes: int, threads: int) -> None:
    """Pretrain the tiny backbone on stills and write it to a folder."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    click.echo(f"Drawing {scenes * POSES_PER_SCENE} stills.")
    model, head = train(draw_stills("train", scenes=scenes, seed=seed), steps=steps, batch=64, rate=1.5e-3)
    held_out = draw_stills("test", scenes=HELD_OUT_SCENES, seed=seed)
    table = errors(model, head, held_out)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # it is written for its owner alone, which a wheel would keep
    write_preprocessor(out)
    config = model.config
    write_readme(
        out,
        table,
        parameters=sum(weights.numel() for weights in model.parameters()),
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        stills=scenes * POSES_PER_SCENE,
        held_out=len(held_out.images),
        seed=seed,
        steps=steps,
        scenes=scenes,
    )
    click.echo((out / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
