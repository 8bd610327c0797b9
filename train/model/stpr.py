"""The whole network (method §2, §4), and the one place that wires it.

frames ─▶ FrameEncoder ─▶ features ─┬─▶ mean over frames ──────────────── static ──┐
uint8                     (B,T,D)   ├─▶ expert 1 … expert E ─▶ outputs (B,E,D) ────┤
                                    └─▶ clip statistics ─▶ posterior (B,C) ──┐     ▼
                                                 temporal = outputs - static ─▶ router ─▶ fuse ─▶ cosine ─▶ logits
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.manifest import Score
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.experts import Expert
from stpr.train.model.routing import ROUTERS, Evidence
from stpr.train.model.scores.probe import LinearProbe
from stpr.train.model.scores.ridge import RidgeScores
from stpr.train.model.scores.statistics import ClipScores, ClipStatistics
from stpr.train.settings.model import HeadSettings


def clip_scores(frames: int, width: int, settings: HeadSettings) -> ClipScores | None:
    """What tells how well each class explains a clip as a whole, where anything asks for it."""
    if not settings.keeps_statistics:
        return None
    if settings.scores == "ridge":
        return RidgeScores(frames, width, settings.statistics, settings.ridge)
    if settings.scores == "logistic":
        return LinearProbe(frames, width, settings.statistics, settings.probe)
    return ClipStatistics(frames, width, settings.statistics)


class Head(nn.Module):
    """Frame features `(B, T, D)` -> logits `(B, C)` (cosines) and routing `(B, E)`, over all stages so far."""

    def __init__(self, *, frames: int, width: int, settings: HeadSettings) -> None:
        super().__init__()
        inner = settings.expert.width_in(width)
        if inner % settings.expert.heads:
            raise RecipeError(
                f"[expert] heads: {settings.expert.heads} heads can't share out {inner} features equally;"
                f" use a number that divides {inner}."
            )
        self.frames, self.width, self.settings = frames, width, settings
        self.experts = nn.ModuleList()
        self.statistics = clip_scores(frames, width, settings)
        self.class_vectors: Tensor
        self.anchors: Tensor
        self.keys: Tensor
        self.membership: Tensor
        self.register_buffer("class_vectors", torch.zeros(0, width))
        self.register_buffer("anchors", torch.zeros(0, width))
        self.register_buffer("keys", torch.zeros(0, width))  # stays empty unless the router asks for them
        self.register_buffer("membership", torch.zeros(0, 0), persistent=False)

    def add_stage(self, class_vectors: Tensor) -> Expert:
        """Make room for a stage with these class vectors `(c, D)`; returns its new expert, the old ones frozen."""
        self.experts.requires_grad_(requires_grad=False)
        copies = len(self.experts) > 0 and self.settings.expert.start == "copy"
        expert = (
            copy.deepcopy(self.experts[-1]).requires_grad_(requires_grad=True)
            if copies
            else Expert(self.frames, self.width, self.settings.expert)
        ).to(self.class_vectors.device)
        self.experts.append(expert)
        self.add_classes(class_vectors)
        assert isinstance(expert, Expert)
        return expert

    def add_classes(self, class_vectors: Tensor) -> None:
        """Give the newest expert more classes: their vectors `(c, D)`; anchors and keys are zero until known."""
        self.class_vectors = torch.cat([self.class_vectors, class_vectors.to(self.class_vectors)])
        self.anchors = torch.cat([self.anchors, torch.zeros_like(class_vectors).to(self.anchors)])
        if self.settings.router.keeps_keys:
            self.keys = torch.cat([self.keys, torch.zeros_like(class_vectors).to(self.keys)])
        owners = F.pad(self.membership, (0, len(self.experts) - self.membership.shape[1], 0, len(class_vectors)))
        owners[-len(class_vectors) :, -1] = 1
        self.membership = owners

    def forward(self, features: Tensor, unadapted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`; `unadapted` are the features without adapters, where they differ."""
        return self.combine(features, self.ask(features), unadapted)

    def ask(self, features: Tensor) -> Tensor:
        """What every expert says, V^st_k: `(B, E, D)`."""
        return torch.stack([expert(features) for expert in self.experts], dim=1)

    def combine(
        self, features: Tensor, outputs: Tensor, unadapted: Tensor | None = None, *, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Route, fuse and match: V = V̄ + Σ r_k V^st_k, logits = cos(V, T_c) (method §4.3).

        `given` `(B, E)` stands in for the router's weights.
        """
        fusion = self.settings.fusion
        static = features.mean(dim=1)  # (B, D)
        posterior = (
            None if self.statistics is None else torch.softmax(self.statistics.log_likelihoods(features), dim=-1)
        )
        evidence = Evidence(
            temporal=outputs - static[:, None],
            anchors=self.anchors,
            static=static if unadapted is None else unadapted.mean(dim=1),
            keys=self.keys,
            membership=self.membership,
            posterior=posterior,
            temperature=self.settings.router.temperature,
        )
        routing = ROUTERS[self.settings.router.kind](evidence) if given is None else given
        if fusion.normalise:
            static, outputs = F.normalize(static, dim=-1), F.normalize(outputs, dim=-1)
        fused = fusion.static * static + (routing[:, None] @ outputs)[:, 0]  # (B, D)
        if fusion.evidence > 0 and posterior is not None:
            fused = fused + fusion.evidence * (posterior @ self.class_vectors)
        return F.normalize(fused, dim=-1) @ F.normalize(self.class_vectors, dim=-1).T, routing

    @property
    def score(self) -> Score:
        """What `familiarity` measures."""
        return "likelihood_ratio" if isinstance(self.statistics, ClipStatistics) else "cosine"

    def familiarity(self, features: Tensor, logits: Tensor) -> Tensor:
        """How well clips `(B, T, D)` fit the classes learnt so far: `(B,)`; the best cosine without class Gaussians."""
        if not isinstance(self.statistics, ClipStatistics):
            return logits.amax(dim=1)
        familiar: Tensor = self.statistics.familiarity(self.statistics.describe(features))
        return familiar


class StPR(nn.Module):
    """Encoder and head together: clips `(B, T, H, W, 3)` uint8, or their frozen features, to logits and routing."""

    def __init__(self, *, encoder: FrameEncoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        # Kept only where asked for: channel importance of old classes (C, D) where preservation.classes = "old"
        # (method §3.3 (1) B), or what EWC holds each trained parameter by (P,).
        self.importance: Tensor
        self.register_buffer("importance", torch.zeros(0, head.width))

    @property
    def reads_unadapted(self) -> bool:
        """Whether the router looks at frame features as they would be without the adapters that there are."""
        return self.head.settings.router.kind == "clip_key" and bool(self.encoder.adapter_parameters())

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`."""
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        logits, routing = self.head(self.encoder(inputs), unadapted)
        return logits, routing

    def judge(self, inputs: Tensor, stage: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and routing of clips of one stage, and the logits if a router chose the expert of it alone."""
        features = self.encoder(inputs)
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        outputs = self.head.ask(features)
        logits, routing = self.head.combine(features, outputs, unadapted)
        right = torch.zeros_like(routing)
        right[:, min(stage, routing.shape[1]) - 1] = 1
        return logits, routing, self.head.combine(features, outputs, unadapted, given=right)[0]
