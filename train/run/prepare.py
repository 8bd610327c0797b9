"""Prepare a run: read earlier stages, videos and stages, build or load the network. Most user errors show here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from stpr.train.data.cache import open_cache
from stpr.train.data.source import read_stages, read_videos
from stpr.train.datasets.dataset import Listed
from stpr.train.learning.distributed import Processes
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.model.stpr import StPR
from stpr.train.run.clips import VideoClips
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import Plan
from stpr.train.run.resume import History, learnt_model, read_history, restore_metrics, span
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a run besides the recipe; `last`: stage to stop after, `cache`: folder of frozen features."""

    out: Path
    resume: bool = False
    last: int | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything needed to train the next stage."""

    plan: Plan
    model: StPR
    clips: VideoClips
    past: History | None
    span: float  # seconds of a typical training clip
    listed: Listed

    @property
    def behind(self) -> tuple[float | None, ...]:
        """The thresholds of the stages already learnt; None for a stage without one."""
        if self.past is None:
            return ()
        record = self.past.record
        return record.unknown.thresholds if record.unknown else (None,) * record.stage


def prepare(recipe: Recipe, request: Request, shown: ShownProgress, processes: Processes) -> Prepared | None:
    """Read the run's history, the videos and the stages; build the network, or load its last checkpoint.

    Returns None if there is nothing left to learn.
    """
    with processes.together():
        past = read_history(request.out, recipe, resume=request.resume)
    for note in past.notes if past else ():
        shown.note(note)
    learnt = past.record.stages if past else ()
    gone = () if method_of(recipe).keeps_videos else learnt  # classes whose videos may be gone
    listed = processes.main_first(lambda: read_videos(recipe.data, shown.generating, gone))
    with processes.together():
        stages = tuple(read_stages(recipe.stages, listed, learnt))
        if past:  # after the classes, since a class folder with another name also brings learnt clips
            past.learnt.check(listed.videos)
        last = min(request.last or len(stages), len(stages))
        if past and past.record.stage >= last:
            if processes.is_main:
                restore_metrics(request.out, past)
            return None
        plan = Plan(recipe, stages, last, lambda: build_model(recipe).to(processes.device))
        kept = open_cache(request.cache, recipe) if request.cache else None
        lasting, long = span(listed.videos, past)
        for note in long:
            shown.note(note)
        clips = VideoClips(recipe, listed.videos, plan.classes, processes, shown, kept, lasting)
        if past:
            clips.learnt = past.learnt
        torch.manual_seed(recipe.seed)
        return Prepared(
            plan=plan,
            model=learnt_model(request.out, past, recipe).to(processes.device) if past else plan.build(),
            clips=clips,
            past=past,
            span=lasting,
            listed=listed,
        )
