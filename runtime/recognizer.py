"""The live loop: frames in, predictions out.

    source ─▶ frame ─▶ wanted? ─▶ preprocess ─▶ encoder ─▶ window ─▶ full? ─▶ head ─▶ decision ─▶ filters ─▶ result
              (H,W,3)    │        (N,h,w,3)      (N,D)     T slots     │      (B,C)
                         └─ no: shown, not encoded                     └─ no: warming up

Each frame is encoded at most once; the head reads T features, with the same result as the clip graph on these frames.
N and B are the numbers of cameras whose frame is wanted and whose window is full; they share one call of each graph.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np

from stpr.runtime.decision import WARMING_UP, Decision, Prediction, strongest
from stpr.runtime.model import Model
from stpr.runtime.result import Result
from stpr.runtime.session import Session
from stpr.runtime.sources.frame import Frame, Source

Shot: TypeAlias = tuple[Session, Frame]
Round: TypeAlias = Mapping[int, Frame | None]  # by camera index; None: the camera has ended


def predictions(model: Model, source: Source) -> Iterator[Prediction]:
    """Yield the predictions for a source until it ends: one per slot of the window, none for other frames.

    Until the window is full, their state is "warming_up" and they have no label.
    """
    for result in run(Session(model, source.origin), source):
        if result.prediction is not None:
            yield result.prediction


def run(session: Session, frames: Iterable[Frame]) -> Iterator[Result]:
    """Yield the result of every frame of one camera until its source ends."""
    for frame in frames:
        yield from step([(session, frame)])
    if (last := session.end()) is not None:
        yield last


def run_all(sessions: Sequence[Session], rounds: Iterable[Round]) -> Iterator[list[tuple[Session, Result]]]:
    """Yield the results of each round with their sessions; the frames of a round share the graphs' calls."""
    for taken in rounds:
        shots = [(sessions[number], frame) for number, frame in taken.items() if frame is not None]
        made = [*zip((session for session, _ in shots), step(shots), strict=True)]
        ended = [sessions[number] for number, frame in taken.items() if frame is None]
        yield made + [(session, last) for session in ended if (last := session.end()) is not None]


def step(shots: Sequence[Shot]) -> list[Result]:
    """Process one frame of each of several cameras, with one call of each graph for all of them.

    Each session may appear once, and all must share one model; raises ValueError otherwise.
    """
    begun = time.monotonic()
    if not shots:
        return []
    if len({session for session, _ in shots}) < len(shots) or len({session.model for session, _ in shots}) > 1:
        raise ValueError("a step takes one frame of each session, and the sessions of one model.")
    wanted = [(session, frame) for session, frame in shots if session.wants(frame)]
    decisions = _decide(wanted) if wanted else {}
    return [session.conclude(frame, decisions.get(session), begun=begun) for session, frame in shots]


def _decide(wanted: Sequence[Shot]) -> dict[Session, Decision]:
    """A decision for each session whose frame fills a slot of its window: of the span with the highest evidence."""
    model = wanted[0][0].model
    greys = [session.trail.pairs() for session, _ in wanted if session.trail is not None]
    features = model.encode([frame.image for _, frame in wanted], greys)
    for (session, frame), feature in zip(wanted, features, strict=True):
        session.push(frame, feature)
    decisions: dict[Session, Decision] = {session: WARMING_UP for session, _ in wanted}
    if full := [session for session in decisions if session.window.is_full()]:
        windows = [session.clips() for session in full]
        judged = iter(model.judge(np.concatenate(windows)))
        decisions.update(
            {
                session: strongest([*islice(judged, len(own))], session.window.spans)
                for session, own in zip(full, windows, strict=True)
            }
        )
    return decisions
