"""The commands of a device: `stpr-run` and `stpr-check`. Options here, the work in live.py and check.py.

OpenCV, numpy and the engines are imported when a command runs: `--help` is quick, and a missing library is one line.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import click

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.settings import ENGINE, Settings

engine_option = click.option(
    "--engine",
    default=ENGINE,
    show_default=True,
    metavar="NAME",
    help="Runs the graphs: onnxruntime (CPU), onnxruntime-cuda, …; an unknown name is answered with all.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of one run [default: all cores]."
)


@click.command(cls=Command)
@click.option("--camera", type=click.IntRange(min=0), metavar="N", help="A camera by its number.")
@click.option(
    "--source",
    metavar="URI",
    help="v4l2://DEV, csi://N, rtsp://…, http(s)://…, a video, a folder of images, or synthetic:motions.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A bundle from stpr-export [default: the newest under bundles/].",
)
@engine_option
@click.option("--headless", is_flag=True, help="No window.")
@click.option("--json", metavar="FILE|-", help="Append predictions to FILE, or write them to standard output.")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE", help="Record what is seen to a .mp4 file.")
@threads_option
def run(*, camera: int | None, source: str | None, **options: Any) -> None:
    """Recognize actions live, from a camera, a stream or a file."""
    if (camera is None) == (source is None):
        raise click.UsageError("say what to watch with --camera N or --source URI, one of the two.")
    _quiet_opencv()
    from stpr.runtime.live import run_live

    # Every other option is a field of Settings, under the same name.
    settings = Settings(source=str(camera) if source is None else source, **options)
    run_live(settings)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_option
@threads_option
def check(*, bundle: Path, engine: str, threads: int | None) -> None:
    """Prove that BUNDLE is whole and does on this machine what it did where it was exported."""
    _quiet_opencv()
    from stpr.runtime.check import check_bundle

    lines = check_bundle(bundle, engine, threads=threads)
    width = max(len(line.what) for line in lines)
    for line in lines:
        click.echo(f"{'ok  ' if line.holds else 'FAIL'}  {line.what:<{width}}  {line.found}")
    if not all(line.holds for line in lines):
        raise BundleError(
            f"{bundle} does not do on {engine} what it was exported to do; try another --engine, or export it again."
        )


def _quiet_opencv() -> None:
    """Import OpenCV and turn its messages off: what it finds wrong with cameras and files is said by us, once."""
    # Read by OpenCV when its FFmpeg part first runs; there is no call for it. A user's own setting stays.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = importlib.import_module("cv2")
    # OpenCV 4 has it in the one place, 5 in the other.
    home = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    home.setLogLevel(0)
