"""ARCHITECTURE.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## A newcomer's walk")[2].partition("\n## ")[0]
HOPS = re.findall(r"`((?:train|export|runtime)\.[\w.]+)`", WALK)
FOLDERS = re.findall(r"^\| `([^`]+/)` \|", PAGE, re.MULTILINE)


def test_the_walk_has_its_hops() -> None:
    assert len(HOPS) > 30


@pytest.mark.parametrize("hop", HOPS)
def test_a_hop_of_the_walk_is_there(hop: str) -> None:
    assert resolve_name(f"stpr.{hop}")


def test_every_package_stands_in_the_table_of_folders() -> None:
    rooms = {
        f"{file.parent.relative_to(ROOT)}/"
        for top in ("train", "export", "runtime")
        for file in ROOT.glob(f"{top}/*/__init__.py")
    }
    assert set(FOLDERS) == rooms | {"runtime/"}
