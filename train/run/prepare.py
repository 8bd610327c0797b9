"""From a recipe and a run folder to all that learning needs; errors that a user can mend come before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.clips import median_span
from stpr.train.data.list_digests import list_digests
from stpr.train.data.source import read_stages, read_videos
from stpr.train.datasets.annotations import Video
from stpr.train.learning.distributed import Processes
from stpr.train.learning.fit import check_precision
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import load_stage
from stpr.train.run.clips import VideoClips
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import Plan
from stpr.train.run.resume import Past, look_back
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for beside the recipe; `last` is the stage to stop after, `cache` a folder of frozen features."""

    out: Path
    resume: bool = False
    last: int | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its next stage."""

    plan: Plan
    model: StPR
    clips: VideoClips
    past: Past | None
    span: float  # seconds of a typical training clip
    lists: dict[str, str]  # list file -> SHA-256

    @property
    def behind(self) -> tuple[float | None, ...]:
        """The thresholds of the stages that were learnt before, None where there is none."""
        if self.past is None:
            return ()
        record = self.past.record
        return record.unknown.thresholds if record.unknown else (None,) * record.stage


def prepare(recipe: Recipe, request: Request, shown: ShownProgress, processes: Processes) -> Prepared | None:
    """Read what was learnt before, the videos and the stages; build the network, or load what it had learnt.

    None if there is nothing left to learn.
    """
    with processes.together():
        check_precision(recipe.optimizer.precision, processes.device)
        past = look_back(request.out, recipe, resume=request.resume)
    learnt = past.record.stages if past else ()
    gone = () if method_of(recipe).keeps_videos else learnt  # classes whose videos need not be there any more
    listed = processes.main_first(lambda: read_videos(recipe.data, shown.generating, gone))
    with processes.together():
        stages = tuple(read_stages(recipe.stages, listed, learnt))
        last = min(request.last or len(stages), len(stages))
        if past and past.record.stage >= last:
            return None
        plan = Plan(recipe, stages, last, lambda: build_model(recipe).to(processes.device))
        kept = _open_cache(request.cache, recipe) if request.cache else None
        torch.manual_seed(recipe.seed)
        return Prepared(
            plan=plan,
            model=load_stage(request.out, past.record.stage)[0].to(processes.device) if past else plan.build(),
            clips=VideoClips(recipe, listed.videos, plan.classes, processes, shown, kept),
            past=past,
            span=_span(listed.videos, past),
            lists=list_digests(recipe.data, listed),
        )


def _span(videos: Sequence[Video], past: Past | None) -> float:
    """Measured before the first stage and kept from then on: a device's window must not change with the videos."""
    if past is not None:
        return past.record.clip.span_seconds
    return median_span([video.path for video in videos if video.split == "train"])


def _open_cache(folder: Path, recipe: Recipe) -> FeatureCache:
    """The cache in `folder`. Raises RecipeError if the recipe has no frozen features to keep."""
    if recipe.adapter.place == "blocks":
        raise RecipeError(
            '--cache keeps frozen features, but with [adapter] place = "blocks" the backbone\'s blocks are tuned; leave'
            ' --cache out or set place = "feature".'
        )
    return FeatureCache(folder)
