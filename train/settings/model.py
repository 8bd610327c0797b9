"""The tables of a recipe that decide the form of the network."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from stpr.train.settings.bounds import Count, CountOrNone, NotNegative, Positive, Share, ShareBelowOne
from stpr.train.settings.section import Section


class BackboneSettings(Section, frozen=True):
    """The frozen network: "tiny", a local folder, or a hub id; `projection` 0 keeps its own width."""

    source: str
    projection: CountOrNone = 0


class AdapterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where adapters sit and how large they are; the paper leaves all of this open but their form."""

    place: Literal["blocks", "feature", "none"] = "blocks"  # in every transformer block, behind the network, nowhere
    bottleneck: Count = 64
    scale: float = 0.1


class ClassVectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text` is the paper's; `prototypes` are means of frozen frame-mean features; `codes` are random."""

    kind: Literal["text", "prototypes", "codes"] = "text"
    prompt: str | tuple[str, ...] = "a video of a person {}."  # of several, the mean text feature counts

    def __post_init__(self) -> None:
        """Refuse a prompt that would say the same of every class."""
        if not self.prompts:
            raise ValueError("[class_vectors] prompt: must hold one template or more")
        for prompt in self.prompts:
            if "{}" not in prompt:
                raise ValueError(f"[class_vectors] prompt: must hold {{}} where the class name goes, not {prompt!r}")

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every template."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt


class ExpertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Form of an expert. Layers and heads are the paper's, the rest is open there."""

    layers: Count = 3
    width: CountOrNone = 0  # of its blocks; 0 is that of the frame feature, the paper's
    heads: Count = 2
    mlp_ratio: Count = 4
    dropout: ShareBelowOne = 0.0
    input: Literal["frames", "residual"] = "frames"  # the paper's, or what the frames say beyond their mean
    start: Literal["copy", "fresh"] = "copy"  # of the expert before

    def width_in(self, features: int) -> int:
        """How wide the blocks are behind frame features of this width."""
        return self.width or features


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How experts are weighed."""

    kind: str = "raw"  # a name of stpr.train.model.routing; the paper's
    temperature: Positive = 0.05  # of softmax over anchor cosines


Part = Literal["mean", "difference", "deviation", "cosines", "change", "lag1", "lag2"]


FEWEST_FRAMES: Final[dict[Part, int]] = {"change": 2, "lag1": 2, "lag2": 3}  # of a clip, for parts that need several


class StatisticsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a clip is described, how far the covariance is drawn to its diagonal, and what is compared then.

    `gaussian` compares distances. `cosine` compares directions as seen from the middle of the classes, ln p = κ cos
    (von Mises-Fisher): a new place or person moves clips and stretches them, and turns them less.
    """

    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1)] = ("mean", "difference", "deviation")
    shrinkage: Share = 0.1
    draws: bool = False  # learn means and covariance from the training draws too, not from the centre views alone
    likelihood: Literal["gaussian", "cosine"] = "gaussian"
    concentration: Positive = 64.0  # κ
    events: bool = False  # learn what parts of actions and pauses look like, so that a live run can tell events

    def __post_init__(self) -> None:
        """Refuse events without the directions that they are told by."""
        if self.events and self.likelihood != "cosine":
            raise ValueError('[statistics] events = true compares directions; set likelihood = "cosine"')


class RidgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many random features; learning a stage takes time as their cube, seconds for 2000 on a CPU."""

    projection: Count = 2000


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a weight costs beside the mean cross-entropy, features at unit variance."""

    decay: Positive = 1e-3


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """V = static · V̄ + Σ r_k V^st_k + evidence · Σ p_c T_c; the paper's form is static = 1, evidence = 0."""

    static: NotNegative = 1.0
    evidence: NotNegative = 0.0
    normalise: bool = True  # bring V̄ and every V^st_k to unit length first
