"""How well a bundle tells events on untrimmed videos of the embedded set: figures, and a timeline of each video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.events import Start
from stpr.runtime.filters import open_filters
from stpr.runtime.model import Model, open_model
from stpr.runtime.motions_streams import SCENARIOS, write_streams
from stpr.runtime.recognizer import run
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.sources import open_source
from stpr.runtime.untrimmed import Action, EventFigures, Heard, Stream, figures, read_annotations
from stpr.train.report.console import new_console, print_table
from stpr.train.report.timeline import timeline_figure

SEED: Final = 0
HEADINGS: Final = (
    "video",
    "actions",
    "events",
    "right",
    "precision",
    "recall",
    "F1",
    "false a minute",
    "delay s",
    "still",
)


@click.command(cls=Command, extra="train,server")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for videos and pictures.")
@click.option("--actions", default=200, show_default=True, type=click.IntRange(min=1), help="In each video.")
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="[default: all]")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "test"]))
def main(bundle: Path, out: Path, actions: int, names: tuple[str, ...], split: str) -> None:
    """Write untrimmed videos into --out, let BUNDLE watch them, and print how well its events tell the actions."""
    names = names or tuple(SCENARIOS)
    listed = write_streams(out, names=names, split="train" if split == "train" else "test", actions=actions, seed=SEED)
    truth = read_annotations(listed)
    found, rows = {}, []
    with open_model(open_bundle(bundle), "onnxruntime", EngineOptions(threads=1)) as model:
        for name in names:
            stream, still = _watch(model, out / f"{name}.mp4", truth[f"{name}.mp4"])
            found[name] = figures([stream])
            timeline_figure(stream, title=name).savefig(out / f"{name}.png", format="png")
            rows.append(_row(name, found[name], still))
    (out / "events.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    print_table(new_console(), HEADINGS, rows)


def _watch(model: Model, video: Path, actions: Sequence[Action]) -> tuple[Stream, float | None]:
    """What was heard, and the share of windows within stillness that are called an action."""
    source = open_source(str(video))
    session = Session(model, source.origin, open_filters(Settings(source=str(video)), model.manifest))
    heard, called, seconds = [], [], 0.0
    for result in run(session, source):
        seconds = result.frame.captured_at
        starts = (event for event in result.events if isinstance(event, Start) and event.media_time is not None)
        heard += [Heard(event.media_time or 0.0, seconds, event.label) for event in starts]
        if result.prediction is not None and _is_still(seconds, model.manifest.clip.span_seconds, actions):
            called.append(result.prediction.label is not None)
    return Stream(seconds, actions, heard), sum(called) / len(called) if called else None


def _is_still(now: float, span: float, actions: Sequence[Action]) -> bool:
    return all(action.end < now - 1.125 * span or action.start > now for action in actions)


def _row(name: str, found: EventFigures, still: float | None) -> list[str]:
    shares = (_text(share, ".3f") for share in (found.precision, found.recall, found.f1))
    delay = None if found.delay is None else found.delay[0]
    return [
        name,
        *(str(count) for count in (found.actions, found.events, found.right)),
        *shares,
        f"{found.false_a_minute:.2f}",
        _text(delay, ".2f"),
        _text(still, ".1%"),
    ]


def _text(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


if __name__ == "__main__":
    main()
