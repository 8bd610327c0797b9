"""A hook of mkdocs: the documents at the root become pages, and the references are made from the code itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
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
from stpr.train.settings.recipe import Recipe

RULE: Final = "Every error that a user can mend is one line with cause, value and fix, and exit code 2."
ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = ("README.md", "METHOD.md", "BENCHMARKS.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")
COMMANDS: Final[dict[str, click.Command]] = {
    "stpr-train": train,
    "stpr-export": export,
    **{f"stpr-{name}": found for name, found in vars(cli).items() if isinstance(found, click.Command)},
}


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
    """Called by mkdocs for each page: the documents at the root are beside it, not three folders up."""
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
        "errors.md": f"# Errors\n\n{RULE}\n\n```\n{_error_tree()}\n```\n",
    }


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
    """The struct and every struct that its fields name, each once, headed by the table that it is in TOML or JSON."""
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
