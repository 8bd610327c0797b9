"""Small networks with every number drawn at random: nothing is zero, one or equal to something else by construction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from stpr.export.graphs.cut import decided
from stpr.export.parity.reference import answers
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import Array, PreprocessSpec
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.train.model.backbone import Backbone, Inner
from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.combiners.scores_alone import ScoresAlone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.head import Head
from stpr.train.model.routing import router_of
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.wholeness import Fragments, fragments
from stpr.train.model.stpr import StPR
from stpr.train.settings.model import (
    AdapterSettings,
    ExpertSettings,
    FusionSettings,
    InnerSettings,
    RouterSettings,
    StatisticsSettings,
    ViewSettings,
)

PARTS = StatisticsSettings(parts=("mean", "difference", "deviation", "cosines"))
SIDE = 32
MOTION = MotionSpec(pairs=3, side=24, seconds=1 / 15)
CLASSES = 2  # per stage
Kind = Literal["clip", "mobilenet", "vit"]
RouterKind = Literal["raw", "softmax", "top1", "equal", "likelihood", "clip_key", "adapter_key"]


def random_backbone(kind: Kind, inner: Inner = "none") -> Backbone:
    """A CLIP, MobileNetV2 or ViT of a few thousand weights; with inner layers, channels of one are correlated too."""
    spec = PreprocessSpec(
        height=SIDE, width=SIDE, resize="stretch", crop_fraction=1.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25)
    )
    backbone = Backbone(_randomise(_network(kind)), spec, source=kind, inner=inner)
    if inner != "none":
        backbone.correlate((1,), 5)
        randomise_axes(backbone)
    return backbone


def randomise_axes(backbone: Backbone) -> None:
    """What learning the axes does."""
    for axes in backbone.axes:
        axes.copy_(torch.linalg.qr(torch.randn_like(axes))[0])


def save_backbone(folder: Path) -> str:
    """The CLIP as a folder that a recipe can name; returns its path."""
    torch.manual_seed(1)
    network: Any = _randomise(_network("clip"))
    network.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    processor = {"size": size, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)


def _network(kind: Kind) -> nn.Module:
    network: nn.Module
    if kind == "clip":
        config: Any = transformers.CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=48,
            projection_dim=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
            attn_implementation="sdpa",
        )
        network = transformers.CLIPVisionModelWithProjection(config)
    elif kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
            attn_implementation="sdpa",
        )
        network = transformers.ViTModel(config)
    else:
        config = transformers.MobileNetV2Config(image_size=SIDE, depth_multiplier=0.25, tf_padding=True)
        network = transformers.MobileNetV2Model(config)
    return network


@dataclass(frozen=True)
class HeadForm:
    """How a head is wired: experts behind a router or under scores, or class scores of some kind alone."""

    expert: ExpertSettings
    router: RouterSettings
    fusion: FusionSettings
    alone: Callable[[int, Columns], ClipScores] | None = None  # frames and columns to class scores
    statistics: StatisticsSettings = PARTS

    def build(self, frames: int, columns: Columns) -> Head:
        if self.alone is not None:
            combiner: Combiner = ScoresAlone(self.alone(frames, columns), temperature=0.05)
            return Head(frames=frames, columns=columns, combiner=combiner, expert=None)
        if self.fusion.kind == "posteriors":
            combiner = Mixture(columns, ClipStatistics(frames, columns, self.statistics), temperature=0.05)
            return Head(frames=frames, columns=columns, combiner=combiner, expert=self.expert)
        asked = router_of(self.router).reads_posterior or self.fusion.evidence > 0
        scores = ClipStatistics(frames, columns, self.statistics) if asked else None
        combiner = Fusion(columns, router=self.router, fusion=self.fusion, statistics=scores)
        return Head(frames=frames, columns=columns, combiner=combiner, expert=self.expert)


def scores_alone(kind: Callable[[int, Columns], ClipScores]) -> HeadForm:
    """A head of class scores without experts."""
    return replace(head_settings("raw"), alone=kind)


def random_model(
    *,
    backbone: Backbone,
    stages: int,
    frames: int = 4,
    place: Literal["blocks", "feature", "none"] = "none",
    projection: int = 16,
    settings: HeadForm | None = None,
    motion: MotionSpec | None = None,
) -> StPR:
    """A network after `stages` stages of two classes each."""
    adapter = AdapterSettings(place=place, bottleneck=4, scale=0.5)
    encoder = FrameEncoder(backbone=backbone, adapter=adapter, projection=projection, motion=motion, flow="fine")
    head = (settings or head_settings("raw")).build(frames, encoder.columns)
    model = StPR(encoder=encoder, head=head)
    _randomise(encoder.projection)
    for _ in range(stages):
        add_random_stage(model)
    return model.eval()


def add_random_stage(model: StPR) -> None:
    """What learning a stage does to a network, with random outcomes: new adapters, a new expert, the old ones kept."""
    for name, value in model.encoder.named_parameters():
        if "adapter" in name:
            _draw(name, value)
    head, combiner = model.head, model.head.combiner
    head.add_stage(CLASSES, torch.randn(CLASSES, head.columns.appearance))
    for expert in head.experts[-1:]:
        _randomise(expert)
    if isinstance(combiner, Mixture):
        combiner.trust[-1:] = 20 * torch.rand(1)
    if isinstance(combiner, Fusion):
        for kept in (combiner.anchors, combiner.keys):
            kept[-CLASSES:] = torch.randn_like(kept[-CLASSES:])
    if combiner.statistics is not None:
        _observe(combiner.statistics, head)


def views_settings() -> HeadForm:
    """Scores of all views of a clip, events of them, and experts that have their say."""
    each = ViewSettings(parts=("mean", "change"), shrinkage=0.3)
    statistics = StatisticsSettings(
        parts=("mean", "lag1"),
        inner=InnerSettings(parts=each.parts, shrinkage=each.shrinkage, views=2),
        motion=each,
        rhythm=True,
        affine=True,
        relative_motion=True,
        mirror=True,
        likelihood="cosine",
        concentration="learnt",
        unknown="direction",
        events=True,
    )
    return replace(head_settings("raw"), fusion=FusionSettings(kind="posteriors"), statistics=statistics)


def head_settings(
    router: RouterKind,
    *,
    sees: Literal["frames", "residual"] = "frames",
    evidence: float = 0.0,
    normalise: bool = True,
    lean: int = 0,
) -> HeadForm:
    """A head of small experts with all four parts of the clip statistics where it keeps any."""
    return HeadForm(
        expert=ExpertSettings(layers=1, heads=2, mlp_ratio=2, width=lean, input=sees),
        router=RouterSettings(kind=router),
        fusion=FusionSettings(evidence=evidence, normalise=normalise),
    )


def check_graphs(model: StPR, folder: Path, batch: int) -> None:
    """Random clips through the three graphs in onnxruntime: features, logits and routing as PyTorch gives them."""
    shape = (batch, model.head.frames, *model.encoder.pixels.shape)
    pixels = np.random.default_rng(batch).integers(0, 256, shape, dtype=np.uint8)
    wanted, clips = answers(model, pixels), feeds(model, pixels)
    options = EngineOptions(threads=1)
    run = {name: open_engine("onnxruntime", folder / f"{name}.onnx", options).run for name in GraphName}
    encoded = run[GraphName.ENCODER]({name: seen.reshape(-1, *seen.shape[2:]) for name, seen in clips.items()})[
        "features"
    ]
    np.testing.assert_allclose(encoded, wanted.features.reshape(encoded.shape), rtol=1e-4, atol=1e-5)
    for found in (run[GraphName.HEAD]({"features": wanted.features}), run[GraphName.CLIP](clips)):
        assert list(found) == list(decided(model))
        if "evidence" in found:
            np.testing.assert_allclose(found["evidence"], wanted.evidence, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found["logits"], wanted.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["routing"], wanted.routing, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["familiarity"], wanted.familiarity, rtol=1e-4, atol=1e-4)
    assert np.ptp(wanted.features) > 0.1  # or the comparison would say nothing


def feeds(model: StPR, pixels: Array) -> dict[str, Array]:
    """Pixels of clips `(B, T, *shape)` as the clip graph takes them."""
    frames, greys = model.encoder.pixels.split(pixels)
    return {"frames": frames} if greys is None else {"frames": frames, "greys": greys}


def _observe(statistics: ClipScores, head: Head) -> None:
    """Classes that overlap, so that no posterior is a plain zero or one."""
    labels = torch.arange(400) % CLASSES
    shape = (head.frames, head.columns.width)
    clips = torch.randn(400, *shape) + 0.1 * torch.randn(CLASSES, *shape)[labels]
    statistics.update(Samples(clips, labels, torch.arange(400)), CLASSES)
    if isinstance(statistics, ClipStatistics) and (wholeness := statistics.wholeness):
        described = Fragments(
            *(statistics.describe(part) for part in fragments(clips, clips.flip(0), lambda part: part))
        )
        wholeness.update(described, labels, torch.full((CLASSES,), 1e-3), torch.zeros(CLASSES, dtype=torch.bool))
        wholeness.weight, wholeness.bias = torch.randn(len(wholeness.weight)), torch.randn(())
        wholeness.doubt = torch.rand(1)
        wholeness.background = described.still[:4] + described.between[:4]
        statistics.refresh()


def _randomise(module: nn.Module) -> nn.Module:
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point():
            _draw(name, value)
    return module


@torch.no_grad()
def _draw(name: str, value: Tensor) -> None:
    if value.ndim > 1:
        value.copy_(torch.randn_like(value) * value[0].numel() ** -0.5)
    elif name.endswith(("running_var", "weight")):
        value.copy_(torch.rand_like(value) + 0.5)
    else:
        value.copy_(0.2 * torch.randn_like(value))
