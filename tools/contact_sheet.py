"""Lay out frames of a recorded video side by side in one picture: what stpr-run saw."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np


@click.command()
@click.argument("video", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--frame", "wanted", multiple=True, type=int, help="Frames to show.  [default: ten, evenly spaced]")
@click.option("--columns", default=5, show_default=True)
@click.option("--height", default=240, show_default=True, help="Of one frame, in pixels.")
def main(video: Path, out: Path, wanted: tuple[int, ...], columns: int, height: int) -> None:
    """Write frames of VIDEO as one picture OUT."""
    frames = []
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        frames.append(read[1])
    shown = wanted or tuple((2 * part + 1) * len(frames) // 20 for part in range(10))
    small = [
        cv2.resize(frames[index], (round(frames[index].shape[1] * height / frames[index].shape[0]), height))
        for index in shown
    ]
    small += [np.full_like(small[0], 255)] * (-len(small) % columns)
    rows = [np.hstack(small[start : start + columns]) for start in range(0, len(small), columns)]
    cv2.imwrite(str(out), np.vstack(rows))
    click.echo(f"{out}: {len(shown)} frames of {len(frames)}")


if __name__ == "__main__":
    main()
