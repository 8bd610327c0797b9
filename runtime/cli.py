"""The commands of a device, `stpr-run` and those around it. Options here, the work elsewhere.

OpenCV, numpy and the engines are imported when a command runs: `--help` is quick, and a missing library is one line.
"""

from __future__ import annotations

import importlib
import os
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec

from stpr.runtime.config import ConfiguredCommand
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.settings import ENGINE, PAGE_ADDRESS, Settings, read_event_settings, read_waits
from stpr.runtime.stopping import stop_on_signals

engine_option = click.option(
    "--engine",
    default=ENGINE,
    show_default=True,
    metavar="NAME",
    help="Runs the graphs: onnxruntime (CPU), onnxruntime-cuda, …; an unknown name is answered with all.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 256), help="CPU threads of one run [default: all cores]."
)

events_option = click.option(
    "--events",
    multiple=True,
    metavar="NAME=NUMBER",
    help="How events are told: wait, seconds before a start is said, linger, seconds before an end is; threshold and"
    " fade, in nats; apart, in spans. [default: wait=0.75 linger=0.5 threshold=-0.5 fade=-2 apart=0.875]",
)

signature_option = click.option(
    "--require-signature",
    type=click.Path(path_type=Path),
    metavar="PUBKEY",
    help="Refuse a bundle that is not signed with the key of this file (KEY.pub of stpr-export keygen KEY).",
)


@click.command(cls=ConfiguredCommand, either=[("camera", "source")])
@click.option("--camera", type=click.IntRange(min=0), metavar="N", multiple=True, help="A camera by its number.")
@click.option(
    "--source",
    metavar="URI",
    multiple=True,
    help="v4l2://DEV, csi://N, rtsp://…, http(s)://…, rtmp://…, srt://…, udp://…, a video, a folder of images,"
    " - (MJPEG or YUV4MPEG2 on standard input) or synthetic:motions; several, as with --camera, are watched at once.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A bundle from stpr-export [default: the newest under bundles/].",
)
@signature_option
@engine_option
@click.option("--headless", is_flag=True, help="No window.")
@click.option("--json", metavar="FILE|-", help="Append predictions to FILE, or write them to standard output.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Record what is seen to a .mp4 file, or to a folder in videos of a minute.",
)
@click.option(
    "--clips", type=click.Path(path_type=Path), metavar="DIR", help="Save a short video of each action to DIR."
)
@click.option(
    "--keep",
    metavar="SIZE,AGE",
    help="How much of such a folder to keep, such as 20GB,7d; the oldest videos are removed. [default: all]",
)
@click.option(
    "--mqtt",
    metavar="URL",
    help="Publish to a broker, mqtt[s]://HOST[:PORT][/TOPIC]: TOPIC/available, TOPIC/CAMERA/state and …/event.",
)
@click.option(
    "--mqtt-login",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="User and password, a line each. [default: STPR_MQTT_USER and STPR_MQTT_PASSWORD, if set]",
)
@click.option(
    "--mqtt-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trust the certificate authorities in this file (PEM) for mqtts://.",
)
@click.option("--webhook", metavar="URL", help="Post the start and the end of each action as JSON.")
@click.option(
    "--webhook-header",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A header for it in one line, such as Authorization: Bearer SECRET.",
)
@click.option(
    "--serve",
    is_flag=False,
    flag_value=PAGE_ADDRESS,
    metavar="[HOST:PORT]",
    help=f"A live page, /metrics, /healthz and /readyz, at {PAGE_ADDRESS} unless told; other machines need a token.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the token of the page. [default: the environment's STPR_TOKEN]",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take over newer bundles and updates that appear in DIR, without losing a frame; SIGUSR1 rolls back.",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Follow slow drift: of people, place and light never filmed. Bounded, and forgotten when the run ends.",
)
@click.option(
    "--login",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="User and password of streams, a line each. [default: STPR_SOURCE_USER and STPR_SOURCE_PASSWORD, if set]",
)
@click.option(
    "--transport", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True, help="What RTSP goes over."
)
@click.option(
    "--wait/--no-wait",
    default=None,
    help="Wait for cameras and streams that are not up yet [default: under a service of systemd].",
)
@events_option
@threads_option
def run(*, camera: tuple[int, ...], source: tuple[str, ...], **options: Any) -> None:
    """Recognize actions live, from cameras, streams or files."""
    sources = (*map(str, camera), *source)
    if not sources:
        raise click.UsageError("say what to watch with --camera N or --source URI.")
    if len(sources) > len(set(sources)):
        raise click.UsageError("a source is named twice; name each once.")
    options["events"] = read_event_settings(options["events"])
    # Every other option is a field of Settings, under the same name.
    settings = Settings(source=sources[0], more_sources=sources[1:], **options)
    with stop_on_signals() as stopping:
        _quiet_opencv()
        from stpr.runtime.live import run_live

        run_live(settings, stopping)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@signature_option
