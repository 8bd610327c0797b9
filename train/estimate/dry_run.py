"""What a run would learn, read, need and cost, before any of it: nothing is learnt or written, nothing is fetched."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import accelerate
import huggingface_hub
import torch
import transformers

from stpr.runtime.contract.errors import DataError, RecipeError, StprError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.data.clips import MEASURED
from stpr.train.data.list_digests import list_digests
from stpr.train.data.source import missing, read_lists, read_stages, skip_list
from stpr.train.data.stages import Stage
from stpr.train.datasets.annotations import SPLITS, Split, Video
from stpr.train.datasets.dataset import Listed
from stpr.train.datasets.skip_list import NOTHING
from stpr.train.estimate.cost import Rates, checkpoint_bytes, measure
from stpr.train.estimate.work import Clips, Work, work_of
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.methods.stage_start import class_vectors_of
from stpr.train.model.backbone import Backbone, load_backbone, resolve_source
from stpr.train.model.stpr import StPR
from stpr.train.run.resume import look_back
from stpr.train.settings.recipe import Recipe

Got = TypeVar("Got")

FORMS: Final[Mapping[str, Mapping[str, int]]] = {  # where a network's form differs from transformers' own CLIP
    "openai/clip-vit-base-patch16": {"patch_size": 16},
    "openai/clip-vit-base-patch32": {},
}
CLIP_SPEC: Final = PreprocessSpec(
    height=224,
    width=224,
    resize="crop",
    crop_fraction=1.0,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
NAMED: Final = 3  # missing videos of a split that are told by name
REPORT_BYTES: Final = 2_000_000  # pictures, twice: beside the page and in it


@dataclass
class Outlook:
    """What a dry run found; the run could start if there are no `problems`."""

    recipe: Recipe
    out: Path
    videos: list[Video] = field(default_factory=list)
    plan: list[tuple[Stage, Clips]] = field(default_factory=list)  # every stage
    learnt: int = 0  # stages that a resumed run has behind it
    last: int = 0  # the stage to stop after
    missing: dict[Split, list[Path]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    unwritten: int = 0  # bytes of videos that a run would begin with writing
    model: Callable[[], StPR] | None = None  # makes one to measure, perhaps with random weights
    random: bool = False
    sizes: list[int] = field(default_factory=list)  # of each checkpoint; none if the network's form is unknown
    problems: list[str] = field(default_factory=list)

    @property
    def to_write(self) -> bool:
        """Whether a run would begin with writing the data set."""
        return self.unwritten > 0

    @property
    def stages(self) -> list[tuple[Stage, Clips]]:
        """The stages that are to be learnt now."""
        return self.plan[self.learnt : self.last]

    @cached_property
    def work(self) -> Work:
        """What is to be decoded, encoded and learnt."""
        stages, clips = [stage for stage, _ in self.plan], [counted for _, counted in self.plan]
        return sum(work_of(self.recipe, stages, clips, behind=self.learnt, last=self.last), Work(decoded=self.measured))

    @property
    def measured(self) -> int:
        """Training videos that are decoded for their length alone, to know the typical one."""
        return 0 if self.learnt else min(MEASURED, sum(video.split == "train" for video in self.videos))

    @property
    def disk(self) -> int:
        """Bytes that a run leaves: checkpoints, predictions, the report, and a data set that is not written yet."""
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
        """Measure this machine for some seconds; None without a network to measure. What fails becomes a problem."""
        if self.model is None:
            return None
        gone = {path for paths in self.missing.values() for path in paths}
        there = [] if self.to_write else [video.path for video in self.videos if video.path not in gone]
        return self.attempt(
            partial(measure, self.recipe, self.model(), there[len(there) // 2] if there else None), None
        )

    def attempt(self, work: Callable[[], Got], otherwise: Got) -> Got:
        """What the work gives; what is wrong becomes a problem, so that the rest can be shown all the same."""
        try:
            return work()
        except StprError as error:
            self.problems.append(error.message)
            return otherwise


def look_ahead(recipe: Recipe, *, out: Path, last: int | None, resume: bool) -> Outlook:
    """Look at everything that a run begins with, whether or not the videos are there."""
    found = Outlook(recipe, out)
    past = found.attempt(partial(look_back, out, recipe, resume=resume), None)
    learnt = past.record.stages if past else ()
    skip = found.attempt(partial(skip_list, recipe.data), NOTHING)
    listed = found.attempt(partial(read_lists, recipe.data, learnt, skip), Listed(Path(), []))
    found.videos, found.unwritten = listed.videos, listed.unwritten
    if found.videos:
        found.lists = found.attempt(partial(list_digests, recipe.data, listed), {})
        none: list[Stage] = []
        plan = found.attempt(partial(read_stages, recipe.stages, listed, learnt), none)
        found.learnt, found.last = len(learnt), min(last or len(plan), len(plan))
        found.plan = _counted(plan, found.videos)
        found.attempt(partial(_look_for_videos, found), None)
    found.attempt(partial(_look_at_network, found, [*learnt, *(stage.classes for stage, _ in found.stages)]), None)
    found.attempt(partial(_look_for_room, found), None)
    return found


def _counted(plan: Sequence[Stage], videos: Sequence[Video]) -> list[tuple[Stage, Clips]]:
    count = Counter((video.label, video.split) for video in videos)
    return [(stage, Clips(*(sum(count[name, split] for name in stage.classes) for split in SPLITS))) for stage in plan]


def _look_for_videos(found: Outlook) -> None:
    """Which videos are missing. A run that stops early needs those of its own stages only, but reads the whole list."""
    if found.to_write:
        return
    gone = missing(found.videos)
    paths = {split: [video.path for video in gone if video.split == split] for split in SPLITS}
    found.missing = {split: named for split, named in paths.items() if named}
    if gone:
        raise DataError(
            f"{len(gone)} of the {len(found.videos)} videos are missing: put them there, or correct --data."
        )


def _look_at_network(found: Outlook, classes: Sequence[Sequence[str]]) -> None:
    """Load the network if it is on this machine; if not, only its form can be known."""
    recipe, source = found.recipe, found.recipe.backbone.source
    here = _is_here(source)
    if here:
        model = build_model(recipe, load_backbone(source))
        found.model = lambda: model
    elif source in FORMS:
        with torch.device("meta"):
            model = build_model(recipe, _stand_in(source))
        found.random = True
        found.model = partial(_random_model, recipe)
    if here or source in FORMS:
        plan = [Stage(index, tuple(names)) for index, names in enumerate(classes, start=1)]
        found.sizes = checkpoint_bytes(recipe, model.encoder, plan)[found.learnt :]
    if not here:
        fetch = shlex.join(["hf", "download", source])
        raise RecipeError(
            f"[backbone] source: {source} is not on this machine; fetch it ({fetch}), which a run would do"
            " first if it reached the hub, or name a local folder."
        )
    if recipe.class_vectors.kind == "text" and classes:
        frames = torch.empty(0, 1, recipe.sampling.frames, model.encoder.backbone.width)
        nothing = FrozenFeatures(frames, torch.empty(0))
        class_vectors_of(StageClips(tuple(classes[0][:1]), nothing, model.encoder), recipe)


def _is_here(source: str) -> bool:
    """Whether nothing must be fetched to load a network; the loader reports a folder without one."""
    place = resolve_source(source)
    if place.startswith((".", "/")) or place.count("/") > 1 or Path(place).is_dir():
        return True
    try:
        cached = [huggingface_hub.try_to_load_from_cache(place, name) for name in ("config.json", *WEIGHTS)]
    except ValueError:  # no id that a hub could have
        return True
    return isinstance(cached[0], str) and any(isinstance(file, str) for file in cached[1:])


def _stand_in(source: str) -> Backbone:
    config: Any = transformers.CLIPVisionConfig(**FORMS[source])
    return Backbone(transformers.CLIPVisionModelWithProjection(config), CLIP_SPEC, source=source)


def _random_model(recipe: Recipe) -> StPR:
    with torch.device(accelerate.Accelerator().device):
        return build_model(recipe, _stand_in(recipe.backbone.source))


def _look_for_room(found: Outlook) -> None:
    free = free_bytes(found.out)
    if found.disk > free:
        raise RecipeError(f"--out {found.out}: the run leaves {found.disk} bytes, and {free} are free; choose another.")


def free_bytes(folder: Path) -> int:
    """Free bytes where a folder is or would be."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free
