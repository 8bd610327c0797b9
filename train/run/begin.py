"""Before a run starts training: write its resolved recipe, and collect the provenance of its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.list_digests import list_digests
from stpr.train.data.overlap import sketch
from stpr.train.data.source import skip_list
from stpr.train.learning.distributed import Processes
from stpr.train.run.after_stage import Origin
from stpr.train.run.environment import environment
from stpr.train.run.folder import recipe_file
from stpr.train.run.prepare import Prepared, Request
from stpr.train.run.progress import ShownProgress
from stpr.train.settings.load import write_recipe


def origin_of(prepared: Prepared, request: Request, shown: ShownProgress) -> Origin:
    """Collect lists, machine and command, with skip list and cache; reports how many videos are skipped."""
    data, notes = prepared.plan.recipe.data, {}
    if request.cache:
        notes["cache"] = str(request.cache)
    if skipped := skip_list(data).lines:
        notes["skipped"] = str(len(skipped))
        shown.note(f"skip list {data.skip}: {len(skipped)} left out")
    tested = {
        stage.index: sketch(videos)
        for stage in prepared.plan.stages[: prepared.plan.last]
        if (videos := prepared.clips.of(stage, "test"))
    }
    caveats = (*prepared.listed.notes, *_changed_tests(prepared, tested))
    for caveat in caveats:
        shown.note(caveat)
    lists = list_digests(data, prepared.listed)
    return Origin(lists, environment(prepared.clips.processes) | notes, tested, caveats)


def _changed_tests(prepared: Prepared, tested: Mapping[int, str]) -> Iterator[str]:
    """Yield a caveat for each learnt stage whose test clips have changed since its last test."""
    if prepared.past is None:
        return
    before = prepared.past.metrics
    counts = dict(zip(before.classes, (sum(row) for row in before.confusion), strict=True))
    for stage, known in zip(prepared.plan.stages, before.tested, strict=False):
        if known and stage.index in tested and tested[stage.index] != known:
            was = sum(counts[name] for name in stage.classes)
            now = len(prepared.clips.of(stage, "test"))
            yield (
                f"The test clips of stage {stage.index} are not those of stage {prepared.past.record.stage}'s test"
                f" ({was} then, {now} now): its accuracies before and after, and forgetting, are on different clips."
            )


def begin(prepared: Prepared, request: Request, processes: Processes) -> None:
    """Write the resolved recipe. Raises RecipeError if the run folder can't be written."""
    out = request.out
    with processes.together():
        if processes.is_main:
            try:
                write_recipe(prepared.plan.recipe, recipe_file(out))
            except OSError as error:
                raise RecipeError(f"--out {out} can't be written ({error.strerror}); choose another folder.") from error
