"""`stpr-run`: connect sources, sessions and sinks, and run until stopped."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial

import msgspec

from stpr.runtime.cameras import Cameras
from stpr.runtime.contract.errors import StprError
from stpr.runtime.opening import Frame, Source, cannot_adapt, open_for, session_for
from stpr.runtime.recognizer import run, run_all
from stpr.runtime.result import Result
from stpr.runtime.serve import Board, serving
from stpr.runtime.service import under_systemd
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import Sinks, StopRun, open_sinks, why_no_window
from stpr.runtime.stopping import Stopping
from stpr.runtime.updates import Models, Updater

log = logging.getLogger(__name__)


def run_live(settings: Settings, stopping: Stopping) -> None:
    """Recognize until the source ends or the user stops it; then write a summary line to standard error."""
    with ExitStack() as opened:
        models = opened.enter_context(closing(Models(settings)))
        model = opened.enter_context(models.first())
        sources = [opened.enter_context(closing(open_for(settings, uri))) for uri in settings.sources]
        sessions = [session_for(source, model, settings) for source in sources]
        names = ", ".join(source.origin.name for source in sources)
        log.info("%s: stage %d on %s, watching %s", model.bundle.path, model.id.stage, model.engine, names)
        if settings.adapt and sessions[0].drift is None:
            log.warning("%s", cannot_adapt(model))
        updater = opened.enter_context(closing(Updater(models, sessions, settings)))
        if settings.watch is not None:
            signal.signal(signal.SIGUSR1, updater.on_signal)
        board = Board(dict(zip(sessions, sources, strict=True)), updater, settings.clips)
        see = opened.enter_context(serving(settings, board))
        board.sinks = sinks = open_sinks(_with_a_window_or_headless(settings))
        words = partial(summaries, sessions, sources, sinks)
        cameras = Cameras(sources) if len(sources) > 1 else None
        stop = sources[0].stop if cameras is None else cameras.stop
        with stopping.by(stop, sinks.stop, finish=sinks.finish, words=words), closing(sinks), suppress(StopRun):
            pulse = opened.enter_context(under_systemd(f"watching {names}"))
            rounds = (
                _alone(sessions[0], pulse.through(sources[0]))
                if cameras is None
                else run_all(sessions, pulse.through(cameras))
            )
            for results in rounds:
                for session, result in results:
                    sinks.write(result)
                    see(session, result)
                models.after()
                updater.after(results)
    if sinks.broken:
        raise StprError(f"{', '.join(sinks.broken)} stopped before the end, see above; fix that and run again.")


def _alone(session: Session, frames: Iterable[Frame]) -> Iterator[list[tuple[Session, Result]]]:
    """The loop for one camera, which needs no extra thread."""
    for result in run(session, frames):
        yield [(session, result)]


def summaries(sessions: Sequence[Session], sources: Sequence[Source], sinks: Sinks) -> str:
    """One summary line per source, with its name if there are several."""
    lines = [summary(session, source, sinks) for session, source in zip(sessions, sources, strict=True)]
    if len(lines) == 1:
        return lines[0]
    return "\n".join(f"{source.origin.name}: {line}" for source, line in zip(sources, lines, strict=True))


def summary(session: Session, source: Source, sinks: Sinks) -> str:
    """The summary line of a run."""
    timing, span = session.timing, session.model.manifest.clip.span_seconds
    latency = timing.latency_ms()
    latencies = (
        "latency p50 {:.1f}, p95 {:.1f}, p99 {:.1f} ms".format(*latency)
        if latency
        else f"no prediction: the source never gave frames for an unbroken {span:.3g} s, the span of a clip"
    )
    missed = f", {source.skipped} unreadable" if source.skipped else ""
    missed += "".join(f", {name} missed {count} results" for name, count in sinks.missed.items())
    return (
        f"{timing.frames} frames, {timing.encoded} encoded, {source.dropped} dropped,"
        f" {source.reconnects} reconnects, {timing.fps:.1f} fps, {latencies}{missed}"
    )


def _with_a_window_or_headless(settings: Settings) -> Settings:
    """Switch to headless, with a warning, if no window can be shown."""
    if settings.headless or (reason := why_no_window()) is None:
        return settings
    log.warning("no window: %s; running headless.", reason)
    return msgspec.structs.replace(settings, headless=True)
