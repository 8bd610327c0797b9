"""The device's command lines: `stpr-run` and others. Their options are the fields of their settings.

OpenCV, numpy and the engines are imported when a command runs, so that `--help` is fast and a missing library is one
line.
"""

from __future__ import annotations

import importlib
import os
import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from stpr.runtime.config import ConfiguredCommand
from stpr.runtime.contract.command import Command
from stpr.runtime.options import options_of
from stpr.runtime.settings import BenchSettings, CheckSettings, RecordSettings, Settings, read_event_settings
from stpr.runtime.stopping import stop_on_signals


@click.command(cls=ConfiguredCommand, either=[("camera", "source")])
@click.option("--camera", type=click.IntRange(min=0), metavar="N", multiple=True, help="A camera by its number.")
@click.option(
    "--source",
    metavar="URI",
    multiple=True,
    help="v4l2://DEV, csi://N, rtsp://…, http(s)://…, rtmp://…, srt://…, udp://…, a video, a folder of images,"
    " - (MJPEG or YUV4MPEG2 on standard input) or synthetic:motions; several, as with --camera, are watched at once.",
)
@options_of(Settings)
def run(*, camera: tuple[int, ...], source: tuple[str, ...], **options: Any) -> None:
    """Recognize actions live, from cameras, streams or files."""
    sources = (*map(str, camera), *source)
    if not sources:
        raise click.UsageError("name what to watch with --camera N or --source URI.")
    if len(sources) > len(set(sources)):
        raise click.UsageError("a source is named twice; name each once.")
    options["events"] = read_event_settings(options["events"])
    settings = Settings(source=sources[0], more_sources=sources[1:], **options)
    with stop_on_signals() as stopping:
        _quiet_opencv()
        from stpr.runtime.live import run_live

        run_live(settings, stopping)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@options_of(CheckSettings)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def check(*, bundle: Path, as_json: bool, **options: Any) -> None:
    """Verify that BUNDLE is complete and computes on this machine what it computed at the export."""
    _quiet_opencv()
    from stpr.runtime.check import run_check

    run_check(bundle, CheckSettings(**options), as_json=as_json)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("update", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The new bundle. [default: stage-N beside BUNDLE]")
def update(*, bundle: Path, update: Path, out: Path | None) -> None:
    """Apply UPDATE to BUNDLE and write the new bundle beside it; BUNDLE itself is not changed.

    UPDATE is a folder that `stpr-export --since` wrote. Nothing is put in place before every digest is verified, and
    repeating the command is harmless.
    """
    from stpr.runtime.contract.bundle import open_bundle
    from stpr.runtime.contract.delta import apply_delta, target_of

    target = out or target_of(bundle, update)
    made = apply_delta(open_bundle(bundle), update, target)
    click.echo(f"bundle: {target}, stage {made.manifest.stage} of {made.manifest.name} ({made.digest[:12]}…)")
    click.echo(f"next:   {shlex.join(['stpr-check', str(target)])}")


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@options_of(BenchSettings)
@click.pass_context
def bench(context: click.Context, /, *, annotations: str | None, **options: Any) -> None:
    """Evaluate BUNDLE on annotated videos: accuracy of its events, and speed."""
    made = annotations is not None and annotations.startswith("synthetic:")
    for name, applies, where in (
        ("videos", annotations is not None and not made, "--annotations FILE"),
        ("actions", made, "--annotations synthetic:NAME"),
        ("seeds", made, "--annotations synthetic:NAME"),
        ("split", made, "--annotations synthetic:NAME"),
        ("tolerance", annotations is not None, "--annotations"),
        ("events", annotations is not None, "--annotations"),
        ("waits", annotations is not None, "--annotations"),
        ("seconds", annotations is None, "no --annotations"),
        ("cameras", annotations is None, "no --annotations"),
    ):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT and not applies:
            raise click.UsageError(f"--{name} goes with {where}.")
    options["events"] = read_event_settings(options["events"])
    settings = BenchSettings(annotations=annotations, **options)
    _quiet_opencv()
    from stpr.runtime.bench import run_bench

    run_bench(settings)


@click.command(cls=Command)
@click.option("--camera", type=click.IntRange(min=0), metavar="N", help="A camera by its number.")
@click.option("--source", metavar="URI", help="Any source of stpr-run; a video file is cut into clips.")
@options_of(RecordSettings)
def record(*, camera: int | None, source: str | None, **options: Any) -> None:
    """Record training clips of one action, and check the quality of each.

    Run it for at least two labels, then `stpr-train videos/`. Clips of one call count as one recording: record each
    action on several occasions, so that test clips are from another occasion than training clips.
    """
    if (camera is None) == (source is None):
        raise click.UsageError("name what to record with either --camera N or --source URI.")
    if source == "-":
        raise click.UsageError("--source - uses the standard input, which your answers are read from; name a file.")
    settings = RecordSettings(source=str(camera) if source is None else source, **options)
    with stop_on_signals() as stopping:
        _quiet_opencv()
        from stpr.runtime.record import run_record

        run_record(settings, stopping)


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Check what this machine has and lacks for stpr, with fixes; exit code 2 if something is broken."""
    from stpr.runtime.doctor import run_doctor

    run_doctor(as_json=as_json)


def _quiet_opencv() -> None:
    """Import OpenCV and silence its messages; errors with cameras and files are reported by us, once."""
    # Read by OpenCV when FFmpeg is first used; there is no function for it. The user's setting has priority.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = importlib.import_module("cv2")
    # OpenCV 4 and 5 have it in different places.
    home = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    home.setLogLevel(0)
