"""`stpr-train audit RUN`: check what a run folder stores about its training videos."""

from __future__ import annotations

from pathlib import Path

import click

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import CheckpointError


@click.command(cls=Command)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting that differs on this machine, such as backbone.source=DIR",
)
def command(*, run: Path, as_json: bool, changes: tuple[str, ...]) -> None:
    """List every byte that RUN keeps after each stage, and prove that none of it grows with the training clips."""
    import msgspec

    from stpr.runtime.contract.durable import explain
    from stpr.train.estimate.audit import audit
    from stpr.train.report.audit_tables import show_audit
    from stpr.train.report.growth_figure import growth_file, write_growth
    from stpr.train.run.resume import relocated_recipe

    found = audit(run, relocated_recipe(run, changes) if changes else None)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1))
    else:
        show_audit(found)
    try:
        picture = write_growth(run, found)
    except OSError as error:  # a run kept where nothing changes it can be audited all the same
        click.echo(f"note: no picture: {explain(error, growth_file(run))}", err=True)
    else:
        if not as_json:
            click.echo(f"picture:  {picture}")
    if found.faults:
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        raise CheckpointError(f"{run} does not pass the audit: {found.faults[0]}{more}; remove it and audit again.")
