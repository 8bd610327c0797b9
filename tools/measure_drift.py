"""Measure gain and risk of drift correction: the clips of a list, one after the other, through a bundle."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final, TypeAlias

import click
import numpy as np

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.sampling import centre_frames
from stpr.runtime.drift import Drift
from stpr.runtime.model import Model, open_model
from stpr.runtime.sources.files import open_recorded

POISON: Final = 600  # clips of one second: ten minutes
STRANGE: Final = 5.0  # offset of every column of the strange scene, in standard deviations
Clips: TypeAlias = tuple[Array, list[str]]  # (n, T, D) and their labels


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("clips", type=click.Path(path_type=Path))
@click.option("--videos", type=click.Path(path_type=Path), required=True, help="Where the list's videos lie.")
@click.option("--where", metavar="COLUMN=VALUE", required=True, help="Which rows of the list are watched.")
def main(bundle: Path, clips: Path, videos: Path, where: str) -> None:
    """Classify the rows of CLIPS (path,label,…) in random order with and without drift, then after poisoned streams."""
    opened = open_bundle(bundle)
    place = opened.place()
    if place is None:
        raise click.UsageError(f"{bundle} does not say where its classes lie; export the stage again.")
    column, value = where.split("=")
    rng, frames = np.random.default_rng(0), opened.manifest.clip.frames
    with open_model(opened, "onnxruntime") as model, clips.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[column] == value]
        rows = [rows[index] for index in rng.permutation(len(rows))]
        shown = np.stack([_features(model, videos / row["path"]) for row in rows]), [row["label"] for row in rows]
        _say("as it is", *_watched(model, shown, None))
        _say("following the drift", *_watched(model, shown, Drift(place, frames)))
        for label in opened.manifest.class_names[::8]:
            drift, own = Drift(place, frames), shown[0][[name == label for name in shown[1]]]
            _show(drift, own[rng.integers(len(own), size=POISON)])
            _say(f"after ten minutes of {label}", *_held(model, shown, drift))
        scene = place.middle + STRANGE * place.deviation * rng.choice([-1, 1], size=len(place.middle))
        drift = Drift(place, frames)
        _show(drift, np.broadcast_to(scene.astype(np.float32), (POISON, frames, len(scene))))
        _say("after ten minutes of a strange scene", *_held(model, shown, drift))
        moving = place.deviation > 0
        off = np.abs(drift.shift[moving] / place.deviation[moving])
        click.echo(f"which moves {moving.sum()} columns by {off.max():.2f} deviations at most")


def _features(model: Model, video: Path) -> Array:
    """A clip's centre view `(T, D)`."""
    images = [frame.image for frame in open_recorded(video)]
    return model.encode([images[index] for index in centre_frames(len(images), model.manifest.clip.frames)])


def _show(drift: Drift, clips: Array) -> None:
    for clip in clips:
        for _ in range(len(clip)):
            drift.see(clip)


def _watched(model: Model, shown: Clips, drift: Drift | None) -> tuple[float, float]:
    """Accuracy, and share of known clips recognised as known, while the drift estimate is updated."""
    right, known = [], []
    for clip, label in zip(*shown, strict=True):
        seen = clip[np.newaxis] if drift is None else drift.moved_back(clip[np.newaxis])
        (decision,) = model.judge(seen)
        right.append(decision.top[0][0] == label)
        known.append(decision.state == "known")
        if drift is not None:
            _show(drift, clip[np.newaxis])
    return float(np.mean(right)), float(np.mean(known))


def _held(model: Model, shown: Clips, drift: Drift) -> tuple[float, float]:
    """The same with the drift estimate fixed."""
    decisions = model.judge(drift.moved_back(shown[0]))
    right = [decision.top[0][0] == label for decision, label in zip(decisions, shown[1], strict=True)]
    return float(np.mean(right)), float(np.mean([decision.state == "known" for decision in decisions]))


def _say(what: str, right: float, known: float) -> None:
    click.echo(f"{what:40} {100 * right:5.1f} % right, {100 * known:5.1f} % taken for known")


if __name__ == "__main__":
    main()
