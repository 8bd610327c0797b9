"""What documents and code cite of METHOD.md is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHOD = (ROOT / "METHOD.md").read_text(encoding="utf-8")
PARAGRAPHS = re.findall(r"\*\*§([\d.]+)", METHOD)
THERE = {*PARAGRAPHS, *(number.partition(".")[0] for number in PARAGRAPHS)}


def test_every_section_that_is_cited_exists() -> None:
    files = [file for top in ("train", "export", "runtime", "tools") for file in (ROOT / top).rglob("*.py")]
    files += [*ROOT.glob("*.md"), *(ROOT / "train/settings").rglob("*.toml")]
    cited = {
        (file.relative_to(ROOT).as_posix(), number.rstrip("."))
        for file in files
        for number in re.findall(r"§\s?(\d[\d.]*)", file.read_text(encoding="utf-8"))
    }
    assert len(cited) > 20
    assert {(file, number) for file, number in cited if number not in THERE} == set()
