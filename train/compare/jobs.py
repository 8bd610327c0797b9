"""Train every row of a comparison with every seed; each is an ordinary run in its own folder OUT/ROW/seed-S."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stpr.runtime.contract.errors import DataError, RecipeError, StprError
from stpr.train.compare.presets import Row
from stpr.train.methods import check_names
from stpr.train.methods.build import settle
from stpr.train.run.checkpoint import read_record
from stpr.train.run.execute import execute
from stpr.train.run.folder import recipe_file, reserved
from stpr.train.run.metrics import Metrics
from stpr.train.run.prepare import Request
from stpr.train.run.progress import ShownProgress
from stpr.train.run.resume import read_history
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a comparison, before it is trained."""

    row: Row
    seed: int
    recipe: Recipe
    folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run: its metrics, or the reason why it failed."""

    row: Row
    seed: int
    metrics: Metrics | None = None
    kept: int = 0  # bytes of all tensors stored after the last stage
    recipe: str = ""  # sha256 of the run's recipe.toml
    failure: str = ""


def read_seeds(text: str) -> list[int]:
    """Parse a list of seeds such as "0,1,2". Raises RecipeError for anything else, and for a repeated seed."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise RecipeError(f"--seeds {text!r}: give different whole numbers separated by commas, such as 0,1,2.")
    return [int(part) for part in parts]


def plan(
    load: Callable[[Sequence[str]], Recipe], rows: Sequence[Row], seeds: Sequence[int], *, out: Path, resume: bool
) -> list[Job]:
    """List all runs, row by row; `load` returns the recipe with `KEY=VALUE` changes applied.

    Raises RecipeError for every mistake that can be found before the first run starts.
    """
    jobs = []
    for row in rows:
        for seed in seeds:
            try:
                settings = load([*row.changes, f"seed={seed}"])
                check_names(settings)
                settings, _ = settle(settings)
            except RecipeError as error:
                raise RecipeError(f"row {row.name!r}: {error.message}") from error
            folder = out / row.name / f"seed-{seed}"
            read_history(folder, settings, resume=resume)  # so that an error shows before the first run
            jobs.append(Job(row, seed, settings, folder))
    return jobs


def one_order(jobs: Sequence[Job]) -> bool:
    """Whether there are several seeds but only one class order, because the recipe fixes it."""
    drawn = {job.recipe.stages.seed for job in jobs if job.recipe.stages.sizes}
    return len({job.seed for job in jobs}) > 1 and len(drawn) < 2


def run_jobs(jobs: Sequence[Job], shown: ShownProgress, *, cache: Path) -> Iterator[Outcome]:
    """Train the runs that are not finished, sharing frozen features in `cache`; a failed run is yielded as an Outcome.

    Raises DataError: all rows read the same data, so the others would fail too.
    """
    rows = list(dict.fromkeys(job.row for job in jobs))
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    for job in jobs:
        place = f"row {rows.index(job.row) + 1}/{len(rows)} {job.row.name}, seed {job.seed}"
        shown.console.print(f"{place} ({seeds.index(job.seed) + 1}/{len(seeds)})", style="bold", soft_wrap=True)
        try:
            # With adapters in the blocks there are no frozen features to cache.
            kept = cache if job.recipe.adapter.place != "blocks" else None
            with reserved(job.folder):
                metrics = execute(job.recipe, Request(out=job.folder, resume=True, cache=kept), shown)
        except DataError:
            raise
        except StprError as error:
            shown.console.print(f"failed: {error.message}", style="red", soft_wrap=True)
            yield Outcome(job.row, job.seed, failure=error.message)
        else:
            yield _outcome(job, metrics)


def _outcome(job: Job, metrics: Metrics) -> Outcome:
    record = read_record(job.folder, len(metrics.stages))
    digest = hashlib.sha256(recipe_file(job.folder).read_bytes()).hexdigest()
    return Outcome(job.row, job.seed, metrics, kept=sum(tensor.bytes for tensor in record.kept), recipe=digest)
