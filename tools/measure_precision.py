"""Measure each precision: export and verify a stage in all of them, and time their encoders in interleaved rounds.

int8 is measured in both forms, for CPUs and for TensorRT.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from stpr.export.in_turns import median_seconds
from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.export.parity.certificate import Certificate
from stpr.export.precisions import PRECISIONS, SYMMETRIC
from stpr.runtime.contract.bundle import PARITY, Bundle, open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions

FORMS: Final[dict[str, tuple[Precision, str | None]]] = {  # row -> precision and target
    **{precision: (precision, None) for precision in PRECISIONS},
    **{f"{precision} for TensorRT": (precision, "jetpack6") for precision in SYMMETRIC},
}


@click.command(cls=Command, extra="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--stage", type=click.IntRange(min=1), required=True)
@click.option("--clips", type=click.IntRange(min=1), help="Prove each on so many test clips. [default: all]")
@click.option("--engine", default="onnxruntime", show_default=True, help="What the encoders are timed on.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=100, show_default=True, help="Runs of each, in turns.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the bundles here. [default: nowhere]")
def main(  # noqa: PLR0913  (one parameter per option is click's way)
    *, run: Path, stage: int, clips: int | None, engine: str, threads: int, runs: int, out: Path | None
) -> None:
    """Print a table of the precisions of a stage of RUN; a refused one is listed with the reason."""
    work: dict[str, Callable[[], object]] = {}
    lines, failed = {}, []
    with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as folder:
        for name, (precision, target) in FORMS.items():
            try:
                options = Options(precision=precision, clips=clips, target=target)
                bundle = open_bundle(export_stage(run, stage, Path(folder, target or ""), options=options))
            except StprError as error:
                failed.append(f"{name}: {error.message}")
                continue
            lines[name] = _figures(bundle)
            frames = {output: given[0] for output, given in bundle.golden().feeds.items()}
            opened = open_engine(engine, bundle.graph(GraphName.ENCODER), EngineOptions(threads=threads))
            work[name] = partial(opened.run, frames)
        times = median_seconds(work, runs)
    click.echo("| precision | top-1 as PyTorch | routing as PyTorch | accuracy | known recall | MB | time |")
    click.echo("|---|---|---|---|---|---|---|")
    for name, figures in lines.items():
        ratio = times[name] / times[next(iter(times))]
        click.echo(f"| {name} | {' | '.join(figures)} | {1e3 * times[name]:.1f} ms, {ratio:.2f} |")
    for reason in failed:
        click.echo(reason)


def _figures(bundle: Bundle) -> list[str]:
    """Rates and size, formatted for the table."""
    proof = msgspec.json.decode((bundle.path / PARITY).read_bytes(), type=Certificate)
    rates = [proof.rate(what) for what in ("top-1 agreement", "routing agreement", "accuracy", "known recall")]
    size = sum(entry.bytes for name, entry in bundle.manifest.files.items() if name.startswith("weights/"))
    return [*("-" if rate is None else f"{100 * rate.engine:.2f} %" for rate in rates), f"{size / 1e6:.1f}"]


if __name__ == "__main__":
    main()
