"""Two processes on one run: the result of one, and an error of either ends both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from stpr.train.cli import main
from stpr.train.learning.distributed import ALONE
from tests.factories import make_video
from tests.train.synthetic import make_recipe
from tests.train.two_processes import CASES, FEW, learn_shared

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def start(index: int, port: int, *command: str) -> subprocess.Popen[str]:
    """One of two processes, told who it is as a launcher tells it."""
    told = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    environment = {**os.environ, **{key: str(value) for key, value in told.items()}, "MASTER_ADDR": "127.0.0.1"}
    environment |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def both(*command: str) -> list[tuple[int, str, str]]:
    """Exit code and what was said, of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start(index, port, *command) for index in (0, 1)]
    try:
        said = [one.communicate(timeout=300) for one in started]
    finally:
        for one in started:
            one.kill()
    return [(one.returncode, *texts) for one, texts in zip(started, said, strict=True)]


def close(found: Tensor, expected: Tensor, what: str) -> None:
    """Equal but for float32's noise: sums were taken in another order, over a dozen steps."""
    apart = float((found.double() - expected.double()).norm())
    assert apart <= 1e-5 * float(expected.double().norm()) + 1e-6, f"{what} is {apart} apart"


def test_every_method_learns_what_one_process_learns(tmp_path: Path) -> None:
    done = both("-m", "tests.train.two_processes", str(tmp_path))
    assert [code for code, _, _ in done] == [0, 0], done
    for name, tables in CASES.items():
        alone = learn_shared(make_recipe(**tables, **FEW), ALONE)
        for index in (0, 1):
            shared = load_file(tmp_path / f"{name}-{index}.safetensors")
            assert set(shared) == set(alone)
            for key, value in alone.items():
                close(shared[key], value, f"{name} {key}")


def write_set(root: Path) -> Path:
    """Two classes of three short clips, and a recipe over them."""
    for split, clips in (("train", 3), ("test", 1)):
        for label in ("jump", "wave"):
            (root / split / label).mkdir(parents=True)
            for index in range(clips):
                make_video(root / split / label / f"{split}{index}.avi", frames=10 + index)
    recipe = root.parent / "own.toml"
    recipe.write_text(
        f'name = "own"\n[data]\nkind = "folder"\nroot = "{root}"\n[stages]\nclasses = [["jump"], ["wave"]]\n'
        '[backbone]\nsource = "tiny"\ncorrelations = [1]\naxes = 6\n[class_vectors]\nkind = "prototypes"\n'
        '[adapter]\nplace = "blocks"\n[contrast]\ntemperature = 0.5\n'
        "[preservation]\nweight = 1.0\n[sampling]\nframes = 4\ndraws = 1\n"
        "[expert]\nlayers = 1\n[optimizer]\nepochs_first = 2\nepochs_later = 2\nbatch = 2\n"
    )
    return recipe


def test_the_command_under_a_launcher(tmp_path: Path) -> None:
    recipe, launcher = write_set(tmp_path / "set"), [sys.executable, "-m", "accelerate.commands.launch"]
    done = subprocess.run(
        [*launcher, "--multi_gpu", "--num_processes", "2", "-m", "stpr.train", str(recipe), "--out", tmp_path / "two"],
        capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 processes on one run" in done.stderr
    assert done.stdout.count("report:") == 1
    found = json.loads((tmp_path / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert found["environment"]["processes"] == "2"
    alone = CliRunner().invoke(main, [str(recipe), "--out", str(tmp_path / "one")])
    assert alone.exit_code == 0, alone.output
    one, two = (load_file(tmp_path / run / "stage-2" / "model.safetensors") for run in ("one", "two"))
    for name, value in one.items():
        close(two[name], value, name)


def test_a_damaged_clip_in_the_share_of_the_second_ends_both(tmp_path: Path) -> None:
    recipe, run = write_set(tmp_path / "set"), ("--out", str(tmp_path / "run"))
    first = CliRunner().invoke(main, [str(recipe), *run, "--stages", "1"])
    assert first.exit_code == 0, first.output
    video = tmp_path / "set" / "train" / "wave" / "train2.avi"  # the last one
    intact = video.read_bytes()
    video.write_bytes(intact[: len(intact) // 2])
    speaks, other = both("-m", "stpr.train", str(recipe), *run, "--resume")
    assert (speaks[0], other[0]) == (2, 2), (speaks, other)
    assert speaks[2].splitlines()[-1].startswith(f"Error: the video {video} ")
    assert other[1:] == ("", "")
