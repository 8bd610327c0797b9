"""Taking up a run after its last finished stage, perhaps months later, with more stages and other videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.train.data.clips import median_span
from stpr.train.data.source import LIST_THEM
from stpr.train.datasets.annotations import Video
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord, load_stage
from stpr.train.run.folder import (
    begun_stages,
    finished_stages,
    metrics_file,
    recipe_file,
    snapshot_file,
)
from stpr.train.run.metrics import Metrics, write_metrics
from stpr.train.run.repair import last_whole_stage
from stpr.train.settings.load import load_recipe, read_resolved
from stpr.train.settings.recipe import Recipe

MAY_DIFFER: Final = ("data", "stages")  # new videos come from elsewhere, new stages behind the learnt ones


@dataclass(frozen=True, slots=True)
class Past:
    """What a resumed run has behind it: its figures, the record of the last stage that they tell of, what to say."""

    metrics: Metrics
    record: StageRecord
    notes: tuple[str, ...] = ()


def look_back(out: Path, recipe: Recipe, *, resume: bool) -> Past | None:
    """What was learnt in a run folder, None if nothing was; the recipe must be one that may go on from there.

    Raises RecipeError for stages, or a part of one, that are in the way without `resume`, and for a recipe that
    differs in what must not; CheckpointError where no stage is left that could be gone on from.
    """
    done = finished_stages(out)
    if not (begun_stages(out) or snapshot_file(out).is_file() or metrics_file(out).is_file()):
        return None
    if not recipe_file(out).is_file():
        raise CheckpointError(
            f"{out} holds stages but no {recipe_file(out).name}, which says how they were learnt; put it back from a"
            " copy, or choose another --out."
        )
    if resume:
        check_deciding(read_resolved(recipe_file(out)), recipe, out)
    found = last_whole_stage(out)  # before anybody is sent to --resume
    if not resume:
        holds = f"{len(done)} finished stage{'s'[: len(done) > 1]}" if done else "a stage half learnt"
        raise RecipeError(f"{out} holds a run with {holds}; go on with --resume or choose another --out.")
    return None if found is None else Past(*found)


def keep_figures(out: Path, past: Past) -> None:
    """Put figures that were lost, and made again, back where no stage is left to be learnt with them."""
    if not metrics_file(out).is_file():
        write_metrics(out, past.metrics)


def carried_recipe(run: Path, changes: Sequence[str]) -> Recipe:
    """A run's recipe with the places of this machine. Raises RecipeError for changes to what has decided the run."""
    begun = read_resolved(recipe_file(run))
    recipe = load_recipe(str(recipe_file(run)), changes=changes) if changes else begun
    check_deciding(begun, recipe, run)
    return recipe


def learnt_model(out: Path, past: Past, recipe: Recipe) -> StPR:
    """The network as it was after the last of those stages, at the place that the recipe names."""
    return load_stage(out, past.record.stage, recipe)[0]


def span(videos: Sequence[Video], past: Past | None) -> float:
    """Seconds that a clip spans; a resumed run keeps its first stage's, so that a device's window does not change."""
    if past is not None:
        return past.record.clip.span_seconds
    return median_span([video.path for video in videos if video.split == "train"])


def check_deciding(begun: Recipe, recipe: Recipe, out: Path) -> None:
    """Raise RecipeError for a recipe that could not have led to what the run has learnt.

    Places and threads belong to a machine and may differ; a network at another place is told by its digest.
    """
    fields = [name for name in Recipe.__struct_fields__ if name not in MAY_DIFFER]
    before, now = begun.deciding, recipe.deciding
    other = [name for name in fields if getattr(before, name) != getattr(now, name)]
    if other:
        raise RecipeError(
            f"{out} was begun with another recipe ({', '.join(other)} differ); resume with that one or choose"
            " another --out."
        )
    if recipe.stages.sizes and recipe.stages != begun.stages:
        raise RecipeError(f"{out} was begun with other stages: {LIST_THEM}")
