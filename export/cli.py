"""The command line `stpr-export`: export a stage's model with all its experts as a bundle for the device.

Heavy packages are imported when a command runs, so that `--help` is fast and a missing package is one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stpr.export.choices import CLIPS, FORMS, PRECISIONS, TARGETS, precision_for
from stpr.export.served import emit
from stpr.runtime.contract.command import Command, Group, Unnamed

if TYPE_CHECKING:
    from stpr.runtime.contract.manifest import Precision


def _number_or_all(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Parse a number of clips, or "all" as None; raises BadParameter."""
    if value == "all":
        return None
    if not value.isdecimal() or int(value) == 0:
        raise click.BadParameter(f"{value!r} is neither a number from 1 on nor all.", context, parameter)
    return int(value)


@click.command(cls=Unnamed, context_settings={"show_default": True})
@click.option("--stage", type=click.IntRange(min=1), required=True, help="The stage to export, with all before it.")
@click.option("--run", type=click.Path(path_type=Path), help="Run folder.  [default: the newest under runs/]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bundles"), help="Folder of the bundles.")
@click.option(
    "--clips",
    callback=_number_or_all,
    metavar="N|all",
    default=str(CLIPS),
    help="Number of test clips for the proof, spread over the classes, or all.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run's videos on this machine."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting that differs on this machine, such as backbone.source=DIR",
)
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    help="fp16 is for GPUs, int8 quantises the encoder for CPUs. A bundle that fails its proof is not written."
    "  [default: fp32, or what suits the target]",
)
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    help="Refuse graphs that TensorRT (JetPack) or onnxruntime (x86) can't run there; any is JetPack 6 and x86."
    " A JetPack's default precision is fp16.  [default: not checked]",
)
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Also write an update: the files that a device with this older bundle lacks.  [default: none]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "tensorrt"]),
    default="onnx",
    help="tensorrt: also build the engines for --engine tensorrt, for this machine only.",
)
@click.option(
    "--emit",
    "forms",
    multiple=True,
    type=click.Choice(list(FORMS)),
    help="Also write, to a folder beside the bundle, a model repository for Triton (triton), or each graph as a file"
    " with its weights inside (single-file).",
)
@click.option("--single-file", is_flag=True, help="The same as --emit single-file.")
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the bundle with this private key (from stpr-export keygen KEY).  [default: not signed]",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Refuse a bundle of more than N million bytes.  [default: no limit]",
)
@click.option(
    "--max-p95-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Refuse a bundle whose 95th percentile of time per frame and window exceeds this, with onnxruntime here."
    "  [default: no limit]",
)
@click.option(
    "--batch", type=click.IntRange(min=1), metavar="N", help="Fix the batch of --emit's files to N.  [default: dynamic]"
)
def bundle(  # noqa: PLR0913  (one parameter per option is click's way)
    *,
    stage: int,
    run: Path | None,
    out: Path,
    clips: int | None,
    data: Path | None,
    changes: tuple[str, ...],
    since: Path | None,
    form: str,
    forms: tuple[str, ...],
    key: Path | None,
    max_mb: float | None,
    max_p95_ms: float | None,
    target: str | None,
    single_file: bool,
    batch: int | None,
    precision: Precision | None,
) -> None:
    """Export a stage to a bundle, which is put in place only if its outputs are proved equal to PyTorch's."""
    from stpr.export.ahead import build_engines, check_here
    from stpr.export.console import ShownSteps, new_console, show_bundle, show_delta
    from stpr.export.package.pipeline import export_stage
    from stpr.export.package.request import Options, RelocatedRun, find_run
    from stpr.runtime.contract.bundle import folder_name, open_bundle
    from stpr.runtime.contract.delta import check_base, write_delta
    from stpr.runtime.contract.signature import read_private_key
    from stpr.train.run.resume import relocated_recipe

    served = dict.fromkeys([*forms, *(["single-file"] if single_file else [])])
    if batch is not None and not served:
        raise click.UsageError("--batch goes with --emit or --single-file: a bundle's own graphs take any batch.")
    chosen = precision_for(target, precision)
    console = new_console()
    step = ShownSteps(console)
    folder = find_run(run, Path("runs"))
    base = None if since is None else open_bundle(since)
    if base is not None:  # before the proof, which takes minutes
        check_base(base, folder.resolve().name, stage, chosen)
    if form == "tensorrt":  # report missing packages before the work
        check_here()
    signing = None if key is None else read_private_key(key)
    here = RelocatedRun(folder, relocated_recipe(folder, changes), data)
    options = Options(precision=chosen, clips=clips, sign=signing, max_mb=max_mb, max_p95_ms=max_p95_ms, target=target)
    made = export_stage(here, stage, out, options=options, step=step)
    if form == "tensorrt":
        build_engines(made, step)
    for each in served:
        console.print(f"{each}: {emit(open_bundle(made), each, batch)}", soft_wrap=True)
    show_bundle(console, made)
    if base is not None:
        name = folder_name(stage, chosen).replace("stage-", f"update-{base.manifest.stage}-to-")
        delta = write_delta(base, open_bundle(made), made.with_name(name))
        show_delta(console, delta, base.path)


@click.command(cls=Command)
@click.argument("key", type=click.Path(path_type=Path))
def keygen(*, key: Path) -> None:
    """Create a key pair for signing bundles: KEY, which stays secret, and KEY.pub for the devices."""
    from stpr.runtime.contract.signature import new_keys, public_of

    made = new_keys(key)
    click.echo(f"private: {key}, for `stpr-export --sign`; keep it secret, and keep a backup: it can't be recreated")
    click.echo(f"public:  {public_of(key)}, for `stpr-run --require-signature` on the devices")
    click.echo(f"key:     {made}")


DEFAULT: Final = "bundle"  # the command that runs when none is named
COMMANDS: Final = {DEFAULT: bundle, "keygen": keygen}


main = Group("stpr-export", default=DEFAULT, commands=COMMANDS, extra="export", help="Export stages to bundles.")
