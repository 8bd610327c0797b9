"""`stpr-bench`: evaluate a bundle's event detection on untrimmed videos, and measure its speed.

Read in this order: videos (videos and annotations), watch (running a bundle on one video), report (metrics and
tables), timeline (a figure per video). Matching events to actions is in runtime/untrimmed.py.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import Final

import click
import cv2
import msgspec

from stpr.runtime.bench.parts import Parts
from stpr.runtime.bench.report import SCHEMA, BenchReport, Cost, measure_cost, report_lines, spreads
from stpr.runtime.bench.timeline import draw_timeline
from stpr.runtime.bench.videos import (
    EMBEDDED,
    Video,
    annotated_videos,
    embedded_videos,
    length,
    not_learnt,
    overlapping,
    unannotated_stream,
)
from stpr.runtime.bench.watch import Watched, Watcher
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.durable import explain, write_file
from stpr.runtime.contract.errors import BundleError, StprError
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model
from stpr.runtime.settings import BenchSettings
from stpr.runtime.sinks.raw_file import standard_output, write_whole
from stpr.runtime.sinks.targets import check_apart
from stpr.runtime.untrimmed import TOLERANCE_SPANS, EventFigures, Stream, figures

REPORT: Final = "events.json"


def run_bench(settings: BenchSettings) -> None:
    """Run the benchmark, print and write its results. Raises StprError for invalid settings before it starts."""
    bundle, parts = open_bundle(settings.bundle), Parts()
    with parts.open_model(bundle, settings.engine, EngineOptions(threads=settings.threads)) as model:
        if settings.annotations is not None and not model.tells_events:
            raise BundleError(
                f"{settings.bundle} can't detect events: its head gives no evidence. Train with `[statistics] events ="
                " true` and export again; without --annotations only its speed is measured."
            )
        _check_places(settings)
        with _videos(settings) as videos:
            _check_inputs_stay(settings, videos)
            _say(f"{settings.bundle}: stage {bundle.manifest.stage} on {model.engine}")
            unknown = not_learnt(videos, bundle.manifest.class_names)
            for line in _remarks(settings, videos, unknown):
                _say(line)
            watcher = Watcher(model, parts, [settings.events, *settings.other_events], settings.cameras)
            watched = {
                video.name: _watch(watcher, video, f"{index}/{len(videos)}")
                for index, video in enumerate(videos, start=1)
            }
        cost = measure_cost([*chain.from_iterable(watched.values())], parts.calls, settings.cameras)
        streams = {name: first.stream for name, (first, *_) in watched.items()}
        again = [[first.also[place] for first, *_ in watched.values()] for place in range(len(settings.other_events))]
        report = _report(settings, model, unknown, streams, cost)
        report = msgspec.structs.replace(report, waits=_waits(settings, report, again))
    lines = "\n".join(report_lines(report))
    click.echo(lines, err=settings.json == "-")
    _write(settings, report, streams)


def _check_places(settings: BenchSettings) -> None:
    """Create --out and check the folder of --json, so that an hour of work does not end in an error on writing."""
    try:
        if settings.out is not None:
            settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StprError(f"{explain(error, settings.out or Path())}, or choose another --out.") from error
    if settings.json not in (None, "-") and not Path(settings.json).parent.is_dir():
        raise StprError(f"can't write figures to {settings.json}: there is no such folder; make it first.")


def _check_inputs_stay(settings: BenchSettings, videos: Sequence[Video]) -> None:
    """Raise StprError if outputs would overwrite the inputs or each other."""
    targets = {} if settings.json in (None, "-") else {f"--json {settings.json}": Path(settings.json)}
    if settings.out is not None:
        names = (REPORT, *picture_names([video.name for video in videos]))
        targets |= {f"--out's {settings.out / name}": settings.out / name for name in names}
    inputs = {f"the video {video.path}": video.path for video in videos}
    if settings.annotations is not None:
        inputs[f"the list {settings.annotations}"] = Path(settings.annotations)
    check_apart(targets, inputs)


@contextmanager
def _videos(settings: BenchSettings) -> Iterator[list[Video]]:
    """The videos to watch; generated ones exist until the block ends."""
    annotations = settings.annotations
    if annotations is None:
        with unannotated_stream(settings.seconds) as video:
            yield [video]
    elif annotations.startswith(EMBEDDED):
        made = embedded_videos(
            annotations, settings.out, actions=settings.actions, seeds=settings.seeds, split=settings.split
        )
        with made as videos:
            yield videos
    else:
        yield annotated_videos(Path(annotations), settings.videos or Path(annotations).parent)


def _remarks(settings: BenchSettings, videos: Sequence[Video], unknown: Mapping[str, int]) -> Iterator[str]:
    """Notes for the reader of the results."""
    if settings.annotations is None:
        yield f"no --annotations: measuring speed only, on {settings.seconds:g} s of the embedded stream"
    for label, count in unknown.items():
        yield f"not learnt by this bundle: {label!r} (actions: {count}); events during them count as false"
    for video in videos:
        if both := overlapping(video.actions):
            yield (
                f"{video.name}: {len(both)} actions begin before another has ended, the first {both[0].label!r}"
                f" at {both[0].start:g} s; each counts, although a bundle detects one action at a time"
            )


def _watch(watcher: Watcher, video: Video, position: str) -> list[Watched]:
    """Run on a video, with progress on a terminal."""
    seconds = length(video)
    bar = click.progressbar(length=max(1, round(seconds)), label=f"{position} {video.name}", file=sys.stderr)
    with bar:
        return watcher.watch(video, lambda seen: bar.update(int(seen) - bar.pos))


def _report(
    settings: BenchSettings, model: Model, unknown: dict[str, int], streams: Mapping[str, Stream], cost: Cost
) -> BenchReport:
    spans = TOLERANCE_SPANS * model.manifest.clip.span_seconds
    tolerance = spans if settings.tolerance is None else settings.tolerance
    judged = {} if settings.annotations is None else streams

    def of(streams: Sequence[Stream]) -> EventFigures:
        return figures(streams, tolerance=tolerance, not_learnt=unknown)

    return BenchReport(
        schema=SCHEMA,
        bundle=model.id,
        engine=model.engine,
        threads=settings.threads,
        annotations=settings.annotations,
        tolerance=tolerance,
        settings=settings.events,
        not_learnt=unknown,
        cost=cost,
        all=of([*judged.values()]) if judged else None,
        videos=(videos := {name: of([stream]) for name, stream in judged.items()}),
        seeds=spreads(videos) if settings.seeds > 1 else {},
    )


def _waits(settings: BenchSettings, report: BenchReport, again: Sequence[Sequence[Stream]]) -> dict[str, EventFigures]:
    """Metrics over all videos for each value of --waits."""
    given = [f"{other.wait:g}" for other in settings.other_events]
    return {
        wait: figures(streams, tolerance=report.tolerance, not_learnt=report.not_learnt)
        for wait, streams in zip(given, again, strict=True)
    }


def _write(settings: BenchSettings, report: BenchReport, streams: Mapping[str, Stream]) -> None:
    """Write the files of --json and --out."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    if settings.json == "-":
        write_whole(standard_output(), text)
    elif settings.json is not None:
        _write_file(Path(settings.json), text)
    if settings.out is None:
        return
    _write_file(settings.out / REPORT, text)
    pictures = picture_names(report.videos)
    for name, picture in zip(report.videos, pictures, strict=True):
        drawn = draw_timeline(streams[name], title=name, tolerance=report.tolerance, not_learnt=report.not_learnt)
        _, png = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        _write_file(settings.out / picture, png.tobytes())
    _say(f"written: {', '.join(str(settings.out / name) for name in (REPORT, *pictures))}")


def picture_names(videos: Collection[str]) -> list[str]:
    """Unique file names for the timelines: path parts joined; videos of one stem keep their suffixes."""
    flat = [PurePath(name.strip("./").replace("/", "_")) for name in videos]
    stems = Counter(name.stem for name in flat)
    return [f"{name.stem if stems[name.stem] == 1 else name.name}.png" for name in flat]


def _write_file(target: Path, data: bytes) -> None:
    try:
        write_file(target, data)
    except OSError as error:
        raise StprError(f"{explain(error, target)}, or choose another place.") from error


def _say(words: str) -> None:
    click.echo(words, err=True)
