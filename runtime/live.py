"""`stpr-run`, apart from its options: a source, a recognizer and sinks, joined until somebody says stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from stpr.runtime.contract.bundle import newest_bundle, open_bundle
from stpr.runtime.recognizer import Recognizer, open_recognizer
from stpr.runtime.sinks.json_lines import JsonLines
from stpr.runtime.sinks.pictures import Output, Pictures, Recording, Window, why_no_window
from stpr.runtime.sinks.sink import Sink
from stpr.runtime.sinks.text import TextLine
from stpr.runtime.sources import Source, open_source

BUNDLES = Path("bundles")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `stpr-run` was asked for."""

    source: str
    bundle: Path | None  # None: the newest one under bundles/
    engine: str
    threads: int | None
    headless: bool
    json: str | None
    record: Path | None


def run_live(options: Options) -> None:
    """Recognize until the source ends or the user stops it; then one line on standard error sums the run up."""
    bundle = open_bundle(options.bundle or newest_bundle(BUNDLES))
    with ExitStack() as opened:
        recognizer = opened.enter_context(open_recognizer(bundle, options.engine, threads=options.threads))
        source = opened.enter_context(closing(open_source(options.source)))
        click.echo(
            f"{bundle.path}: stage {bundle.manifest.stage} on {recognizer.engine}, watching {source.name}", err=True
        )
        try:
            _watch(recognizer, source, options)
        finally:
            click.echo(summary(recognizer, source, bundle.manifest.clip.span_seconds), err=True)


def _watch(recognizer: Recognizer, source: Source, options: Options) -> None:
    with ExitStack() as opened:
        sinks = [opened.enter_context(closing(sink)) for sink in _sinks(options, source)]
        opened.enter_context(_stop_on_signals(source))
        for result in recognizer.run(source):
            for sink in sinks:
                sink.write(result)


def summary(recognizer: Recognizer, source: Source, span_seconds: float) -> str:
    """One line about a run that ended."""
    timing = recognizer.timing
    latency = timing.latency_ms()
    said = (
        "latency p50 {:.1f}, p95 {:.1f}, p99 {:.1f} ms".format(*latency)
        if latency
        else f"no prediction: the source never gave frames for an unbroken {span_seconds:.3g} s, the span of a clip"
    )
    return (
        f"{timing.frames} frames, {timing.encoded} encoded, {source.dropped} dropped,"
        f" {source.reconnects} reconnects, {timing.fps:.1f} fps, {said}"
    )


def _sinks(options: Options, source: Source) -> Iterator[Sink]:
    headless = options.headless
    if not headless and (reason := why_no_window()):
        click.echo(f"no window: {reason}; running headless.", err=True)
        headless = True
    if options.json is not None:
        yield JsonLines(options.json)
    if headless and options.json != "-":
        yield TextLine(rewrite=sys.stdout.isatty())
    outputs: list[Output] = []
    if options.record is not None:
        outputs.append(Recording(options.record, fps=source.fps))
    if not headless:
        outputs.append(Window(source.stop))
    if outputs:
        yield Pictures(outputs)


@contextmanager
def _stop_on_signals(source: Source) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the source, so that files are finished; the second one ends the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a handler's signature)
        source.stop()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()