@engine_option
@threads_option
@click.option("--json", "as_json", is_flag=True, help="What was checked as JSON.")
def check(*, bundle: Path, require_signature: Path | None, engine: str, threads: int | None, as_json: bool) -> None:
    """Prove that BUNDLE is whole and does on this machine what it did where it was exported."""
    _quiet_opencv()
    from stpr.runtime.check import check_bundle

    lines = check_bundle(bundle, engine, threads=threads, trusted=require_signature)
    if as_json:
        click.echo(
            msgspec.json.format(msgspec.json.encode({"bundle": str(bundle), "checks": lines}), indent=1).decode()
        )
    width = max(len(line.what) for line in lines)
    for line in () if as_json else lines:
        click.echo(f"{'ok  ' if line.holds else 'FAIL'}  {line.what:<{width}}  {line.found}")
    if not all(line.holds for line in lines):
        raise BundleError(
            f"{bundle} does not do on {engine} what it was exported to do; try another --engine, or export it again."
        )


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
@click.option(
    "--annotations",
    metavar="FILE|synthetic:NAME",
    help="A CSV of the columns file, start, end, label (seconds); or videos made here: synthetic:motions, or one of"
    " them, such as synthetic:idle. [default: none, speed alone is measured]",
)
@click.option(
    "--videos",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the annotated videos. [default: the folder of FILE]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder for events.json and a timeline of each video.",
)
@click.option("--json", metavar="FILE|-", help="All figures as JSON, to FILE or to standard output.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How late after its action's end an event may start. [default: 1.1 spans of the bundle's clips]",
)
@click.option(
    "--actions", type=click.IntRange(min=1), metavar="N", help="Actions in each synthetic video. [default: 20]"
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Synthetic videos of each kind; of several also the mean and deviation. [default: 1]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    help="Whose actors act in synthetic videos; choose settings on train. [default: test]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Length of the video, where speed alone is measured. [default: 60]",
)
@click.option(
    "--cameras",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="How many cameras show it at once, where speed alone is measured. [default: 1]",
)
@events_option
@click.option(
    "--waits",
    metavar="N,N,...",
    help="Also say what each of these waits (seconds before a start is said) costs and gives.",
)
@engine_option
@threads_option
def bench(*, annotations: str | None, **options: Any) -> None:
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
        if options[name] not in (None, ()) and not applies:
            raise click.UsageError(f"--{name} goes with {where}.")
    _quiet_opencv()
    from stpr.runtime.bench import BenchSettings, run_bench

    # Every option is a field of BenchSettings, under the same name; what is left out has its default there.
    options["events"] = read_event_settings(options["events"])
    options["waits"] = read_waits(options["waits"], options["events"]) if options["waits"] is not None else None
    given = {name: value for name, value in options.items() if value is not None}
    run_bench(BenchSettings(annotations=annotations, **given))


@click.command(cls=Command)
@click.option("--camera", type=click.IntRange(min=0), metavar="N", help="A camera by its number.")
@click.option("--source", metavar="URI", help="Whatever stpr-run can watch; a film is cut into clips.")
@click.option("--label", required=True, metavar="NAME", help="The action: clips go to a folder of this name.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5, max=60), metavar="N", help="Length of each clip. [default: 2]"
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="How many clips to record. [default: 10]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder of classes. [default: videos]")
@click.option("--countdown", type=click.FloatRange(min=0), metavar="N", help="Seconds before a clip. [default: 3]")
@click.option("--yes", is_flag=True, help="Keep every clip without asking.")
def record(*, camera: int | None, source: str | None, **options: Any) -> None:
    """Record clips of one action to learn from, and look at each of them.

    Twice, with another --label each time, and `stpr-train videos/` has what it needs. Clips of one call count as one
    recording: record each action on several occasions, so that what is tested on was filmed another time.
    """
    if (camera is None) == (source is None):
        raise click.UsageError("say what to record with --camera N or --source URI, one of the two.")
    if source == "-":
        raise click.UsageError("--source - takes the standard input that answers are read from; name a file.")
    given = {name: value for name, value in options.items() if value is not None}
    with stop_on_signals() as stopping:
        _quiet_opencv()
        from stpr.runtime.record import RecordSettings, run_record

        # Every other option is a field of RecordSettings, under the same name; what is left out has its default there.
        run_record(RecordSettings(source=str(camera) if source is None else source, **given), stopping)


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
