"""The commands of a device, `stpr-run` and those around it. Their options are the fields of their settings.

OpenCV, numpy and the engines are imported when a command runs: `--help` is quick, and a missing library is one line.
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
        raise click.UsageError("say what to watch with --camera N or --source URI.")
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
@click.option("--json", "as_json", is_flag=True, help="What was checked as JSON.")
def check(*, bundle: Path, as_json: bool, **options: Any) -> None:
    """Prove that BUNDLE is whole and does on this machine what it did where it was exported."""
    _quiet_opencv()
    from stpr.runtime.check import run_check

    run_check(bundle, CheckSettings(**options), as_json=as_json)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("update", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The new bundle. [default: stage-N beside BUNDLE]")
def update(*, bundle: Path, update: Path, out: Path | None) -> None:
    """Make the bundle of the next stage of BUNDLE and of what UPDATE brings; BUNDLE itself stays as it is.

    UPDATE is a folder that `stpr-export --since` wrote. Nothing is put in place before every digest holds, and doing it
    twice does no harm.
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
    """Judge BUNDLE on annotated videos: how well its events tell actions, and how fast it is."""
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
@click.option("--source", metavar="URI", help="Whatever stpr-run can watch; a film is cut into clips.")
@options_of(RecordSettings)
def record(*, camera: int | None, source: str | None, **options: Any) -> None:
    """Record clips of one action to learn from, and look at each of them.

    Twice, with another --label each time, and `stpr-train videos/` has what it needs. Clips of one call count as one
    recording: record each action on several occasions, so that what is tested on was filmed another time.
    """
    if (camera is None) == (source is None):
        raise click.UsageError("say what to record with --camera N or --source URI, one of the two.")
    if source == "-":
        raise click.UsageError("--source - takes the standard input that answers are read from; name a file.")
    settings = RecordSettings(source=str(camera) if source is None else source, **options)
    with stop_on_signals() as stopping:
        _quiet_opencv()
        from stpr.runtime.record import run_record

        run_record(settings, stopping)


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
def doctor(*, as_json: bool) -> None:
    """Say what this machine has and lacks for stpr, with the fix for each; exit code 2 where something is broken."""
    from stpr.runtime.doctor import run_doctor

    run_doctor(as_json=as_json)


def _quiet_opencv() -> None:
    """Import OpenCV and turn its messages off: what it finds wrong with cameras and files is said by us, once."""
    # Read by OpenCV when its FFmpeg part first runs; there is no call for it. A user's own setting stays.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = importlib.import_module("cv2")
    # OpenCV 4 has it in the one place, 5 in the other.
    home = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    home.setLogLevel(0)
