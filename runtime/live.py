"""`stpr-run`, apart from its options: a source, a session and sinks, joined until somebody says stop."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing, suppress
from functools import partial

import click
import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.filters import open_filters
from stpr.runtime.recognizer import run
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import Sinks, StopRun, open_sinks
from stpr.runtime.sinks.window import why_no_window
from stpr.runtime.sources import Source, SourceOptions, open_source
from stpr.runtime.stopping import Stopping
from stpr.runtime.updates import Models, Updater


def run_live(settings: Settings, stopping: Stopping) -> None:
    """Recognize until the source ends or the user stops it; then one line on standard error sums the run up."""
    models = Models(settings)
    with ExitStack() as opened:
        model = opened.enter_context(models.first())
        source = opened.enter_context(closing(open_source(settings.source, source_options(settings))))
        session = Session(model, source.origin, open_filters(settings, model.manifest))
        click.echo(
            f"{model.bundle.path}: stage {model.id.stage} on {model.engine}, watching {source.origin.name}", err=True
        )
        sinks = open_sinks(_with_a_window_or_headless(settings))
        updater = opened.enter_context(closing(Updater(models, [session], settings)))
        if settings.watch is not None:
            signal.signal(signal.SIGUSR1, updater.on_signal)
        words = partial(summary, session, source, sinks)
        with stopping.by(source.stop, sinks.stop, finish=sinks.finish, words=words), closing(sinks), suppress(StopRun):
            for result in run(session, source):
                sinks.write(result)
                updater.after([(session, result)])
    if sinks.broken:
        raise StprError(f"{', '.join(sinks.broken)} stopped before the end, see above; mend that and run again.")


def source_options(settings: Settings) -> SourceOptions:
    """How sources are to be opened."""
    return SourceOptions(threads=settings.threads)


def summary(session: Session, source: Source, sinks: Sinks) -> str:
    """One line about a run that ended."""
    timing, span = session.timing, session.model.manifest.clip.span_seconds
    latency = timing.latency_ms()
    said = (
        "latency p50 {:.1f}, p95 {:.1f}, p99 {:.1f} ms".format(*latency)
        if latency
        else f"no prediction: the source never gave frames for an unbroken {span:.3g} s, the span of a clip"
    )
    missed = f", {source.skipped} unreadable" if source.skipped else ""
    missed += "".join(f", {name} missed {count} results" for name, count in sinks.missed.items())
    return (
        f"{timing.frames} frames, {timing.encoded} encoded, {source.dropped} dropped,"
        f" {source.reconnects} reconnects, {timing.fps:.1f} fps, {said}{missed}"
    )


def _with_a_window_or_headless(settings: Settings) -> Settings:
    """Headless where a window was asked for and none can be shown, and that is said."""
    if settings.headless or (reason := why_no_window()) is None:
        return settings
    click.echo(f"no window: {reason}; running headless.", err=True)
    return msgspec.structs.replace(settings, headless=True)
