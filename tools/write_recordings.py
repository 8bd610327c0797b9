"""Write a folder of motions in which each recording has a place and an actor of its own, as users film actions.

Clips of one recording look alike and say so by their names (bob_2_3.mp4 is clip 3 of recording 2), or don't (--plain:
bob_007.mp4). Recordings of test/ never occur in train/.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final

import click
import numpy as np

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions import CLASSES, Around, Split, draw, hand_held, keyed_rng, trajectory, write_video

TESTED: Final = (5, 4)  # recordings and clips of each
FRAMES: Final = 32


@click.command(cls=Command, extra="train")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--recordings", default=4, show_default=True, help="Of each class in train/.")
@click.option("--clips", default=4, show_default=True, help="Of each recording.")
@click.option("--light", default=1.0, show_default=True, help="Mean brightness; below 1, recordings differ in it.")
@click.option("--plain", is_flag=True, help="Number the clips of a class without naming recordings.")
@click.option("--together", is_flag=True, help="Film all actions in each recording.")
@click.option("--actors", type=click.Choice(["train", "test"]), default="test", help="Whose recordings test/ has.")
def main(  # noqa: PLR0913  (one parameter per option is click's way)
    out: Path, recordings: int, clips: int, light: float, plain: bool, together: bool, actors: Split
) -> None:
    """Write OUT/train and OUT/test with a folder for each of the ten actions."""
    if out.exists():
        raise click.UsageError(f"{out} exists; name a new folder.")
    parts: tuple[tuple[Split, Split, int, int, int], ...] = (
        ("train", "train", 0, recordings, clips),
        ("test", actors, 500_000, *TESTED),
    )
    for split, of, first, takes, each in parts:
        for (number, label), take, clip in product(enumerate(CLASSES), range(takes), range(each)):
            seed = 100 * (first + 10_000 * number + take) + clip
            frames = _clip(label, of, first + take if together else seed // 100, seed, light)
            name = f"{take * each + clip + 1:03}" if plain else f"{take + 1}_{clip + 1}"
            (out / split / label).mkdir(parents=True, exist_ok=True)
            write_video(out / split / label / f"{label}_{name}.mp4", frames)


def _clip(label: str, actors: Split, recording: int, seed: int, light: float) -> Image:
    """One clip `(F, H, W, 3)` of a recording."""
    level = 1.0 if light == 1 else light * keyed_rng("group", recording).uniform(0.7, 1.4)
    around = Around(camera=hand_held(keyed_rng("cam", seed), FRAMES), light=np.full(FRAMES, level))
    return draw(trajectory(label, seed=seed, frames=FRAMES), actor_split=actors, seed=recording, around=around)


if __name__ == "__main__":
    main()
