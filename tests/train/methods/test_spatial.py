"""The paper's rows without experts, and its router rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from stpr.train.learning.distributed import ALONE
from stpr.train.methods.build import build_model
from stpr.train.run.checkpoint import kept_tensors
from tests.train.networks import SIDE
from tests.train.synthetic import ADAPTED, FRAMES, fusion_of, learn, learn_one, make_features, make_recipe

ROWS: dict[str, dict[str, Any]] = {
    "frozen": {"method": "spatial", "adapter": {"place": "none"}},
    "adapters": {"method": "spatial", "preservation": {"weight": 0.0}},
    "adapters + FSSD": {"method": "spatial"},
    "TD-MoE": {"adapter": {"place": "none"}},
    "adapters + TD-MoE": {"preservation": {"weight": 0.0}},
    "full": {},
    **{kind: {"router": {"kind": kind}} for kind in ("equal", "clip_key", "adapter_key")},
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_trains_what_it_says(row: str) -> None:
    tables = {**ADAPTED, **ROWS[row]}
    for stage, (model, curves) in enumerate(learn(make_recipe(**tables), stages=2), start=1):
        experts, adapts = row not in ("frozen", "adapters", "adapters + FSSD"), row not in ("frozen", "TD-MoE")
        terms = {"contrast_st"} if experts else set()
        terms |= {"contrast_s"} if adapts or experts else set()
        terms |= {"preservation"} if adapts and stage > 1 and not row.startswith("adapters") else set()
        terms |= {"preservation"} if row == "adapters + FSSD" and stage > 1 else set()
        assert set().union(*curves) == terms
        assert len(model.head.experts) == (stage if experts else 0)
        kept = kept_tensors(model)
        assert any(value.any() for name, value in kept.items() if ".adapter.up." in name) is adapts
        assert ("head.keys" in kept) is row.endswith("_key")
        features = model.encoder(make_features(1, split=1)[0])
        class_vectors = model.head.combiner.get_buffer("class_vectors")
        static = F.normalize(features.mean(dim=1), dim=1) @ F.normalize(class_vectors, dim=1).T
        assert torch.allclose(model.head(features)[0], static, atol=1e-5) is not experts


@pytest.mark.parametrize("kind", ["clip_key", "adapter_key"])
def test_keys_are_class_means_of_the_frame_feature(kind: str) -> None:
    expected = []
    for stage, (model, _) in enumerate(learn(make_recipe(**ADAPTED, router={"kind": kind})), start=1):
        features, labels = make_features(stage)
        with torch.no_grad():
            static = (model.encoder(features) if kind == "adapter_key" else features).mean(dim=1)
        expected += [static[labels == label].mean(dim=0) for label in labels.unique()]
        torch.testing.assert_close(fusion_of(model).keys, torch.stack(expected))
    features, _ = make_features(2, split=1)
    with torch.no_grad():
        static = (model.encoder(features) if kind == "adapter_key" else features).mean(dim=1)
        cosines = F.normalize(static, dim=1) @ F.normalize(fusion_of(model).keys, dim=1).T
        routing = model(features)[1]
    torch.testing.assert_close(routing, cosines.reshape(-1, 3, 2).amax(dim=2))


class Pixels:
    """Random clips, the same in every epoch."""

    processes = ALONE

    def __init__(self, labels: list[int]) -> None:
        generator = torch.Generator().manual_seed(labels[0])
        self.labels = torch.tensor(labels).repeat_interleave(3)
        self.recordings = torch.zeros_like(self.labels)
        shape = (len(self.labels), FRAMES, SIDE, SIDE, 3)
        self.frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    def epoch(self, number: int, *, batch: int, seed: int) -> Any:
        """All clips in one batch."""
        del number, batch, seed
        yield self.frames, self.labels

    def centre(self, *, batch: int) -> Any:
        """Batches of all clips."""
        yield from torch.split(self.frames, batch)

    def draws(self) -> Any:
        """No draw outlives its epoch."""
        raise NotImplementedError

    def take(self, rows: torch.Tensor) -> Pixels:
        """Nothing is held out here."""
        raise NotImplementedError


@pytest.mark.parametrize("row", ROWS)
def test_each_row_runs_by_the_letter_on_a_clip_with_adapters_in_its_blocks(row: str, clip_folder: Path) -> None:
    letter = {"backbone": {"source": str(clip_folder)}, "class_vectors": {"kind": "text"}, "expert": {"layers": 3}}
    few = {"optimizer": {"epochs_first": 2, "epochs_later": 2}, "contrast": {"temperature": 0.01}}
    place = {"adapter": {"place": "blocks", "bottleneck": 4}}
    recipe = make_recipe(**{**letter, **few, **place, **ROWS[row]})
    torch.manual_seed(0)
    model = build_model(recipe)
    plain = build_model(make_recipe(**letter)).encoder
    for stage, classes in enumerate((("jump", "run"), ("sit", "wave")), start=1):
        clips = Pixels([2 * stage - 2, 2 * stage - 1])
        learn_one(model, classes, clips, recipe, stage)
    with torch.no_grad():
        logits, routing = model.eval()(clips.frames)
        frozen, adapted = plain(clips.frames), model.encoder(clips.frames)
        assert torch.equal(model.encoder.unadapted(clips.frames), frozen)
    assert torch.equal(adapted, frozen) is (recipe.adapter.place == "none")
    assert logits.isfinite().all()
    assert logits.shape == (6, 4)
    assert routing.shape == (6, max(1, len(model.head.experts)))
    if row == "clip_key":
        assert model.reads_unadapted
        torch.testing.assert_close(fusion_of(model).keys[2], frozen[:3].mean(dim=(0, 1)))
