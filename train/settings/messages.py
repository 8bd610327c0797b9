"""Turn msgspec's errors into messages in the terms of a recipe: [section] key, the value found, the values allowed."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from stpr.runtime.contract.errors import RecipeError

Kind = TypeVar("Kind")

KINDS = {"int": "an integer", "float": "a number", "str": "a string", "bool": "true or false"}
KINDS |= {"array": "a list", "object": "a table of settings"}
OF_MSGSPEC: Final[Mapping[Any, str]] = {int: "int", float: "float", bool: "bool", tuple: "array"}  # names in errors
RENAMED = {"distractors": "random_negatives", "letter": "paper"}  # old names of recipe keys and comparison rows
PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<place>[^`]*)`)?$", re.DOTALL)


def in_recipe_terms(message: str, tables: dict[str, Any], root: type[msgspec.Struct]) -> str:
    """Rewrite an error of msgspec about `tables`: cause, value, and what is accepted."""
    parted = PLACE.match(message)
    assert parted is not None
    what, path = parted["what"], re.findall(r"\w+|\.\.\.", parted["place"] or "")
    if unknown := re.match(r"Object contains unknown field `(.*)`", what):
        known = _keys(_types_at(root, path), _at(tables, path))
        return f"{_table(path)}has no key {unknown[1]!r}{nearest(unknown[1], known)}; it knows {', '.join(known)}"
    if missing := re.match(r"Object missing required field `(.*)`", what):
        words = _words(_types_at(root, [*path, missing[1]]))
        choice = f" ({', '.join(words)})" if words else ""
        return f"{_table(path)}lacks the key {missing[1]!r}{choice}; add it"
    if what.startswith("Invalid"):
        return f"{_key(path)}must be{_accepted(_types_at(root, path))}, not {_found(tables, path)}"
    if expected := re.match(r"Expected `(?P<kinds>[^`]*)`(?P<more>[^,]*)", what):
        kinds = " or ".join(KINDS.get(kind, kind) for kind in expected["kinds"].split(" | "))
        return f"{_key(path)}must be {kinds}{expected['more']}, not {_found(tables, path)}"
    return what


def entry_of(registry: Mapping[str, Kind], name: str, key: str) -> Kind:
    """Look up a recipe value in a registry; raises RecipeError, naming the key, for an unknown one."""
    if name not in registry:
        raise RecipeError(f"{key} must be one of {', '.join(registry)}, not {name!r}{nearest(name, registry)}.")
    return registry[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint in brackets: what `name` was renamed to, or the known name it may misspell; else ""."""
    names = list(known)
    if RENAMED.get(name) in names:
        return f" (renamed: {RENAMED[name]!r})"
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _table(path: list[str]) -> str:
    return f"[{'.'.join(path)}] " if path else ""


def _key(path: list[str]) -> str:
    section, names = ([], path) if len(path) < 2 else (path[:1], path[1:])
    named = [name for name in names if name != "..." and not name.isdigit()]
    inside = "each entry of " if len(named) < len(names) else ""
    return f"{_table(section)}{inside}{'.'.join(named)}: " if named else ""


def _words(kinds: list[Any]) -> list[str]:
    """The words that are allowed, if only certain ones are."""
    return [repr(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]


def _accepted(kinds: list[Any]) -> str:
    """What a key accepts: words, and values of any other kind."""
    words = _words(kinds)
    others = [KINDS[name] for kind in kinds if (name := OF_MSGSPEC.get(get_origin(kind) or kind))]
    listed = f"one of {', '.join(words)}" if len(words) > 1 else "".join(words)
    return f" {' or '.join(filter(None, [listed, *others]))}"


def _found(tables: Any, path: list[str]) -> str:
    return repr(_at(tables, path))


def _at(tables: Any, path: list[str]) -> Any:
    """The value at a path; msgspec's "..." is an unspecified entry, for which the whole collection is returned."""
    for name in path:
        if isinstance(tables, dict) and name in tables:
            tables = tables[name]
        elif isinstance(tables, list) and name.isdigit():
            tables = tables[int(name)]
    return tables


def _keys(kinds: list[Any], table: dict[str, Any]) -> list[str]:
    """The keys of a table; of a tagged union, those of the kind that the table names."""
    keys: dict[str, None] = {}
    for kind in kinds:
        tag, value = kind.__struct_config__.tag_field, kind.__struct_config__.tag
        if tag is None or table.get(tag, value) == value:
            keys |= dict.fromkeys([tag] if tag else []) | dict.fromkeys(kind.__struct_fields__)
    return list(keys)


def _types_at(root: Any, path: list[str]) -> list[Any]:
    """The types allowed at a path of names, indices and "..."."""
    kinds = _members(root)
    for name in path:
        kinds = [member for kind in kinds for below in _below(kind, name) for member in _members(below)]
    return kinds


def _below(kind: Any, name: str) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        config = kind.__struct_config__
        if name == config.tag_field:
            return [Literal[config.tag]]
        return [field.type for field in msgspec.structs.fields(kind) if field.name == name]
    entries = [entry for entry in get_args(kind) if entry is not ...]
    return entries[-1:]


def _members(kind: Any) -> list[Any]:
    """The members of a union, without annotations."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]
