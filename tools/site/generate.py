"""Hook of mkdocs: turns the documents at the root into pages, and generates the reference pages from the code."""

from __future__ import annotations

import csv
import inspect
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from stpr.export.cli import main as export
from stpr.runtime import cli
from stpr.runtime.contract import errors
from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.decision import Prediction
from stpr.runtime.events import End, Start
from stpr.train.cli import main as train
from stpr.train.run.metrics import UNKNOWN
from stpr.train.settings.recipe import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RULE: Final = "Every error that a user can mend is one line with cause, value and fix, and exit code 2."
ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = ("README.md", "METHOD.md", "BENCHMARKS.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")
COMMANDS: Final[dict[str, click.Command]] = {
    "stpr-train": train,
    "stpr-export": export,
    **{f"stpr-{name}": found for name, found in vars(cli).items() if isinstance(found, click.Command)},
}
RESULTS: Final = Path(__file__).parent / "results"
COLUMNS: Final = {  # of a table.csv
    "final": "after the last stage",
    "average_incremental": "average over stages",
    "backward_forgetting": "backward forgetting",
    "routing_accuracy": "routing accuracy",
    "oracle_accuracy": "oracle accuracy",
}
CAUTION: Final = (
    '!!! warning "What was chosen on test clips"',
    "    Settings were chosen on training clips, with three exceptions: the likelihood router, the lean experts and",
    "    `statistics.near` of the hand shapes were chosen with an eye on these very test clips. Rows that change one",
    "    setting are read off test clips, so the best of them is no result. A joint linear probe keeps all videos: a",
    "    bound, no rival.",
    "",
    "Per cent on test clips, the mean ± the sample standard deviation over seeds, each its own order of the classes.",
    "These tables are made of what `stpr-train compare` wrote (`table.csv`).",
    "[METHOD.md](METHOD.md) says what the rows are and what follows from them.",
    "",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs before it reads the pages."""
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](tools/site/pages/", "](")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "tools/live.jpg", abs_src_path=str(ROOT / "tools" / "live.jpg")))
    for name, content in references().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page: link to the root's documents as neighbours, not three folders up."""
    return markdown.replace("](../../../", "](")


def references() -> dict[str, str]:
    """The generated pages by name."""
    return {
        "command-line.md": "\n".join(["# Command line", "", *_commands()]),
        "recipe.md": "\n".join(
            ["# Recipe", "", "A recipe is TOML; each table is one below, a key each row.", "", *_tables(Recipe)]
        ),
        "lines.md": "\n".join(
            ["# Lines of `--json`", "", "One JSON object a line: predictions, and between them events.", ""]
            + [line for struct in (Prediction, Start, End) for line in _table(struct)]
        ),
        "manifest.md": "\n".join(["# Manifest of a bundle", "", *_tables(Manifest)]),
        "results.md": "\n".join(["# Results", "", *CAUTION, *_results()]),
        "errors.md": f"# Errors\n\n{RULE}\n\n```\n{_error_tree()}\n```\n",
    }


def _results() -> Iterator[str]:
    """A table for each comparison whose `table.csv` is stored here: means over seeds, row by row."""
    for table in tomllib.loads((RESULTS / "index.toml").read_text(encoding="utf-8"))["table"]:
        yield from (f"## {table['title']}", "", "```", table["command"].strip(), "```", "")
        yield "| row | seeds | " + " | ".join(COLUMNS.values()) + " |"
        yield "|---|" + "---|" * (1 + len(COLUMNS))
        with (RESULTS / table["file"]).open(encoding="utf-8", newline="") as file:
            runs = list(csv.DictReader(file))
        for row in dict.fromkeys(run["row"] for run in runs):
            own = [run for run in runs if run["row"] == row]
            cells = [_mean([float(run[column]) for run in own if run[column]]) for column in COLUMNS]
            yield f"| {row} | {len(own)} | " + " | ".join(cells) + " |"
        yield ""


def _mean(shares: Sequence[float]) -> str:
    """Shares in per cent: the mean ± the sample standard deviation."""
    if not shares:
        return UNKNOWN
    spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * statistics.mean(shares):.1f}{spread}"


def _error_tree() -> str:
    return inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2]


def _commands() -> Iterator[str]:
    for name, command in sorted(COMMANDS.items()):
        context = click.Context(command, info_name=name, max_content_width=100)
        yield from (f"## {name}", "", "```", command.get_help(context), "```", "")
        for sub, child in sorted(getattr(command, "commands", {}).items()):
            inner = click.Context(child, info_name=sub, parent=context, max_content_width=100)
            yield from (f"### {name} {sub}", "", "```", child.get_help(inner), "```", "")


def _tables(root: type) -> Iterator[str]:
    """A table for the struct and for every struct its fields refer to, headed by its name in TOML or JSON."""
    waiting, done = [("", root)], set()
    while waiting:
        path, struct = waiting.pop(0)
        if struct in done:
            continue
        done.add(struct)
        yield from _table(struct, f"[{path}] {struct.__name__}".removeprefix("[] "))
        for field in msgspec.structs.fields(struct):
            inner = f"{path}.{field.encode_name}".removeprefix(".")
            waiting += [(inner, found) for found in _structs(field.type)]


def _structs(kind: Any) -> list[type]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for part in getattr(kind, "__args__", ()) for found in _structs(part)]


def _table(struct: type, title: str | None = None) -> Iterator[str]:
    source = inspect.getsource(struct)
    yield from (f"## {title or struct.__name__}", "", inspect.getdoc(struct) or "", "")
    yield from ("| key | type | default | |", "|---|---|---|---|")
    for field in msgspec.structs.fields(struct):
        comment = re.search(rf"^    {field.name}: .*?  # (.*)$", source, re.MULTILINE)
        cells = (f"`{field.encode_name}`", f"`{_words(field.type)}`", _default(field), comment[1] if comment else "")
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "" if isinstance(value, msgspec.Struct) else f"`{value!r}`"


def _words(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not getattr(kind, "__args__", ()) else str(kind)
    text = re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z])", "", text).replace("<class '", "").replace("'>", "")
    return re.sub(r"Annotated\[([^,\]]+), Meta\(([^)]*)\)\]", r"\1 (\2)", text).replace(" | ", " or ")
