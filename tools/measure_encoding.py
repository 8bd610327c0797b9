"""Measure the CPU cost of encoding a clip in PyTorch and in onnxruntime, in interleaved rounds.

python tools/measure_encoding.py VIDEO --set backbone.source=DIR encodes one training clip of a folder's recipe (centre
view and draws) and prints median CPU seconds of one process. Preparing the pictures is not included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from stpr.train.data.clips import load_draws
from stpr.train.learning.frozen_pass import FrozenPass
from stpr.train.methods.build import build_model, settle
from stpr.train.settings.load import folder_recipe

TABLES: Final = {
    "name": "encoding",
    "data": {"kind": "csv", "root": ".", "file": "none.csv", "videos": ""},
    "stages": {"classes": [["a", "b"]]},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    recipe, _ = settle(folder_recipe(TABLES, changes=options.changes))
    encoder, sampling = build_model(recipe).encoder, recipe.sampling

    def decode() -> torch.Tensor:
        views = load_draws(options.video, draws=sampling.draws, spec=encoder.pixels, sampling=sampling, seed=0)
        return torch.from_numpy(views)

    def by_pytorch() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([encoder.frozen(view[None]) for view in clip])

    clip, quick = decode(), FrozenPass()
    opening = _cpu(lambda: quick(encoder, clip[:1, :1]))
    if quick.note:
        raise SystemExit(quick.note)
    ways = {"decoding, pictures": decode, "PyTorch": by_pytorch, "onnxruntime": lambda: quick(encoder, clip)}
    ours, theirs = by_pytorch(), quick(encoder, clip)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, work in ways.items():
            taken[way].append(_cpu(work))
    frames = clip.shape[0] * clip.shape[1]
    print(f"{frames} frames of a clip, {torch.get_num_threads()} threads; onnxruntime opened in {opening:.1f} s")
    print("| | CPU ms a frame | least |\n|---|---|---|")
    for way, seconds in taken.items():
        print(f"| {way} | {statistics.median(seconds) / frames * 1e3:.1f} | {min(seconds) / frames * 1e3:.1f} |")
    off = float((ours - theirs).abs().max() / ours.abs().max())
    print(f"features differ by at most {off:.1e} of the largest")


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
