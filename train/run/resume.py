"""Resume a run after its last finished stage, possibly with more stages and other videos."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.train.data.clips import lengths_of
from stpr.train.data.source import LIST_THEM
from stpr.train.datasets.annotations import SPLITS, Video
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord, load_stage
from stpr.train.run.folder import (
    begun_stages,
    finished_stages,
    metrics_file,
    recipe_file,
    snapshot_file,
)
from stpr.train.run.learnt import Learnt, read_learnt
from stpr.train.run.metrics import Metrics, write_metrics
from stpr.train.run.repair import last_whole_stage
from stpr.train.settings.load import read_resolved
from stpr.train.settings.recipe import Recipe

LONG: Final = 10  # times as long as a typical clip
MAY_DIFFER: Final = ("data", "stages")  # tables that may change: new videos, new stages after the learnt ones


@dataclass(frozen=True, slots=True)
class History:
    """The history of a resumed run: metrics, the record of their last stage, its clips so far, notes for the user."""

    metrics: Metrics
    record: StageRecord
    learnt: Learnt
    notes: tuple[str, ...] = ()


def read_history(out: Path, recipe: Recipe, *, resume: bool) -> History | None:
    """Read the history of a run folder, None if it has none; checks that `recipe` may continue it.

    Raises RecipeError if there are stages, or part of one, but not `resume`, and for a recipe with other deciding
    settings; CheckpointError if no intact stage is left.
    """
    done = finished_stages(out)
    if not (begun_stages(out) or snapshot_file(out).is_file() or metrics_file(out).is_file()):
        return None
    if not recipe_file(out).is_file():
        raise CheckpointError(
            f"{out} has stages but no {recipe_file(out).name}, which records their settings; restore it from a copy, or"
            " choose another --out."
        )
    if resume:
        check_deciding(read_resolved(recipe_file(out)), recipe, out)
    found = last_whole_stage(out)  # first, so that no message recommends --resume if that can't work
    if not resume:
        holds = f"{len(done)} finished stage{'s'[: len(done) > 1]}" if done else "an unfinished stage"
        raise RecipeError(f"{out} holds a run with {holds}; continue with --resume or choose another --out.")
    if found is None:
        return None
    metrics, record, notes = found
    learnt, lost = read_learnt(out, record)
    return History(metrics, record, learnt, (*notes, *lost))


def restore_metrics(out: Path, past: History) -> None:
    """Write rebuilt metrics to disk if no stage is left to train, which would write them."""
    if not metrics_file(out).is_file():
        write_metrics(out, past.metrics)


def relocated_recipe(run: Path, changes: Sequence[str]) -> Recipe:
    """A run's recipe with this machine's paths. Raises RecipeError for changes to settings that determine results."""
    begun = read_resolved(recipe_file(run))
    recipe = read_resolved(recipe_file(run), changes=changes)
    check_deciding(begun, recipe, run)
    return recipe


def learnt_model(out: Path, past: History, recipe: Recipe) -> StPR:
    """Load the network after the last stage, with the backbone at the path in the recipe."""
    return load_stage(out, past.record.stage, recipe)[0]


def span(videos: Sequence[Video], past: History | None) -> tuple[float, list[str]]:
    """The length of a clip in seconds, and a note on videos that are probably whole recordings.

    A resumed run keeps the value, so that the device's window does not change.
    """
    if past is not None:
        return past.record.clip.span_seconds, []
    train, test = ([video.path for video in videos if video.split == split] for split in SPLITS)
    lengths = lengths_of(train, others=test)
    typical = statistics.median(lengths.values())
    longest = max(lengths, key=lambda path: lengths[path])
    count = sum(seconds > LONG * typical for seconds in lengths.values())
    note = (
        f"{longest} lasts {lengths[longest]:.0f} s, a typical training clip {typical:.1f} s ({count} such videos): if"
        " it is a whole recording, cut its action out"
    )
    return typical, [note] if count else []


def check_deciding(begun: Recipe, recipe: Recipe, out: Path) -> None:
    """Raise RecipeError if the recipe differs from the run's in a setting that determines results.

    Paths and threads may differ; a network at another path is verified by its digest.
    """
    fields = [name for name in Recipe.__struct_fields__ if name not in MAY_DIFFER]
    before, now = begun.deciding, recipe.deciding
    other = [name for name in fields if getattr(before, name) != getattr(now, name)]
    if other:
        raise RecipeError(
            f"{out} was started with another recipe ({', '.join(other)} differ); keep its settings, or train another"
            " run with another --out."
        )
    if recipe.stages.sizes and recipe.stages != begun.stages:
        raise RecipeError(f"{out} was started with other stages: {LIST_THEM}")
