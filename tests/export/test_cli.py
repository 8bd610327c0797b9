"""`stpr-export` as a user meets it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stpr.export.cli import main
from stpr.export.package.request import newest_run
from stpr.export.precisions import PRECISIONS
from stpr.export.served import FORMS
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.errors import CheckpointError
from stpr.runtime.contract.signature import read_public_key, signer
from stpr.runtime.engines.tensorrt_builder import LIBRARIES


def call(*arguments: str | float | Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.rare  # exports four times; the next test exports once
def test_the_newest_run_is_exported_and_what_must_be_shipped_is_said(
    run: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = bundles[0].parent.parent, open_bundle(bundles[2]).digest
    options = ("--stage", 3, "--out", out, "--clips", 6, "--emit", "triton", "--single-file", "--batch", 1)
    told = call(*options, folder=run.parent.parent, monkeypatch=monkeypatch)
    assert told.exit_code == 0, told.output
    assert open_bundle(bundles[2]).digest == before  # the same stage gives the same bytes
    for form in ("triton", "single-file"):
        emitted = bundles[2].with_name(f"{bundles[2].name}-{form}")
        assert f"{form}: {emitted}\n" in told.output
        assert emitted.is_dir()
    lines = {line.split()[0]: line.rstrip() for line in told.output.splitlines() if line.strip()}
    assert lines["weights/expert-2.bin"].endswith("the same")
    assert lines["weights/expert-3.bin"].endswith("new")
    assert lines["weights/backbone.bin"].endswith("the same")
    assert lines["all"].endswith("bytes to ship")
    assert "(worst of 3)" in lines["expert"]
    assert "compare fp32 with PyTorch on 6 of 12 test clips, 1 of each of 6 classes\n" in told.output
    assert lines["agrees"].endswith("; 6 of 12 test clips, 3 random")
    assert "top-1 100% (live)" in lines["agrees"]
    assert lines["next:"] == f"next:   stpr-run --bundle {out / 'by-chance' / 'stage-3'} --camera 0"
    assert [line.split()[1] for line in told.output.splitlines()[:5]] == ["s"] * 5


def test_a_run_of_any_name_is_exported_and_the_next_command_can_be_pasted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "exp [v2] pay_$5_to_$10 :smile: it's"
    shutil.copytree(run, tmp_path / "runs" / name)
    told = call("--stage", 1, "--clips", 1, folder=tmp_path, monkeypatch=monkeypatch)
    assert told.exit_code == 0, told.output
    bundle = Path("bundles") / name / "stage-1"
    assert f"load stage 1 of runs/{name}\n" in told.output
    assert f"\nbundle: {bundle}\n" in told.output
    command = told.output.splitlines()[-1].removeprefix("next:")
    assert shlex.split(command) == ["stpr-run", "--bundle", str(bundle), "--camera", "0"]
    assert open_bundle(bundle).manifest.name == name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--stage", 9), r"Error: runs/by-chance has stages 1 to 3, not stage 9"),
        (("--stage", 1, "--run", "nowhere"), r"Error: nowhere is not a run: it has no recipe.toml"),
        (("--stage", 0), r"'--stage': 0 is not in the range"),
        (("--stage", 1, "--format", "onxx"), r"'onxx' is not one of 'onnx', 'tensorrt'"),
        ((), r"Missing option '--stage'"),
        (("--stage", 1, "--batch", 2), r"--batch goes with --emit or --single-file"),
        (("--stage", 1, "--precision", "fp8"), f"'fp8' is not one of {', '.join(map(repr, PRECISIONS))}"),
        (("--stage", 1, "--emit", "caffe"), f"'caffe' is not one of {', '.join(map(repr, FORMS))}"),
        (("--stage", 1, "--clips", 0), r"'--clips': '0' is neither a number from 1 on nor all."),
        (("--stage", 1, "--clips", "some"), r"'--clips': 'some' is neither a number from 1 on nor all."),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str | int, ...], says: str
) -> None:
    told = call(*arguments, folder=run.parent.parent, monkeypatch=monkeypatch)
    assert told.exit_code == 2
    assert says in told.output.splitlines()[-1]


def test_a_machine_without_tensorrt_is_told_so_before_the_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)  # what an import that fails leaves
    arguments = ("--stage", 3, "--format", "tensorrt", "--out", tmp_path)
    told = call(*arguments, folder=run.parent.parent, monkeypatch=monkeypatch)
    assert told.exit_code == 2
    assert told.output.startswith("Error: no TensorRT here (")
    assert told.output.endswith("(of stpr-export: --format onnx).\n")
    assert list(tmp_path.iterdir()) == []


def test_without_a_run_the_way_to_one_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = call("--stage", "1", folder=tmp_path, monkeypatch=monkeypatch)
    assert told.exit_code == 2
    assert told.output == (
        "Error: no run under runs/: train one with `stpr-train motions`, or name one with --run DIR.\n"
    )


def test_the_newest_run_is_the_one_whose_stage_was_written_last(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        record = tmp_path / name / "stage-1" / "stage.json"
        record.parent.mkdir(parents=True)
        record.write_text("")
        os.utime(record, (1000 - age, 1000 - age))
    assert newest_run(tmp_path) == tmp_path / "new"
    with pytest.raises(CheckpointError, match=r"no run under .*/old/"):
        newest_run(tmp_path / "old")


@pytest.mark.rare  # exports four times
def test_a_bundle_is_signed_with_the_key_that_keygen_made(
    run: Path, bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    made = call("keygen", "fleet", folder=tmp_path, monkeypatch=monkeypatch)
    assert made.exit_code == 0, made.output
    assert "PRIVATE" not in made.output
    name = made.output.split()[-1]
    arguments = ("--stage", 2, "--clips", 6, "--run", run, "--sign", "fleet", "--since", bundles[0])
    told = call(*arguments, folder=tmp_path, monkeypatch=monkeypatch)
    assert told.exit_code == 0, told.output
    bundle = tmp_path / "bundles" / "by-chance" / "stage-2"
    assert open_bundle(bundle).digest == open_bundle(bundles[1]).digest  # a signature is no part of what it signs
    for folder in (bundle, bundle.with_name("update-1-to-2")):
        assert signer(folder, read_public_key(tmp_path / "fleet.pub")) == (name, open_bundle(bundle).digest)
    again = call("keygen", "fleet", folder=tmp_path, monkeypatch=monkeypatch)
    assert again.exit_code == 2
    assert again.output.startswith("Error: fleet exists already")
    wrong = call("--stage", 2, "--run", run, "--sign", "fleet.pub", folder=tmp_path, monkeypatch=monkeypatch)
    assert (wrong.exit_code, len(wrong.output.splitlines())) == (2, 1)
    assert wrong.output.startswith("Error: fleet.pub is not a private Ed25519 key")


@pytest.mark.rare  # exports three times
def test_a_bundle_over_its_budget_is_refused_with_what_weighs_most(
    run: Path, bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {str(file.relative_to(bundles[0])): file.stat().st_size for file in bundles[0].rglob("*.*")}
    arguments = ("--stage", 1, "--clips", 6, "--run", run, "--out", tmp_path / "out")
    exactly, less = sum(sizes.values()) / 1e6, (sum(sizes.values()) - 1) / 1e6
    refused = call(*arguments, "--max-mb", less, folder=tmp_path, monkeypatch=monkeypatch)
    assert refused.exit_code == 2
    said = refused.output.splitlines()[-1]
    assert said.startswith(f"Error: the bundle would have {exactly:.2f} MB, more than --max-mb ")
    assert f"most of it is {max(sizes, key=sizes.__getitem__)} {max(sizes.values()) / 1e6:.2f}, " in said
    assert not [file for file in (tmp_path / "out").rglob("*") if not file.name.startswith(".") and file.is_file()]
    fits = call(*arguments, "--max-mb", exactly, folder=tmp_path, monkeypatch=monkeypatch)
    assert fits.exit_code == 0, fits.output
    tiny = call(*arguments, "--max-mb", less / 100, folder=tmp_path, monkeypatch=monkeypatch)
    assert tiny.exit_code == 2
    assert "compare fp32" not in tiny.output  # known before the minutes of the proof
    assert open_bundle(tmp_path / "out" / "by-chance" / "stage-1").digest == open_bundle(bundles[0]).digest


@pytest.mark.rare  # exports four times
def test_a_bundle_that_takes_longer_than_allowed_is_refused_before_the_proof(
    run: Path, bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--stage", 1, "--clips", 6, "--run", run, "--out", tmp_path / "out")
    refused = call(*arguments, "--max-p95-ms", 0.001, folder=tmp_path, monkeypatch=monkeypatch)
    assert refused.exit_code == 2
    said = refused.output.splitlines()[-1]
    found = re.search(r"Error: a frame and its window take ([\d.]+) ms \(.*; frame ([\d.]+), window ([\d.]+)\)", said)
    assert found, said
    both, frame, window = map(float, found.groups())
    assert max(frame, window) <= both  # not more: on a busy machine different calls are the slow ones
    assert "on onnxruntime CPUExecutionProvider of this machine" in said
    assert "compare fp32" not in refused.output
    assert not list((tmp_path / "out").rglob("manifest.json"))
    fits = call(*arguments, "--max-p95-ms", 1e6, "--target", "any", folder=tmp_path, monkeypatch=monkeypatch)
    assert fits.exit_code == 0, fits.output
    made = tmp_path / "out" / "by-chance" / "stage-1"
    assert open_bundle(made).digest == open_bundle(bundles[0]).digest  # a limit that holds changes nothing


@pytest.mark.rare
def test_a_target_chooses_the_precision_and_refuses_what_it_can_not_take(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--stage", 1, "--clips", 6, "--run", run, "--out", tmp_path / "out")
    refused = call(*arguments, "--target", "jetpack5", folder=tmp_path, monkeypatch=monkeypatch)
    assert refused.exit_code == 2
    assert re.search(
        r"^Error: --target jetpack5: TensorRT 8\.5 does not support \w+-fp16\.onnx with .*opset 18, and 17",
        refused.output.splitlines()[-1],
    )
    assert "compare fp16" not in refused.output
    made = call(*arguments, "--target", "jetpack6", folder=tmp_path, monkeypatch=monkeypatch)
    assert made.exit_code == 0, made.output
    assert open_bundle(tmp_path / "out" / "by-chance" / "stage-1-fp16").manifest.precision == "fp16"
