"""Taking up a run after its last finished stage, perhaps months later, with more stages and other videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import median_span
from stpr.train.data.source import LIST_THEM
from stpr.train.datasets.annotations import Video
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord, load_stage, read_record
from stpr.train.run.folder import finished_stages, metrics_file, recipe_file, snapshot_file
from stpr.train.run.metrics import Metrics, read_metrics
from stpr.train.settings.load import read_resolved
from stpr.train.settings.recipe import Recipe

MAY_DIFFER: Final = ("data", "stages")  # new videos come from elsewhere, new stages behind the learnt ones


@dataclass(frozen=True, slots=True)
class Past:
    """What a resumed run has behind it: its figures, and the record of the last stage that they tell of."""

    metrics: Metrics
    record: StageRecord


def look_back(out: Path, recipe: Recipe, *, resume: bool) -> Past | None:
    """The finished stages of a run folder, None if there are none; the recipe must be one that may go on from there.

    Raises RecipeError for stages, or a part of one, that are in the way without `resume`, and for a recipe that
    differs in what must not.
    """
    done = finished_stages(out)
    if done == 0 and not snapshot_file(out).is_file():
        return None
    if not resume:
        holds = f"{done} finished stage{'s'[: done > 1]}" if done else "a stage half learnt"
        raise RecipeError(f"{out} holds a run with {holds}; go on with --resume or choose another --out.")
    _check_recipe(read_resolved(recipe_file(out)), recipe, out)
    if done <= 1 and not metrics_file(out).is_file():
        return None  # stopped before the first checkpoint, or between it and its figures
    metrics = read_metrics(out)
    return Past(metrics, read_record(out, len(metrics.stages)))


def learnt_model(out: Path, past: Past) -> StPR:
    """The network as it was after the last of those stages."""
    return load_stage(out, past.record.stage)[0]


def span(videos: Sequence[Video], past: Past | None) -> float:
    """Of a run that goes on that of its first stage: a device's window must not change with the videos."""
    if past is not None:
        return past.record.clip.span_seconds
    return median_span([video.path for video in videos if video.split == "train"])


def _check_recipe(begun: Recipe, recipe: Recipe, out: Path) -> None:
    fields = [name for name in Recipe.__struct_fields__ if name not in MAY_DIFFER]
    other = [name for name in fields if getattr(begun, name) != getattr(recipe, name)]
    if other:
        raise RecipeError(
            f"{out} was begun with another recipe ({', '.join(other)} differ); resume with that one or choose"
            " another --out."
        )
    if recipe.stages.sizes and recipe.stages != begun.stages:
        raise RecipeError(f"{out} was begun with other stages: {LIST_THEM}")
