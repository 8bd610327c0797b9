"""Load a recipe from TOML, apply `--set` changes, validate it; a misspelt key is an error that names the valid ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w

from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import RecipeError
from stpr.train.settings.messages import in_recipe_terms, nearest
from stpr.train.settings.recipe import Recipe
from stpr.train.settings.shipped import FOLDER, RECIPES, shipped_recipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


RENAMED: Final = {("contrast", "distractors"): "random_negatives"}  # old keys in the recipes of earlier runs


def read_resolved(file: Path, *, changes: Sequence[str] = (), root: str | None = None) -> Recipe:
    """Read the resolved recipe of a run, written by `write_recipe` of this or an older version.

    Changes are applied, and faults told, as `load_recipe` does.
    """
    tables = _read_tables(file)
    for (section, old), new in RENAMED.items():
        if old in tables.get(section, {}):
            tables[section][new] = tables[section].pop(old)
    return _changed(tables, changes, root, where=str(file))


def load_recipe(name: str, *, changes: Sequence[str] = (), root: str | None = None) -> Recipe:
    """Read a shipped recipe or a TOML file, with `KEY=VALUE` changes such as `optimizer.rate=0.02` applied.

    Raises RecipeError for an unknown recipe, key or value.
    """
    file = RECIPES / f"{name}.toml" if name in shipped_recipes() else Path(name)
    if not file.is_file():
        near = nearest(name, shipped_recipes())
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"no recipe {name!r}{near}: give a TOML file, a folder of videos or one of {known}.")
    return _changed(_read_tables(file), changes, root, where=str(file))


def _changed(tables: dict[str, Any], changes: Sequence[str], root: str | None, *, where: str) -> Recipe:
    _change(tables, changes)
    if root is not None:
        _apply(tables, "data.root", root)
    return parse_recipe(tables, where=where)


def folder_recipe(tables: dict[str, Any], *, changes: Sequence[str]) -> Recipe:
    """The recipe for a folder of videos; `tables` holds name, data and stages. Raises RecipeError as `load_recipe`."""
    tables = _read_tables(FOLDER) | tables
    _change(tables, changes)
    return parse_recipe(tables, where=FOLDER.name)


def _change(tables: dict[str, Any], changes: Sequence[str]) -> None:
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"--set {change!r}: write KEY=VALUE, such as --set optimizer.rate=0.02.")
        _apply(tables, key, _toml_value(text.strip()))


def _read_tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} can't be read as TOML ({error}); fix it, or restore it from a copy.") from error


def parse_recipe(tables: dict[str, Any], *, where: str) -> Recipe:
    """Parse tables into a Recipe; raises RecipeError with the key and what was expected there."""
    try:
        return msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {in_recipe_terms(str(error), tables, Recipe)}.") from error


def write_recipe(recipe: Recipe, file: Path) -> None:
    """Write the resolved recipe with all defaults, atomically."""
    write_file(file, tomli_w.dumps(msgspec.to_builtins(recipe)).encode())


def _apply(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, creating tables as needed."""
    *path, last = (part.strip() for part in key.split("."))
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise RecipeError(f"{key.strip()!r} can't be set: {part!r} is a value, not a table of settings.")
    tables[last] = value


def _toml_value(text: str) -> Any:
    """Parse a value as TOML; a bare word is a string, so that the shell command needs no double quoting."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
