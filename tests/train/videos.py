"""A folder of little videos, and a recipe that learns it in two stages in a second."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from stpr.train.settings.recipe import Recipe
from tests.factories import make_video
from tests.train.synthetic import make_recipe

CLASSES = ("jump", "wave")  # a stage each
TRAIN, TEST = 3, 2  # videos of a class


def write_videos(root: Path) -> Path:
    for (split, clips), label in itertools.product((("train", TRAIN), ("test", TEST)), CLASSES):
        (root / split / label).mkdir(parents=True)
        for index in range(clips):
            make_video(root / split / label / f"{split}{index}.avi", frames=8 + index)
    return root


def recipe_of(root: Path, **tables: Any) -> Recipe:
    few = {"batch": 2, "epochs_first": 2, "epochs_later": 1}
    base: dict[str, Any] = {
        "data": {"root": str(root)},
        "stages": {"classes": [[name] for name in CLASSES]},
        "adapter": {"place": "feature", "bottleneck": 2},
        "sampling": {"draws": 2},
        "unknown": {"holdout": 0.0},
        "optimizer": few,
    }
    return make_recipe(**{name: {**base.get(name, {}), **tables.get(name, {})} for name in {**base, **tables}})
