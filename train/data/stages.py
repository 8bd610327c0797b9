"""Divide the classes into stages: shuffled and cut by size, or as listed in the recipe."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.datasets.annotations import SPLITS, Video, some


@dataclass(frozen=True, slots=True)
class Stage:
    """One increment of classes. `index` counts from 1; the order of `classes` is the order of the logits."""

    index: int
    classes: tuple[str, ...]


def split_stages(classes: Sequence[str], sizes: Sequence[int], seed: int) -> list[Stage]:
    """Shuffle `classes` as the TCD benchmark does (method §7) and cut them into stages of `sizes`.

    The result depends on the order of `classes`: by label id in the benchmark, else sorted names.
    """
    repeated = [name for name, times in Counter(classes).items() if times > 1]
    if repeated:
        raise RecipeError(f"the class {repeated[0]!r} is listed {Counter(classes)[repeated[0]]} times; list it once.")
    if min(sizes, default=0) < 1 or sum(sizes) != len(classes):
        raise RecipeError(
            f"stages of {list(sizes)} classes add up to {sum(sizes)}, but there are {len(classes)} classes;"
            " give each stage at least one and assign all of them."
        )
    order = np.arange(len(classes))
    # The legacy generator, since published class orders come from np.random.seed(seed) and shuffle.
    np.random.RandomState(seed).shuffle(order)
    ends = np.cumsum(sizes)
    parts = zip(ends - np.asarray(sizes), ends, strict=True)
    return [
        Stage(index, tuple(classes[place] for place in order[start:end]))
        for index, (start, end) in enumerate(parts, start=1)
    ]


def explicit_stages(lists: Sequence[Sequence[str]], known: Collection[str]) -> list[Stage]:
    """Return the stages as listed. Raises RecipeError unless they contain each of the `known` classes exactly once."""
    seen: dict[str, int] = {}
    for index, names in enumerate(lists, start=1):
        if not names:
            raise RecipeError(f"stage {index} has no class; give it one or remove it.")
        for name in names:
            _check_known(name, index, known)
            if name in seen:
                raise RecipeError(f"the class {name!r} is in stage {seen[name]} and in stage {index}; keep one.")
            seen[name] = index
    left = sorted(set(known) - seen.keys())
    if left:
        raise RecipeError(f"no stage has {some(left)}; add each to a stage or remove its videos from the data set.")
    return [Stage(index, tuple(names)) for index, names in enumerate(lists, start=1)]


def check_learnt(stages: Sequence[Sequence[str]], learnt: Sequence[Sequence[str]]) -> None:
    """Raise RecipeError unless `stages` start with the `learnt` ones, in the same order (that of the logits)."""
    for index, names in enumerate(learnt, start=1):
        found = list(stages[index - 1]) if index <= len(stages) else []
        if found != list(names):
            raise RecipeError(
                f"stage {index} was learnt as {some(names)}, but is {some(found) or 'missing'} in the stages; list the"
                f" learnt stages first, unchanged, and new ones after them, or choose another --out."
            )


def check_videos(stages: Iterable[Stage], videos: Collection[Video], splits: Sequence[str] = SPLITS) -> None:
    """Raise DataError for a class of a stage that has no videos to train or test on."""
    present = {(video.label, video.split) for video in videos}
    for stage in stages:
        for name in stage.classes:
            for split in splits:
                if (name, split) not in present:
                    raise DataError(
                        f"the class {name!r} of stage {stage.index} has no {split} video;"
                        f" add some or remove the class from the stages."
                    )


def _check_known(name: str, index: int, known: Collection[str]) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {some(sorted(known))}."
    raise RecipeError(f"stage {index} names the class {name!r}, which the data set does not have; {hint}")
