"""What `stpr-train RECIPE` prints at the end, and how it names the runs to set beside."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from stpr.train.cli.learn import name_runs, summary
from tests.train.run.test_resume import make_metrics


@pytest.mark.parametrize("name", ["motions", "exp [v2]", "it's; rm $HOME", "-x"])
def test_the_next_command_can_be_pasted_into_a_shell(name: str) -> None:
    folder = Path("runs") / name
    said = summary(make_metrics(2), folder, folder / "report" / "index.html")
    (line,) = (line for line in said.splitlines() if line.startswith("next:   "))
    assert shlex.split(line.removeprefix("next:   ")) == ["stpr-export", "--stage", "2", "--run", str(folder)]


def test_runs_of_one_name_are_told_apart_by_their_paths() -> None:
    assert name_runs([Path("a/lda"), Path("a/lwf")]) == {"lda": Path("a/lda"), "lwf": Path("a/lwf")}
    assert list(name_runs([Path("a/seed-0"), Path("b/seed-0")])) == ["a/seed-0", "b/seed-0"]
    assert name_runs([Path("a/lda"), Path("a/lda")]) == {"lda": Path("a/lda")}
    assert name_runs([Path()]) == {Path.cwd().name: Path()}
