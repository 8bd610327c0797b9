"""Every shell block of the README and of the site's pages runs; the recipes and lines that they show are read."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Final

import msgspec
import pytest

from stpr.runtime.cli import run
from stpr.runtime.config import read_config
from stpr.runtime.events import End, Start
from stpr.train.settings.load import load_recipe
from tests.end_to_end.test_readme import run as run_line
from tests.factories import make_video

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "tools/site/pages").glob("*.md")))
FEW: Final = ("--set", "data.train_per_class=12", "--set", "data.test_per_class=4")
HERE: Final = (  # what stands for what a test has not: a camera, a network of the reader's, hours
    ("--camera 0 --label", "--source film.mp4 --count 2 --countdown 0 --yes --label"),
    ("--camera 0", "--source film.mp4 --headless"),
    ("backbone.source=DIR", "backbone.source=tiny"),
    ("update-4-to-5", "bundles/motions/update-4-to-5 --out on-the-device/stage-5"),
    ("--row methods --seeds 0,1,2", "--row streaming_lda,nearest_mean --seeds 0 " + " ".join(FEW)),
)


def blocks(language: str) -> dict[str, str]:
    """By page and number; of two alike the first."""
    found = {
        f"{page.stem}-{number}": text
        for page in PAGES
        for number, text in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        )
    }
    return {name: text for name, text in found.items() if text not in [*found.values()][: [*found].index(name)]}


SHELL: Final = {name: text for name, text in blocks("sh").items() if name != "README-0"}  # that is test_readme's


def as_here(line: str) -> list[str]:
    for told, here in HERE:
        line = line.replace(told, here)
    return shlex.split(line, comments=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the embedded set and the bundles of its last two stages."""
    folder = tmp_path_factory.mktemp("finished")
    for line in ("stpr-train motions", "stpr-export --stage 4", "stpr-export --stage 5"):
        done = run_line(f"{line} {shlex.join(FEW)}" if line.startswith("stpr-train") else line, folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """Where a reader stands: the run, its bundles, a film, some videos of their own and a list of what a film shows."""
    for name in ("runs", "data"):
        if (finished / name).exists():
            shutil.copytree(finished / name, tmp_path / name)
    make_video(tmp_path / "film.mp4", frames=100, fps=10.0)
    clips: dict[str, list[Path]] = {}
    with (finished / "runs/motions/stage-5/predictions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            clips.setdefault(row["label"], []).append(Path(row["path"]))
    for folder, labels in (("videos", ["grow", "bob"]), ("more-videos", ["sway", "shrink"])):
        for label in labels:
            (tmp_path / folder / label).mkdir(parents=True)
            for number, clip in enumerate(clips[label]):
                shutil.copy(finished / clip, tmp_path / folder / label / f"take{number}.mp4")
    (tmp_path / "truth.csv").write_text("file,start,end,label\nfilm.mp4,1.0,3.0,grow\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", SHELL)
def test_every_line_of_a_shell_block_runs(finished: Path, place: Path, name: str) -> None:
    lines = [words for line in SHELL[name].splitlines() if (words := as_here(line))]
    assert lines
    made = "stpr-export --stage 5" in SHELL[name]  # the block exports it itself
    own = "stpr-train videos/" in SHELL[name]
    for stage in (4, 5):
        if not own and not (made and stage == 5):
            shutil.copytree(finished / f"bundles/motions/stage-{stage}", place / f"bundles/motions/stage-{stage}")
    if own:
        shutil.rmtree(place / "runs")
    for command, *words in lines:
        if command == "pip":
            extra = re.search(r"stpr\[(\w+)\]", " ".join(words))
            assert extra
            assert f"\n{extra[1]} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            continue
        line = shlex.join([command, *words])
        done = run_line(line, place)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", blocks("toml"))
def test_what_is_shown_as_toml_is_read(name: str, tmp_path: Path) -> None:
    text = blocks("toml")[name]
    if "backbone" in text:
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        assert load_recipe(str(tmp_path / "mine.toml")).name == "mine"
    else:
        (tmp_path / "run.toml").write_text(text, encoding="utf-8")
        assert read_config(tmp_path / "run.toml", run)["headless"] is True


def test_the_lines_that_are_shown_have_the_fields_that_there_are() -> None:
    shown = [json.loads(line) for text in blocks("json").values() for line in text.splitlines()]
    assert {line["event"] for line in shown} == {"start", "end"}
    for line in shown:
        fields = {field.encode_name for field in msgspec.structs.fields(Start if line["event"] == "start" else End)}
        assert set(line) <= fields | {"event"}
