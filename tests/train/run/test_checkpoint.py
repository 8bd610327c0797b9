"""What is left of a stage: the same network to the bit, nothing more, and nothing that can be mistaken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from stpr.runtime.contract.errors import CheckpointError
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.methods import METHODS
from stpr.train.methods.build import build_model
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.combiners.scores_alone import ScoresAlone
from stpr.train.model.routing import ROUTERS
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import (
    KINDS,
    BackboneRecord,
    StageRecord,
    kept_tensors,
    load_stage,
    read_record,
    save_stage,
)
from stpr.train.run.folder import PREDICTIONS, RECIPE, RECORD, TENSORS, finished_stages, stage_folder
from stpr.train.settings.load import write_recipe
from stpr.train.settings.recipe import Recipe
from tests.train.networks import SIDE, write_clip
from tests.train.synthetic import ADAPTED, FRAMES, OURS, STAGES, learn, learnt, make_features, make_recipe, widened

FEW = {"optimizer": {"epochs_first": 1, "epochs_later": 1}}
VARIANTS: dict[str, dict[str, Any]] = {
    **{kind: {"router": {"kind": kind}, **ADAPTED} for kind in ROUTERS},
    "evidence": {**OURS, "statistics": {"parts": ["mean", "cosines"]}},
    "blocks": {"adapter": {"place": "blocks", "bottleneck": 4}},
    "projection": {"backbone": {"source": "tiny", "projection": 16}, **ADAPTED},
    "wide projection of few clips": {
        "backbone": {"source": "tiny", "projection": 60},
        "router": {"kind": "likelihood"},
    },
    "old": {"preservation": {"classes": "old"}, **ADAPTED},
    **{method: {"method": method, **ADAPTED} for method in METHODS if method != "stpr"},
    "projection, views, motion and trust": {
        "backbone": {"source": "tiny", "inner": [0, 1], "projection": 16, "correlations": [0], "axes": 6},
        "sampling": {"motion": 3},
        "statistics": {
            "inner": {"parts": ["mean"], "views": 2},
            "motion": {"parts": ["mean", "change"]},
            "rhythm": True,
            "affine": True,
            "likelihood": "cosine",
            "concentration": "learnt",
            "draws": True,
        },
        "fusion": {"kind": "posteriors"},
        **ADAPTED,
    },
    "fresh residual": {"expert": {"start": "fresh", "input": "residual", "dropout": 0.1}},
}


def save(run: Path, model: StPR, recipe: Recipe, stage: int) -> Path:
    """As the protocol does."""
    run.mkdir(exist_ok=True)
    write_recipe(recipe, run / RECIPE)
    backbone = model.encoder.backbone
    record = StageRecord(
        stage=stage,
        stages=STAGES[:stage],
        clip=ClipSpec(frames=FRAMES, span_seconds=1.5),
        preprocess=backbone.spec,
        temperature=recipe.contrast.temperature,
        unknown=None,
        backbone=BackboneRecord(source=recipe.backbone.source, digest=backbone.digest()),
        method=recipe.method,
        seed=recipe.seed,
        sha256="",
        kept=(),
    )
    return save_stage(run, model, record, {PREDICTIONS: "path,label,predicted\n"})


def make_run(folder: Path, stages: int = 3, **tables: Any) -> tuple[Path, StPR]:
    recipe = make_recipe(**{**FEW, **tables})
    for number, (model, _) in enumerate(learn(recipe, stages=stages), start=1):
        save(folder, model, recipe, number)
    return folder, model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", stages=2, **ADAPTED)[0]


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A run that a test may break."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_loaded_stage_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    folder, model = make_run(tmp_path / "run", **VARIANTS[name])
    loaded, record, recipe = load_stage(folder, 3)
    assert recipe == make_recipe(**{**FEW, **VARIANTS[name]})
    assert record.classes == ("a", "b", "c", "d", "e", "f")
    assert not loaded.training
    inputs = widened(make_features(2, split=1)[0], model.encoder.frozen_width)
    pixels = torch.randint(0, 256, (2, FRAMES, *model.encoder.pixels.shape), dtype=torch.uint8)
    with torch.no_grad():
        for given in (inputs, pixels):
            for expected, found in zip(model(given), loaded(given), strict=True):
                assert torch.equal(expected, found)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    scores, again = model.head.combiner.statistics, loaded.head.combiner.statistics
    if scores is not None and again is not None:
        read = ("axes", "directions") if isinstance(scores, ClipStatistics) else ("weight",)
        expected, found = (
            {name: value for name, value in one.named_buffers() if name.endswith(read)} for one in (scores, again)
        )
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())  # derived, not stored


@pytest.mark.parametrize("name", VARIANTS)
def test_the_record_lists_every_tensor_and_none_is_the_backbones(name: str, tmp_path: Path) -> None:
    folder, model = make_run(tmp_path / "run", stages=2, **VARIANTS[name])
    record = read_record(folder, 2)
    tensors = load_file(stage_folder(folder, 2) / TENSORS)
    assert {kept.name: (kept.shape, kept.bytes) for kept in record.kept} == {
        key: (tuple(value.shape), value.nbytes) for key, value in tensors.items()
    }
    assert {kept.kind for kept in record.kept} <= set(KINDS.values())
    frozen = {id(value) for key, value in model.encoder.backbone.named_parameters() if "adapter" not in key}
    saved = {id(value) for key, value in model.named_parameters() if key in tensors}
    assert frozen
    assert saved.isdisjoint(frozen)
    assert not any("backbone.network" in key and ".adapter." not in key for key in tensors)
    assert ("axes of channels" in {kept.kind for kept in record.kept}) is ("views" in name)
    kinds = {kept.kind for kept in record.kept}
    recipe, routed = make_recipe(**VARIANTS[name]), isinstance(model.head.combiner, Fusion)
    method, router = recipe.method, recipe.router
    assert ("class statistics" if isinstance(model.head.combiner, ScoresAlone) else "class vectors") in kinds
    assert ("expert" in kinds) is (model.head.form is not None)
    assert ("anchors" in kinds) is (method == "stpr" and routed and router.kind != "equal")
    assert ("trust in experts" in kinds) is (recipe.fusion.kind == "posteriors")
    assert ("adapter" in kinds) is (make_recipe(**VARIANTS[name]).adapter.place != "none")
    assert ("projection" in kinds) is ("projection" in name)
    assert ("memory" in kinds) is (name in ("old", "ewc"))


@pytest.mark.parametrize(
    "tables", [VARIANTS["projection, views, motion and trust"], {**OURS, **ADAPTED}, VARIANTS["old"]]
)
def test_what_is_kept_does_not_grow_with_the_clips(tables: dict[str, Any]) -> None:
    few, many = (
        {name: (value.shape, value.dtype) for name, value in kept_tensors(learnt(recipe, clips=clips)).items()}
        for recipe in [make_recipe(**{**FEW, **tables})]
        for clips in (3, 17)
    )
    assert few == many


def test_an_old_expert_is_the_same_in_every_later_checkpoint(run: Path) -> None:
    first, second = (load_file(stage_folder(run, stage) / TENSORS) for stage in (1, 2))
    old = [name for name in first if name.startswith(("head.experts.0.", "head.anchors", "head.class_vectors"))]
    assert len(old) > 5
    assert all(torch.equal(first[name], second[name][: len(first[name])]) for name in old)


def refused(run: Path, stage: int, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load_stage(run, stage)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("place", [4, 0.5, -1])
def test_one_flipped_bit_is_found(copied: Path, place: float) -> None:
    file = stage_folder(copied, 2) / TENSORS
    content = bytearray(file.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    file.write_bytes(content)
    refused(copied, 2, r"model\.safetensors (is not the file that was saved|can't be read).*; train the stage again")


def test_the_weights_of_another_stage_are_not_taken(copied: Path) -> None:
    shutil.copy(stage_folder(copied, 1) / TENSORS, stage_folder(copied, 2) / TENSORS)
    refused(copied, 2, r"is not the file that was saved \(its sha256 differs\)")


def test_missing_weights(copied: Path) -> None:
    (stage_folder(copied, 1) / TENSORS).unlink()
    refused(copied, 1, r"model\.safetensors can't be read .*; train the stage again")


@pytest.mark.parametrize("stage", [0, 3, 17])
def test_a_stage_that_is_not_there(run: Path, stage: int) -> None:
    refused(run, stage, rf"has stages 1 to 2, not stage {stage}; train further or choose another --stage")


def test_a_run_without_a_finished_stage(copied: Path) -> None:
    shutil.rmtree(stage_folder(copied, 1))
    assert finished_stages(copied) == [2]
    refused(copied, 1, r"has stage 2, not stage 1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: b"",
        lambda text: b"\xff" + text,
        lambda text: text.replace(b'"seed"', b'"sed"'),
        lambda text: text.replace(b'"frames": 4', b'"frames": "4"'),
    ],
)
def test_a_damaged_record(copied: Path, damage: Any) -> None:
    file = stage_folder(copied, 2) / RECORD
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    refused(copied, 2, r"stage\.json is damaged \(.*\); train the stage again")


def test_another_network_at_the_same_place(tmp_path: Path) -> None:
    place = write_clip(tmp_path / "clip", vision_only=True)
    tables = {"backbone": {"source": str(place)}, "adapter": {"place": "blocks"}}
    recipe = make_recipe(**tables)
    model = build_model(recipe)
    model.head.add_stage(2, torch.randn(2, model.head.columns.appearance))
    save(tmp_path / "run", model, recipe, 1)
    with torch.no_grad():
        pixels = torch.randint(0, 256, (1, FRAMES, SIDE, SIDE, 3), dtype=torch.uint8)
        assert torch.equal(load_stage(tmp_path / "run", 1)[0](pixels)[0], model.eval()(pixels)[0])
    shutil.rmtree(place)
    write_clip(place, vision_only=True, half=True)  # rounded to half precision
    refused(tmp_path / "run", 1, r"has other weights \(sha256 \w{12}…\) than the run .*; restore that network")


def test_a_recipe_changed_by_hand(copied: Path) -> None:
    file = copied / RECIPE
    for key, value in (("layers = 1", "layers = 2"), ('place = "feature"', 'place = "none"')):
        text = file.read_text(encoding="utf-8")
        assert key in text
        file.write_text(text.replace(key, value), encoding="utf-8")
        refused(copied, 2, r"stage 2 does not fit its recipe\.toml: .*; restore the recipe")
        file.write_text(text, encoding="utf-8")
    file.write_text(text.replace("mlp_ratio = 1", "mlp_ratio = 2"), encoding="utf-8")
    refused(copied, 2, r"stage 2 does not fit its recipe\.toml: .*; restore the recipe")


@pytest.mark.parametrize("stops", [KeyboardInterrupt, OSError])
def test_a_stage_is_saved_whole_or_not_at_all(
    copied: Path, monkeypatch: pytest.MonkeyPatch, stops: type[BaseException]
) -> None:
    model, record, _ = load_stage(copied, 2)
    before = sorted(path.relative_to(copied) for path in copied.rglob("*"))

    def stop(*_: Any, **__: Any) -> None:
        raise stops("stopped while writing")

    monkeypatch.setattr(msgspec.json, "format", stop)
    with pytest.raises(stops, match="stopped while writing"):
        save_stage(copied, model, record, {})
    monkeypatch.undo()
    assert sorted(path.relative_to(copied) for path in copied.rglob("*")) == before
    assert load_stage(copied, 2)[1] == record  # the earlier one is untouched


def test_a_left_over_part_is_no_stage(copied: Path) -> None:
    shutil.rmtree(stage_folder(copied, 2))
    part = copied / ".stage-2.0123abcd.stpr-part"
    part.mkdir()
    (part / RECORD).write_text("{}")
    assert finished_stages(copied) == [1]
    model, record, _ = load_stage(copied, 1)
    save_stage(copied, model, msgspec.structs.replace(record, stage=2), {})
    assert not part.exists()
    assert json.loads((stage_folder(copied, 2) / RECORD).read_text())["stage"] == 2
