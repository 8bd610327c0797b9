"""A run that is killed in the middle of a stage goes on to the very weights of one that was not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event
from torch import Tensor

from stpr.train.cli import main
from stpr.train.learning import snapshot
from stpr.train.learning.inputs import FrozenFeatures, PixelClips
from stpr.train.run import after_stage
from stpr.train.run.folder import SNAPSHOT
from stpr.train.run.metrics import read_metrics
from stpr.train.run.progress import ShownProgress
from tests.factories import make_video

KILLED_AT = 4  # the epoch, from 0
STOP = f"""
import os, signal, sys, time
from stpr.train.learning import snapshot
from stpr.train.cli import main
from stpr.train.learning.inputs import FrozenFeatures
epoch = FrozenFeatures.epoch
def watch(self, number, *, batch, seed):
    for count, part in enumerate(epoch(self, number, batch=batch, seed=seed)):
        if number == {KILLED_AT} and count == 1:
            {{how}}
        yield part
FrozenFeatures.epoch = watch
snapshot.EVERY = 0.0
main(sys.argv[1:])
"""
KILL = STOP.format(how="os.kill(os.getpid(), signal.SIGKILL)")
WAIT = STOP.format(how="print('learning', flush=True); time.sleep(600)")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


class KilledError(Exception):
    """Nothing in the product handles this one."""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(snapshot, "EVERY", 0.0)
    monkeypatch.setattr("stpr.train.report.run.write_report", lambda folder, _: folder / "report")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages of a class, three clips each, six epochs; with dropout."""
    root = tmp_path_factory.mktemp("work") / "set"
    for (split, clips), label in itertools.product((("train", 3), ("test", 1)), ("jump", "wave")):
        (root / split / label).mkdir(parents=True)
        for index in range(clips):
            make_video(root / split / label / f"{split}{index}.avi", frames=10 + index)
    file = root.parent / "own.toml"
    file.write_text(
        f'name = "own"\n[data]\nkind = "folder"\nroot = "{root}"\n[stages]\nclasses = [["jump"], ["wave"]]\n'
        '[backbone]\nsource = "tiny"\ninner = [0]\ncorrelations = [1]\naxes = 6\n[statistics.inner]\nparts = ["mean"]\n'
        '[router]\nkind = "likelihood"\n[class_vectors]\nkind = "prototypes"\n[adapter]\nplace = "feature"\n'
        "[sampling]\nframes = 4\ndraws = 2\n[expert]\nlayers = 1\ndropout = 0.5\n"
        "[optimizer]\nbatch = 1\nepochs_first = 6\nepochs_later = 6\n"
    )
    return file


def learn(recipe: Path, out: Path, *extra: str, place: str = "feature") -> Result:
    return CliRunner().invoke(main, [str(recipe), "--out", str(out), "--set", f"adapter.place={place}", *extra])


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Callable[[str], Path]:
    """The uninterrupted run, with adapters where they are wanted."""
    made: dict[str, Path] = {}

    def run(place: str) -> Path:
        if place not in made:
            made[place] = recipe.parent / f"whole-{place}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("stpr.train.report.run.write_report", lambda folder, _: folder / "report")
                done(learn(recipe, made[place], place=place))
        return made[place]

    return run


def check_same(run: Path, whole: Path, stages: int = 2) -> None:
    for stage in range(1, stages + 1):
        one, two = (load_file(place / f"stage-{stage}" / "model.safetensors") for place in (run, whole))
        assert set(one) == set(two)
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert read_metrics(run).curves == read_metrics(whole).curves
    assert scalars(run) == scalars(whole)
    assert not (run / SNAPSHOT).exists()


def scalars(run: Path) -> list[tuple[str, int, float]]:
    """Everything that TensorBoard would show, in the order in which it was written."""
    found = []
    (file,) = (run / "tensorboard").iterdir()
    content = file.read_bytes()
    while content:  # length (8 bytes), checksum (4), event, checksum (4)
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        content = content[16 + size :]
    return found


