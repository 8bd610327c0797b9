"""Upgrade manifests of older schemas step by step, with one function per schema on the parsed JSON.

The digest has been checked before, so the content is what an older exporter wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Tree: TypeAlias = dict[str, Any]

OUTPUTS_OF_1: Final = ("features", "logits", "routing", "familiarity")


def from_1(tree: Tree) -> Tree:
    """Schema 1 had one file per graph, one proof, and one tolerance for all outputs."""
    precision = tree["precision"]
    graphs = {
        name: {"inputs": graph["inputs"], "outputs": graph["outputs"], "variants": {precision: graph["file"]}}
        for name, graph in tree["graphs"].items()
    }
    proof = dict(tree["parity"])
    tolerance = proof.pop("tolerance")
    proof["tolerances"] = dict.fromkeys(OUTPUTS_OF_1, tolerance)
    return {**tree, "schema": 2, "graphs": graphs, "parity": {precision: proof}}


def from_2(tree: Tree) -> Tree:
    """Schema 2 had no motion: its encoders take frames only."""
    return {**tree, "schema": 3, "motion": None}


def from_3(tree: Tree) -> Tree:
    """Schema 3 did not say which classes need evidence, so none does."""
    return {**tree, "schema": 4, "classes": [{**entry, "moves": False} for entry in tree["classes"]]}


UPGRADES: Final[Mapping[int, Callable[[Tree], Tree]]] = {1: from_1, 2: from_2, 3: from_3}
