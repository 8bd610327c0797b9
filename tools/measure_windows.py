"""Measure what evidence a label should need: single windows of the embedded streams, with and without an action."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec
import numpy as np

from stpr.runtime.bench.videos import EMBEDDED_ALL, Video, embedded_videos
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.decision import Decision
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model, open_model
from stpr.runtime.recognizer import run_all
from stpr.runtime.session import SPANS, Session
from stpr.runtime.sources.files import open_recorded

BOUNDS: Final = (-np.inf, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0)  # of evidence, as the head gives it
SHOWN: Final = 0.9  # share of an action that a window must show


class Window(NamedTuple):
    """A decided window: its decision, whether nobody acts in it, and the label of the action that it shows, if any."""

    decision: Decision
    still: bool
    action: str | None


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--actions", type=click.IntRange(min=1), default=40, show_default=True, help="Of each stream.")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True, help="Whose actors.")
def main(bundle: Path, actions: int, split: str) -> None:
    """Count labels among windows without and with an action, by the evidence that a label needs."""
    opened = open_bundle(bundle)
    free = [msgspec.structs.replace(entry, moves=False) for entry in opened.manifest.classes]  # a label needs none
    opened = replace(opened, manifest=msgspec.structs.replace(opened.manifest, classes=tuple(free)))
    windows: list[Window] = []
    with (
        open_model(opened, "onnxruntime", EngineOptions(threads=1)) as model,
        embedded_videos(EMBEDDED_ALL, None, actions=actions, split="train" if split == "train" else "test") as videos,
    ):
        for video in videos:
            click.echo(video.name, err=True)
            windows += _windows(model, video)
    still = [one.decision for one in windows if one.still]
    acting = [(one.decision, one.action) for one in windows if one.action is not None]
    click.echo(f"{len(still)} windows in which nobody acts, {len(acting)} that show {SHOWN:.0%} of an action")
    click.echo("evidence | nobody acts, has a label | acts, right label | acts, wrong label")
    for bound in BOUNDS:
        least = bound - 0.5 * np.log(len(SPANS))  # which is what a line of a run shows
        idle = [_label(one, least) is not None for one in still]
        right = [_label(one, least) == action for one, action in acting]
        wrong = [_label(one, least) not in {action, None} for one, action in acting]
        click.echo(f"{bound:8g} | " + " | ".join(f"{np.mean(part):.1%}" for part in (idle, right, wrong)))


def _windows(model: Model, video: Video) -> Iterator[Window]:
    """Every window of a video, as a live run decides it."""
    span = model.manifest.clip.span_seconds
    with closing(open_recorded(video.path)) as source:
        session = Session(model, source.origin)
        for results in run_all([session], ({0: frame} for frame in source)):
            for _, result in results:
                if (decision := result.prediction) is None or decision.state == "warming_up":
                    continue
                end = result.frame.captured_at
                still = all(one.end < end - max(SPANS) * span or one.start > end for one in video.actions)
                seen = {one: min(one.end, end) - max(one.start, end - span) for one in video.actions}
                most = max(video.actions, key=seen.__getitem__)
                shown = seen[most] >= SHOWN * (most.end - most.start)
                yield Window(decision, still, most.label if shown else None)


def _label(decision: Decision, least: float) -> str | None:
    """The label if it needed evidence of at least `least`."""
    return decision.label if decision.evidence is None or decision.evidence >= least else None


if __name__ == "__main__":
    main()
