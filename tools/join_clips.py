"""Join clips of a run's test split, one per class, into one video to play through stpr-run."""

from __future__ import annotations

import csv
from pathlib import Path

import click
import cv2


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-class", default=1, show_default=True, help="Clips of each class.")
def main(predictions: Path, out: Path, per_class: int) -> None:
    """Write OUT (.mp4) and, beside it, OUT.csv with the first frame and label of each clip of PREDICTIONS.csv."""
    chosen = _choose(predictions, per_class)
    first = cv2.VideoCapture(str(chosen[0][0]))
    fps = first.get(cv2.CAP_PROP_FPS)
    size = (int(first.get(cv2.CAP_PROP_FRAME_WIDTH)), int(first.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    frames = 0
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "label"])
        for path, label in chosen:
            table.writerow([frames, label])
            video = cv2.VideoCapture(str(path))
            while (read := video.read())[0]:
                writer.write(cv2.resize(read[1], size))
                frames += 1
    writer.release()
    click.echo(f"{out}: {len(chosen)} clips, {frames} frames")


def _choose(predictions: Path, per_class: int) -> list[tuple[Path, str]]:
    taken: dict[str, int] = {}
    chosen = []
    with predictions.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            taken[row["label"]] = taken.get(row["label"], 0) + 1
            if taken[row["label"]] <= per_class:
                chosen.append((Path(row["path"]), row["label"]))
    return chosen


if __name__ == "__main__":
    main()
