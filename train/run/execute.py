"""A recipe carried out: what `stpr-train` does, and every run of a comparison."""

from __future__ import annotations

from pathlib import Path

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.source import read_stages, read_videos, skip_list
from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.run.metrics import Metrics
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import prepare, run_protocol
from stpr.train.run.resume import look_back
from stpr.train.settings.recipe import Recipe


def carry_out(  # noqa: PLR0913  (what a user may ask for, keyword by keyword)
    recipe: Recipe,
    out: Path,
    shown: ShownProgress,
    *,
    resume: bool = False,
    stages: int | None = None,
    cache: Path | None = None,
    processes: Processes = ALONE,
) -> Metrics:
    """Learn the recipe's stages, up to `stages` where that is given, in the run folder `out`; returns the figures.

    `cache` is a folder of frozen features. Raises StprError for all that a user can mend, most of it before anything
    is learnt.
    """
    with processes.together():
        past = look_back(out, recipe, resume=resume)
        learnt = past.record.stages if past else ()
        skipped = skip_list(recipe.data).lines
    if processes.count > 1:
        shown.note(f"{processes.count} processes on one run")
    gone = () if recipe.revisits else learnt  # classes whose videos need not be there any more
    listed = processes.main_first(lambda: read_videos(recipe.data, shown.generating, gone))
    with processes.together():
        plan = read_stages(recipe.stages, listed, learnt)
        last = min(stages or len(plan), len(plan))
        if past and len(past.metrics.stages) >= last:
            shown.note("finished before")
            return past.metrics
        kept = _open_cache(cache, recipe) if cache else None
        run = prepare(recipe, listed, plan, out=out, progress=shown, past=past, processes=processes)
    run.cache = kept
    run.notes = {"cache": str(cache)} if kept else {}
    if skipped:
        run.notes["skipped"] = str(len(skipped))
        shown.note(f"skip list {recipe.data.skip}: {len(skipped)} left out")
    metrics = run_protocol(run, last=last)
    if kept:
        shown.note(f"cache: {kept.served} clips were in {cache}, {kept.added} were added")
    return metrics


def _open_cache(folder: Path, recipe: Recipe) -> FeatureCache:
    """The cache in `folder`. Raises RecipeError if the recipe has no frozen features to keep."""
    if recipe.adapter.place == "blocks":
        raise RecipeError(
            '--cache keeps frozen features, but with [adapter] place = "blocks" the backbone\'s blocks are tuned; leave'
            ' --cache out or set place = "feature".'
        )
    return FeatureCache(folder)