def stop_in(monkeypatch: pytest.MonkeyPatch, kind: type[Any], number: int) -> None:
    """Break off in the middle of an epoch."""
    epoch = kind.epoch

    def watch(self: Any, found: int, *, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        for count, part in enumerate(epoch(self, found, batch=batch, seed=seed)):
            if found == number and count == 1:
                raise KilledError
            yield part

    monkeypatch.setattr(kind, "epoch", watch)


def test_scalars_are_the_curves_and_the_accuracies(whole: Callable[[str], Path]) -> None:
    metrics = read_metrics(whole("feature"))
    found = scalars(whole("feature"))
    curves = [terms for stage in metrics.curves for terms in stage]
    assert len(curves) == 12
    for name in ("contrast_st", "preservation"):
        expected: Any = [(step, pytest.approx(terms[name])) for step, terms in enumerate(curves, 1) if name in terms]
        assert [(step, value) for tag, step, value in found if tag == f"loss/{name}"] == expected
    expected = [(stage, pytest.approx(seen)) for stage, seen in enumerate(metrics.seen, 1)]
    assert [(step, value) for tag, step, value in found if tag == "accuracy/seen"] == expected


def test_a_killed_process_is_taken_up_within_the_stage(
    recipe: Path, tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    arguments = [str(recipe), "--out", str(tmp_path / "run"), "--set", "adapter.place=feature"]
    killed = subprocess.run(
        [sys.executable, "-c", KILL, *arguments], env=ONE_THREAD, check=False, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"recipe.toml", "tensorboard", SNAPSHOT}
    said = "holds a run with an unfinished stage; continue with --resume or choose another --out."
    assert said in learn(recipe, tmp_path / "run").stderr
    changed = learn(recipe, tmp_path / "run", "--resume", "--set", "optimizer.rate=0.5")
    assert changed.exit_code == 2
    assert changed.stderr.splitlines()[-1].endswith(
        "started with another recipe (optimizer differ); keep its settings, or train another run with another --out."
    )
    assert f"stage 1 continues after epoch {KILLED_AT}." in done(learn(recipe, tmp_path / "run", "--resume"))
    check_same(tmp_path / "run", whole("feature"))


def test_two_runs_at_once_in_one_folder(recipe: Path, tmp_path: Path, whole: Callable[[str], Path]) -> None:
    run = tmp_path / "row" / "seed-0"  # where a comparison would put it
    arguments = [str(recipe), "--out", str(run), "--set", "adapter.place=feature"]
    with subprocess.Popen(
        [sys.executable, "-c", WAIT, *arguments], env=ONE_THREAD, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "learning\n"
        said = f"--out {run} is in use: process {first.pid} on "
        for extra in ([], ["--resume"]):
            second = learn(recipe, run, *extra)
            assert second.exit_code == 2
            (line,) = second.stderr.splitlines()
            assert line.startswith(f"Error: {said}")
            assert line.endswith("is writing it; wait until it has ended, or choose another folder.")
        row = ["--row", "row: adapter.place=feature", "--seeds", "0", "--resume"]
        compared = CliRunner().invoke(main, ["compare", str(recipe), "--out", str(tmp_path), *row])
        assert compared.exit_code == 2
        assert f"row failed (seed 0): {said}" in compared.stderr
        # Those that only read are let in.
        assert "goes on" not in learn(recipe, run, "--dry-run", "--resume").output
        assert "has no finished stage" in CliRunner().invoke(main, ["audit", str(run)]).output
        first.kill()
    assert f"stage 1 continues after epoch {KILLED_AT}." in done(learn(recipe, run, "--resume"))
    check_same(run, whole("feature"))
    assert [path.name for path in run.parent.iterdir()] == ["seed-0"]


@pytest.mark.parametrize(("place", "kind"), [("feature", FrozenFeatures), ("blocks", PixelClips)])
def test_a_later_stage_is_taken_up_too(
    recipe: Path, tmp_path: Path, whole: Callable[[str], Path], place: str, kind: type[Any]
) -> None:
    done(learn(recipe, tmp_path, "--stages", "1", place=place))
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, kind, 3)
        assert isinstance(learn(recipe, tmp_path, "--resume", place=place).exception, KilledError)
    assert "stage 2 continues after epoch 3." in done(learn(recipe, tmp_path, "--resume", place=place))
    check_same(tmp_path, whole(place))


@pytest.mark.parametrize("step", ["save_stage", "write_metrics"])
@pytest.mark.parametrize("stage", [1, 2])
def test_killed_around_the_checkpoint(
    recipe: Path, tmp_path: Path, whole: Callable[[str], Path], step: str, stage: int
) -> None:
    def stop(*_: Any) -> None:
        raise KilledError

    if stage == 2:
        done(learn(recipe, tmp_path, "--stages", "1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(after_stage, step, stop)
        resume = ["--resume"] if stage == 2 else []
        assert isinstance(learn(recipe, tmp_path, *resume).exception, KilledError)
    assert (tmp_path / f"stage-{stage}").exists() == (step == "write_metrics")
    assert f"stage {stage} continues after epoch 6." in done(learn(recipe, tmp_path, "--resume"))
    check_same(tmp_path, whole("feature"))


def test_a_clip_damaged_in_the_middle_of_a_run(recipe: Path, tmp_path: Path, whole: Callable[[str], Path]) -> None:
    video = recipe.parent / "set" / "train" / "jump" / "train1.avi"
    intact = video.read_bytes()

    def damage(_: ShownProgress, stage: int, number: int, *__: Any) -> None:
        if (stage, number) == (1, 2):
            video.write_bytes(intact[: len(intact) // 2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShownProgress, "epoch", damage)
        result = learn(recipe, tmp_path, place="blocks")
    video.write_bytes(intact)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: the video {video} ")
    assert "stage 1 continues after epoch 2." in done(learn(recipe, tmp_path, "--resume", place="blocks"))
    check_same(tmp_path, whole("blocks"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run, _: (run / SNAPSHOT).write_bytes(b"no"), "can't be read (SafetensorError)"),
        (lambda _, video: make_video(video, frames=9), "is of other videos, classes, settings or processes"),
    ],
)
def test_a_snapshot_that_does_not_belong_is_told(
    recipe: Path, tmp_path: Path, spoil: Callable[[Path, Path], Any], said: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, FrozenFeatures, 2)
        assert isinstance(learn(recipe, tmp_path).exception, KilledError)
    video = recipe.parent / "set" / "train" / "jump" / "more.avi"
    spoil(tmp_path, video)
    told = done(learn(recipe, tmp_path, "--resume", "--stages", "1"))
    video.unlink(missing_ok=True)
    assert [line for line in told.splitlines() if "starts again" in line] == [
        f"stage 1 starts again: {tmp_path / SNAPSHOT} {said}."
    ]
