"""The dry run: what a run would learn, read, need and cost. It trains, writes and downloads nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Final, TypeVar

from stpr.runtime.contract.errors import StprError
from stpr.train.data.list_digests import list_digests
from stpr.train.data.source import missing, read_lists, read_stages, skip_list
from stpr.train.data.stages import Stage
from stpr.train.datasets.annotations import SPLITS, Split, Video
from stpr.train.datasets.skip_list import NOTHING
from stpr.train.estimate.cost import Rates, measure
from stpr.train.estimate.network import Network, look_for_network, settle_offline
from stpr.train.estimate.preparation import Preparation, preparation_work
from stpr.train.estimate.work import Clips, Work, work_of
from stpr.train.run.resume import read_history
from stpr.train.settings.recipe import Recipe

Got = TypeVar("Got")

REPORT_BYTES: Final = 2_000_000  # figures, stored twice: as files and inside the page


@dataclass
class DryRun:
    """The findings of a dry run; without `problems` the run could start."""

    recipe: Recipe
    out: Path
    chosen: list[str] = field(default_factory=list)  # explanations of the settings that "auto" resolved to
    videos: list[Video] = field(default_factory=list)
    plan: list[tuple[Stage, Clips]] = field(default_factory=list)  # every stage
    learnt: int = 0  # stages that a resumed run has already learnt
    last: int = 0  # the stage to stop after
    missing: dict[Split, list[Path]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    preparation: Preparation = field(default_factory=Preparation)  # work before the first stage
    unwritten: int = 0  # bytes of the videos that the run would generate first
    network: Network | None = None  # None if it doesn't load or fit the recipe
    sizes: list[int] = field(default_factory=list)  # bytes of each checkpoint; empty if the network's form is unknown
    problems: list[str] = field(default_factory=list)

    @property
    def to_write(self) -> bool:
        """Whether the run would first generate the data set."""
        return self.unwritten > 0

    @property
    def stages(self) -> list[tuple[Stage, Clips]]:
        """The stages that the run would learn."""
        return self.plan[self.learnt : self.last]

    @cached_property
    def work(self) -> Work:
        """All units of work: decoding, encoding, training."""
        stages, clips = [stage for stage, _ in self.plan], [counted for _, counted in self.plan]
        return sum(work_of(self.recipe, stages, clips, behind=self.learnt, last=self.last), self.preparation.work)

    @property
    def disk(self) -> int:
        """Bytes that the run leaves: checkpoints, predictions, the report, and a data set that it generates."""
        tested = [video for video in self.videos if video.split == "test"]
        line = {video.label: len(str(video.path.absolute())) + 2 * len(video.label) + 3 for video in tested}
        each = Counter(video.label for video in tested)
        last = len(self.stages)
        lines = sum(
            each[name] * line.get(name, 0) * (last - place)
            for place, (stage, _) in enumerate(self.stages)
            for name in stage.classes
        )
        return sum(self.sizes) + lines + REPORT_BYTES + self.unwritten

    def rates(self) -> Rates | None:
        """Time this machine for some seconds; None without a network. A failure is added to `problems`."""
        model = self.network.to_measure() if self.network else None
        if model is None:
            return None
        gone = {path for paths in self.missing.values() for path in paths}
        there = [] if self.to_write else [video.path for video in self.videos if video.path not in gone]
        return self.attempt(partial(measure, self.recipe, model, there[len(there) // 2] if there else None), None)

    def attempt(self, work: Callable[[], Got], otherwise: Got) -> Got:
        """Return the result of `work`; an error is added to `problems`, so that the rest can still be shown."""
        try:
            return work()
        except StprError as error:
            self.problems.append(error.message)
            return otherwise


def dry_run(recipe: Recipe, *, out: Path, last: int | None, resume: bool) -> DryRun:
    """Check everything that a run needs before it starts, even if the videos are missing."""
    found = DryRun(recipe, out)
    recipe, found.chosen = found.attempt(partial(settle_offline, recipe), (recipe, found.chosen))
    found.recipe = recipe
    past = found.attempt(partial(read_history, out, recipe, resume=resume), None)
    learnt = past.record.stages if past else ()
    skip = found.attempt(partial(skip_list, recipe.data), NOTHING)
    listed = found.attempt(partial(read_lists, recipe.data, learnt, skip), None)
    if listed and listed.videos:
        found.videos, found.unwritten = listed.videos, listed.unwritten
        found.lists = found.attempt(partial(list_digests, recipe.data, listed), found.lists)
        none: list[Stage] = []
        plan = found.attempt(partial(read_stages, recipe.stages, listed, learnt), none)
        found.learnt, found.last = len(learnt), min(last or len(plan), len(plan))
        found.plan = _counted(plan, found.videos)
        _look_for_videos(found)
        if found.stages:
            there = not found.to_write and not found.missing.get("train")
            preparation = partial(preparation_work, recipe, found.videos, past, written=there)
            found.preparation = found.attempt(preparation, found.preparation)
    _look_at_network(found, [*learnt, *(stage.classes for stage, _ in found.stages)])
    if found.disk > (free := free_bytes(out)):
        found.problems.append(f"--out {out}: the run leaves {found.disk} bytes, and {free} are free; choose another.")
    return found


def _counted(plan: Sequence[Stage], videos: Sequence[Video]) -> list[tuple[Stage, Clips]]:
    count = Counter((video.label, video.split) for video in videos)
    return [(stage, Clips(*(sum(count[name, split] for name in stage.classes) for split in SPLITS))) for stage in plan]


def _look_for_videos(found: DryRun) -> None:
    """Find missing videos. A run that stops early needs those of its own stages only, but reads the whole list."""
    gone: list[Video] = []
    if not found.to_write:
        gone = found.attempt(partial(missing, found.videos), gone)
    paths = {split: [video.path for video in gone if video.split == split] for split in SPLITS}
    found.missing = {split: named for split, named in paths.items() if named}
    if gone:
        problem = f"{len(gone)} of the {len(found.videos)} videos are missing: put them there, or correct --data."
        found.problems.append(problem)


def _look_at_network(found: DryRun, classes: Sequence[Sequence[str]]) -> None:
    """Check that the network is available and fits the recipe, and compute checkpoint sizes for stages of `classes`."""
    found.network = network = found.attempt(partial(look_for_network, found.recipe), None)
    if network is None:
        return
    if network.form:
        found.sizes = found.attempt(partial(network.checkpoint_sizes, classes), found.sizes)[found.learnt :]
    found.attempt(partial(network.check, classes), None)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which may not exist yet."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free
