"""The tables of a recipe that decide the form of the network."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from stpr.train.settings.bounds import Count, CountOrNone, NotNegative, Number, Positive, Share, ShareBelowOne
from stpr.train.settings.section import Section


class BackboneSettings(Section, frozen=True):
    """The frozen network: "tiny", a local folder, or a hub id; `projection` 0 keeps its own width.

    "auto", here and in the tables below, follows the network (`stpr.train.settings.automatic`).

    `inner` numbers hidden states of the network, from 0 as `transformers` gives them, whose mean and deviation over
    the picture describe a frame as well; "auto" takes one at two thirds of the depth and one at three quarters.
    """

    source: str
    projection: CountOrNone | Literal["auto"] = "auto"
    inner: Literal["none", "auto"] | tuple[CountOrNone, ...] = "none"


class AdapterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where adapters sit and how large they are; the paper leaves all of this open but their form."""

    # In every transformer block, behind the network, nowhere.
    place: Literal["auto", "blocks", "feature", "none"] = "auto"
    bottleneck: Count = 64
    scale: Number = 0.1


class ClassVectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text` is the paper's; `prototypes` are means of frozen frame-mean features; `codes` are random."""

    kind: Literal["auto", "text", "prototypes", "codes"] = "auto"
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

    layers: CountOrNone = 3  # 0: no experts, where [fusion] kind = "posteriors" can do without
    width: CountOrNone | Literal["auto"] = "auto"  # of its blocks; 0 is that of the frame feature, the paper's
    heads: Count = 2
    mlp_ratio: Count = 4
    dropout: ShareBelowOne = 0.0
    input: Literal["frames", "residual"] = "frames"  # the paper's, or what the frames say beyond their mean
    start: Literal["copy", "fresh"] = "copy"  # of the expert before

    def width_in(self, features: int) -> int:
        """How wide the blocks are behind frame features of this width."""
        assert self.width != "auto"
        return self.width or features


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How experts are weighed."""

    kind: str = "raw"  # a name of stpr.train.model.routing; the paper's
    temperature: Positive = 0.05  # of softmax over anchor cosines


Part = Literal["mean", "difference", "deviation", "cosines", "change", "lag1", "lag2"]


FEWEST_FRAMES: Final[dict[Part, int]] = {"change": 2, "lag1": 2, "lag2": 3}  # of a clip, for parts that need several
RHYTHM_LAGS: Final = (1, 2, 3, 4, 6, 8)  # in pairs of pictures


class ViewSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One view of a clip: what of its columns is described, and how far their covariance is drawn to its diagonal."""

    parts: tuple[Part, ...] = ()  # none: no such view
    shrinkage: Share = 0.1


class StatisticsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a clip is described, how far the covariance is drawn to its diagonal, and what is compared then.

    `parts` and `shrinkage` are those of the appearance; inner layers and motion are views of their own. `gaussian`
    compares distances, all views together. `cosine` compares directions as seen from the middle of the classes, ln p =
    κ cos (von Mises-Fisher): a new place or person moves clips and stretches them, and turns them less. Each view has
    its own κ, and "learnt" takes them from how well two halves of the training clips agree.
    """

    parts: tuple[Part, ...] = ("mean", "difference", "deviation")
    shrinkage: Share = 0.1
    inner: ViewSettings = ViewSettings()  # of [backbone] inner
    motion: ViewSettings = ViewSettings()  # of [sampling] motion
    # The same where known is told from unknown. Much by default: a direction in which few training clips hardly vary
    # looks strange in every new clip. Where random draws show well how clips vary, little tells far better.
    unknown_shrinkage: Share = 0.8
    # What tells known from unknown: how far a clip lies from the classes (and `unknown_shrinkage`), or where it points
    # among them. Distances tell better who was filmed before, directions hold for people never filmed.
    unknown: Literal["distance", "direction"] = "distance"
    rhythm: bool = False  # a view of how the motion's four signals recur, from pair to pair
    # Learn means and covariance from the training draws too, not from the centre views alone: true counts each draw as
    # much as a centre view, "together" all draws of a clip as much as its centre view.
    draws: bool | Literal["together"] = False
    likelihood: Literal["gaussian", "cosine"] = "gaussian"
    concentration: Positive | Literal["learnt"] = 64.0  # κ
    events: bool = False  # learn what parts of actions and pauses look like, so that a live run can tell events

    @property
    def views(self) -> int:
        """How many views the statistics have."""
        return sum(map(bool, (self.parts, self.inner.parts, self.motion.parts, self.rhythm)))

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of all views."""
        return (*self.parts, *self.inner.parts, *self.motion.parts)

    def __post_init__(self) -> None:
        """Refuse statistics of nothing, and what asks for directions where distances are compared."""
        if not self.views:
            raise ValueError("[statistics] describes nothing of a clip; give parts, inner, motion or rhythm")
        if self.likelihood == "gaussian":
            if self.events:
                raise ValueError('[statistics] events = true compares directions; set likelihood = "cosine"')
            if self.unknown == "direction":
                raise ValueError('[statistics] unknown = "direction" compares directions; set likelihood = "cosine"')
            if self.concentration == "learnt":
                raise ValueError('[statistics] concentration = "learnt" weighs directions; set likelihood = "cosine"')
        elif self.views > 1 and self.concentration != "learnt":
            raise ValueError(
                f"[statistics] describes {self.views} views, which one concentration can't weigh; set"
                ' concentration = "learnt"'
            )


class RidgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many random features; learning a stage takes time as their cube, seconds for 2000 on a CPU."""

    projection: Count = 2000


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a weight costs beside the mean cross-entropy, features at unit variance."""

    decay: Positive = 1e-3


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `vectors`: V = static · V̄ + Σ r_k V^st_k + evidence · Σ p_c T_c; the paper's form is static = 1, evidence = 0.

    Of `posteriors`: the clip statistics decide, and each expert has its say among its own classes as far as it proved
    itself on held-out clips. The other settings then have no part.
    """

    kind: Literal["vectors", "posteriors"] = "vectors"
    static: NotNegative = 1.0
    evidence: NotNegative = 0.0
    normalise: bool = True  # bring V̄ and every V^st_k to unit length first
