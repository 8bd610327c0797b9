"""The Dockerfiles in tools/docker, as far as they can be checked where no docker runs: paths, extras, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tools" / "docker").glob("*.Dockerfile"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
INSTRUCTIONS = {"FROM", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT"}


def steps(file: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line.strip()]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.name for file in FILES] == ["l4t.Dockerfile", "x86.Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_path_extra_and_command_is_there(file: Path) -> None:
    found = steps(file)
    assert found[0][0] == "FROM"
    assert {instruction for instruction, _ in found} <= INSTRUCTIONS
    copied = [source for instruction, words in found if instruction == "COPY" for source in words.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied), copied
    # What the build of the package reads, and all its packages.
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "runtime", "train", "export"} <= set(copied)
    (extra,) = re.findall(r"/source\[(\w+)\]", " ".join(words for _, words in found))
    assert re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE)
    if "constraints.txt" in " ".join(words for instruction, words in found if instruction == "RUN"):
        assert "constraints.txt" in copied
    command = re.search(r'\["(?:.*/)?(stpr-\w+)"\]', found[-1][1])
    assert command is not None
    assert f"{command[1]} = " in PROJECT


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_pip_is_given_is_a_requirement(file: Path) -> None:
    given = [
        word
        for instruction, words in steps(file)
        if instruction == "RUN"
        for word in re.findall(r'"([a-z][^"/ ]*)"', words)
    ]
    assert all(Requirement(word).name for word in given)
