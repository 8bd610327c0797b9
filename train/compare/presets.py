"""The rows of a comparison: a name and the recipe settings it changes. Presets, and rows that the user defines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stpr.runtime.contract.errors import RecipeError
from stpr.train.settings.messages import nearest

# Without the evidence of the clip statistics, accuracy depends on which experts the router chooses.
EXPERTS_ONLY: Final = ("fusion.kind=vectors", "fusion.evidence=0")

ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "stpr": (),  # the recipe as it is
    "paper": ("expert={width=0}", "router={}", "fusion={}", "contrast={}"),  # every other default is the paper's
    "nearest_mean": ("method=nearest_mean",),
    "streaming_lda": ("method=streaming_lda",),
    "lda_frame_means": ("method=streaming_lda", 'statistics={parts=["mean"]}'),  # its usual form
    "ranpac": ("method=ranpac",),
    "finetune": ("method=finetune",),
    "lwf": ("method=lwf",),
    "ewc": ("method=ewc",),
    "linear_probe": ("method=linear_probe",),
    "joint": ("method=joint",),
    "frozen": ("method=spatial", "adapter.place=none"),
    "adapters": ("method=spatial", "preservation.weight=0"),
    "adapters+fssd": ("method=spatial",),
    "td-moe": ("adapter.place=none",),
    "adapters+td-moe": ("preservation.weight=0",),
    "equal": ("router.kind=equal", *EXPERTS_ONLY),
    "clip_key": ("router.kind=clip_key", *EXPERTS_ONLY),
    "adapter_key": ("router.kind=adapter_key", *EXPERTS_ONLY),
    "temporal": ("router.kind=raw", *EXPERTS_ONLY),
    "likelihood": ("router.kind=likelihood", *EXPERTS_ONLY),
}

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "methods": (
        "stpr", "paper", "ranpac", "streaming_lda", "lda_frame_means", "nearest_mean", "ewc", "lwf", "finetune",
        "linear_probe", "joint",
    ),
    "ablation": ("frozen", "adapters", "adapters+fssd", "td-moe", "adapters+td-moe", "stpr"),  # "stpr" has all parts
    "routers": ("equal", "clip_key", "adapter_key", "temporal", "likelihood"),  # method §4.4
}  # fmt: skip

NAME: Final = re.compile(r"[A-Za-z0-9][\w.+-]*")  # a row's name is also its folder's


@dataclass(frozen=True, slots=True)
class Row:
    """A named variant of the recipe: the `KEY=VALUE` changes to apply."""

    name: str
    changes: tuple[str, ...]


def choose_rows(names: Sequence[str]) -> list[Row]:
    """Parse the values of --row into rows, in order, without repetitions.

    An entry lists rows or groups, separated by commas, or defines a new row: "NAME: KEY=VALUE KEY=VALUE".
    Raises RecipeError for an unknown name, and for two different definitions of one name.
    """
    rows: dict[str, Row] = {}
    for entry in names:
        name, colon, changes = entry.partition(":")
        for row in [_own(name.strip(), changes)] if colon else _shipped(entry):
            if rows.setdefault(row.name, row) != row:
                raise RecipeError(f"--row {row.name!r} is given twice with different changes; give each its own name.")
    return list(rows.values())


def _shipped(entry: str) -> list[Row]:
    names: list[str] = []
    for name in (part.strip() for part in entry.split(",")):
        if name not in GROUPS and name not in ROWS:
            hint = nearest(name, [*GROUPS, *ROWS])
            raise RecipeError(
                f"no row {name!r}{hint}: name groups ({', '.join(GROUPS)}) or rows ({', '.join(ROWS)}), or write your"
                " own as 'NAME: KEY=VALUE KEY=VALUE'."
            )
        names += GROUPS.get(name, (name,))
    return [Row(name, ROWS[name]) for name in names]


def _own(name: str, text: str) -> Row:
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"row name {name!r} can't name a folder; use only letters, digits and _ . + -, a letter or digit first."
        )
    if name in GROUPS or name in ROWS:
        raise RecipeError(f"the row {name!r} comes with stpr; give yours another name.")
    row = Row(name, _split(text))
    if sets_seed(row.changes):
        raise RecipeError(f"row {name!r}: a comparison sets the seed of each run; use --seeds.")
    return row


def sets_seed(changes: Sequence[str]) -> bool:
    """Whether one of the changes sets `seed`."""
    return any(change.partition("=")[0].strip() == "seed" for change in changes)


def _split(text: str) -> tuple[str, ...]:
    """Split `KEY=VALUE` changes at spaces, except at spaces inside brackets."""
    parts: list[str] = []
    for piece in re.split(r"\s+(?=[\w.]+=)", text.strip()):
        if parts and sum(map(parts[-1].count, "[{")) > sum(map(parts[-1].count, "]}")):
            parts[-1] += f" {piece}"
        elif piece:
            parts.append(piece)
    return tuple(parts)
