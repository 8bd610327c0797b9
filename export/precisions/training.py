"""Load the calibration data of a precision: training clips of the exported stage, no older ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stpr.export.parity.certificate import Calibration
from stpr.export.precisions.variant import Training
from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Array
from stpr.train.data.clips import load_ahead, load_clip
from stpr.train.data.pixels import PixelSpec
from stpr.train.data.source import read_lists, skip_list
from stpr.train.data.videos import content_digest
from stpr.train.run.checkpoint import StageRecord
from stpr.train.settings.recipe import Recipe

CLIPS: Final = 96
FEWEST: Final = 48


def training_clips(recipe: Recipe, record: StageRecord) -> Training:
    """One frame of each of up to CLIPS training clips of the newest stage, spread over its classes.

    Raises DataError if fewer than FEWEST are available.
    """
    classes = record.stages[-1]
    listed = read_lists(recipe.data, record.stages[:-1], skip_list(recipe.data))
    groups = [[one.path for one in listed.videos if one.split == "train" and one.label == name] for name in classes]
    share = -(-CLIPS // len(classes))
    videos = [path for paths in groups for path in paths[:: max(1, len(paths) // share)][:share]]
    gone = [path for path in videos if not path.is_file()]
    if gone or len(videos) < FEWEST:
        what = f"{len(gone)} of them are gone, such as {gone[0]}" if gone else f"there are {len(videos)}"
        raise DataError(
            f"int8 is calibrated on at least {FEWEST} training clips of the stage, but {what}; add more, or"
            " export with --precision fp16 or fp32."
        )
    spec = PixelSpec(record.preprocess, record.motion)

    def load(item: tuple[int, Path]) -> dict[str, Array]:
        place, video = item
        clip = load_clip(video, spec=spec, sampling=recipe.sampling, rng=None)
        frames, greys = spec.split(clip[place % len(clip)][None])
        return {"frames": frames} if greys is None else {"frames": frames, "greys": greys}

    def feeds() -> Iterator[dict[str, Array]]:
        return load_ahead(enumerate(videos), load, workers=recipe.sampling.workers)

    digest = hashlib.sha256("".join(map(content_digest, videos)).encode()).hexdigest()
    return Training(feeds, Calibration(clips=len(videos), sha256=digest))
