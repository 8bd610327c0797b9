"""Swap two stages of a run repeatedly under a live stream, and count dropped frames and wrong predictions."""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import click
import numpy as np

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.filters import open_filters
from stpr.runtime.recognizer import run
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings, UpdateSettings
from stpr.runtime.sources import SYNTHETIC, open_source
from stpr.runtime.updates import Models, Updater

QUIET = 960  # frames: a minute


@click.command(cls=Command)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--swaps", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--predictions", type=click.IntRange(min=1), default=4, show_default=True, help="Compared before each.")
def main(old: Path, new: Path, swaps: int, predictions: int) -> None:
    """Swap between OLD and NEW on the embedded stream, live, and count, after a first minute without swaps."""
    classes = {bundle.digest: bundle.manifest.class_names for bundle in map(open_bundle, (old, new))}
    counts: Counter[str] = Counter()
    lost_in: Counter[str] = Counter()
    holds: dict[str, list[float]] = defaultdict(list)  # ms from a frame's capture until it was processed, by phase
    last, longest, warming, quiet = -1, 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        rules = UpdateSettings(predictions=predictions, disagreement=0.9)  # few windows, and actions change in them
        settings = Settings(source=SYNTHETIC, bundle=old, watch=Path(folder), updates=rules)
        models = Models(settings)
        with models.first() as model, closing(open_source(SYNTHETIC)) as source:
            session = Session(model, source.origin, open_filters(settings, model.manifest))
            with closing(Updater(models, [session], settings)) as updater:
                asked_at = -1
                for result in run(session, source):
                    began = time.perf_counter()
                    updater.after([(session, result)])
                    longest = max(longest, time.perf_counter() - began)
                    counts["lost"] += result.frame.index - last - 1
                    lost, last, status = result.frame.index - last - 1, result.frame.index, updater.status
                    phase = "without swaps" if last <= QUIET else status.phase
                    holds[phase].append(1000 * (time.monotonic() - result.frame.captured_at))
                    if last <= QUIET:
                        quiet = counts["lost"]
                        continue
                    lost_in[phase] += lost
                    if (prediction := result.prediction) is not None:
                        counts["predictions"] += 1
                        warming += prediction.state == "warming_up"
                        known = set(classes[prediction.bundle.digest])
                        counts["wrong"] += not {name for name, _ in prediction.top} <= known
                    if status.phase == "idle" and status.swaps >= swaps:
                        break
                    if status.phase == "idle" and asked_at < status.swaps:
                        asked_at = status.swaps
                        updater.ask(new) if asked_at % 2 == 0 else updater.roll_back()
    click.echo(f"without swaps: {QUIET} frames, {quiet} dropped by a busy machine")
    click.echo(
        f"{swaps} swaps: {last - QUIET} frames, {counts['lost'] - quiet} dropped,"
        f" {counts['predictions']} predictions, {counts['wrong']} of classes that their bundle does not know,"
        f" {warming} warming up; longest hold between two frames {1000 * longest:.1f} ms"
    )
    for during, found in holds.items():
        p50, p99 = np.percentile(found, [50, 99])
        click.echo(
            f"  {during}: {len(found)} frames, {lost_in[during]} dropped, each done with after p50 {p50:.1f},"
            f" p99 {p99:.1f}, at most {max(found):.1f} ms"
        )


if __name__ == "__main__":
    main()
