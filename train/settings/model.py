"""The recipe tables that define the network."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from stpr.train.settings.bounds import Count, CountOrNone, NotNegative, Number, Positive, Share, ShareBelowOne
from stpr.train.settings.section import Section


class BackboneSettings(Section, frozen=True):
    """The frozen network. `source`: "tiny", a local folder or a hub id. `projection`: feature width, 0: the network's.

    "auto", here and in the tables below, depends on the network (`stpr.train.settings.automatic`).

    `inner`: hidden states of the network, numbered from 0 as in `transformers`, whose mean and standard deviation over
    the picture are added to the frame feature; "auto" takes those at two thirds and three quarters of the depth,
    "pairs" four (two in a shallow network), for [statistics] inner.views = 2.

    `correlations`: hidden states whose channels' correlations over the picture are added too, between `axes` principal
    directions that are learnt from frames of the first stage. Each is a view of its own, described as inner layers are.
    "auto" takes those at seven tenths and three quarters of the depth.
    """

    source: str
    projection: CountOrNone | Literal["auto"] = "auto"
    inner: Literal["none", "auto", "pairs"] | tuple[CountOrNone, ...] = "none"
    correlations: Literal["auto"] | tuple[CountOrNone, ...] = ()
    axes: Count = 40

    def __post_init__(self) -> None:
        """Reject a single axis, which correlates with no other."""
        if self.axes < 2:
            raise ValueError(f"[backbone] axes = {self.axes} has no other axis to correlate with; take 2 or more")


class AdapterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Position and size of the adapters; the paper specifies only their form."""

    # "blocks": in every transformer block; "feature": after the network.
    place: Literal["auto", "blocks", "feature", "none"] = "auto"
    bottleneck: Count = 64
    scale: Number = 0.1


class ClassVectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text` is the paper's; `prototypes`: mean frozen feature of a class's clips; `codes`: random vectors."""

    kind: Literal["auto", "text", "prototypes", "codes"] = "auto"
    prompt: str | tuple[str, ...] = "a video of a person {}."  # of several prompts, text features are averaged

    def __post_init__(self) -> None:
        """Reject prompts without a place for the class name."""
        if not self.prompts:
            raise ValueError("[class_vectors] prompt: must have at least one template")
        for prompt in self.prompts:
            if "{}" not in prompt:
                raise ValueError(f"[class_vectors] prompt: must contain {{}} where the class name goes, not {prompt!r}")

    @property
    def prompts(self) -> tuple[str, ...]:
        """All templates."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt


class ExpertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Architecture of an expert. Layers and heads are the paper's; it leaves the rest open."""

    layers: CountOrNone = 3  # 0: no experts, possible with [fusion] kind = "posteriors"
    width: CountOrNone | Literal["auto"] = "auto"  # of its blocks; 0: the width of the frame feature, as in the paper
    heads: Count = 2
    mlp_ratio: Count = 4
    dropout: ShareBelowOne = 0.0
    input: Literal["frames", "residual"] = "frames"  # the frames (paper), or their difference from the clip mean
    start: Literal["copy", "fresh"] = "copy"  # initialise from the previous expert, or at random

    def width_in(self, features: int) -> int:
        """The width of the blocks for frame features of the given width."""
        assert self.width != "auto"
        return self.width or features


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the routing weights of the experts are computed."""

    kind: str = "raw"  # a name in stpr.train.model.routing.ROUTERS; "raw" is the paper's
    temperature: Positive = 0.05  # of the softmax over anchor cosines


Part = Literal["mean", "difference", "deviation", "cosines", "change", "lag1", "lag2"]


FEWEST_FRAMES: Final[dict[Part, int]] = {"change": 2, "lag1": 2, "lag2": 3}  # of a clip, for parts that need several
RHYTHM_LAGS: Final = (1, 2, 3, 4, 6, 8)  # in pairs of grey pictures


class ViewSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A view: which statistics of its columns describe a clip, and the covariance's shrinkage to its diagonal."""

    parts: tuple[Part, ...] = ()  # empty: no such view
    shrinkage: Share = 0.1


class InnerSettings(ViewSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Views of the inner layers: layers are divided evenly, in their order; each view has its own covariance."""

    views: Count = 1

    def __post_init__(self) -> None:
        """Reject a number of views of layers that are not described."""
        if self.views > 1 and not self.parts:
            raise ValueError(
                f"[statistics] inner.views = {self.views} divides inner layers that nothing describes; set inner.parts"
            )


class StatisticsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Class statistics: which statistics describe a clip, the covariance's shrinkage to its diagonal, the likelihood.

    `parts` and `shrinkage` are of the appearance; inner layers and motion are separate views. `likelihood`: "gaussian"
    compares distances over all views together; "cosine" compares directions from the mean of the classes, ln p = κ cos
    (von Mises-Fisher), since a new place or person shifts and scales descriptions more than it rotates them. Each view
    has its own κ; `concentration` = "learnt" derives it from how well two halves of the training clips agree.
    """

    parts: tuple[Part, ...] = ("mean", "difference", "deviation")
    shrinkage: Share = 0.1
    inner: InnerSettings = InnerSettings()  # the views of [backbone] inner and correlations
    motion: ViewSettings = ViewSettings()  # the view of [sampling] motion
    # Shrinkage for the familiarity, which separates known from unknown. High by default: in directions where few
    # training clips hardly vary, every new clip looks unusual. If random draws show how clips vary, low is far better.
    unknown_shrinkage: Share = 0.8
    # Familiarity: by distance from the classes (with `unknown_shrinkage`), or by direction among them. Distance is
    # better for people who were filmed for training, direction also holds for people who were not.
    unknown: Literal["distance", "direction"] = "distance"
    rhythm: bool = False  # add a view of how the four motion signals repeat over time
    relative_motion: bool = False  # compare motion relative to how much moves: the same from farther away
    mirror: bool = False  # a movement and its mirror image are of one class, unless two classes are each other's
    affine: bool = False  # add a view of how the moving region shifts, grows, turns and shears over time
    # Fit means and covariance on the random training draws too, not only on centre views. true: each draw weighs as
    # much as a centre view; "together": all draws of a clip together do.
    draws: bool | Literal["together"] = False
    # Give the last view of how clips look a second covariance, of centre views only, which has a say about clips that
    # are like the training clips. Draws help with other people and places, and cost a little with the same.
    near: bool = False
    likelihood: Literal["gaussian", "cosine"] = "gaussian"
    concentration: Positive | Literal["learnt"] = 64.0  # κ
    events: bool = False  # learn what fragments and pauses look like, so that a live run can detect events

    @property
    def views(self) -> int:
        """The number of views."""
        inner = self.inner.views if self.inner.parts else 0
        return inner + sum(map(bool, (self.parts, self.motion.parts, self.rhythm, self.affine)))

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of all views."""
        return (*self.parts, *self.inner.parts, *self.motion.parts)

    def __post_init__(self) -> None:
        """Reject statistics without parts, and settings that need likelihood = "cosine"."""
        if not self.views:
            raise ValueError("[statistics] describes nothing of a clip; set parts, inner, motion, rhythm or affine")
        if self.likelihood == "gaussian":
            if self.events:
                raise ValueError('[statistics] events = true compares directions; set likelihood = "cosine"')
            if self.unknown == "direction":
                raise ValueError('[statistics] unknown = "direction" compares directions; set likelihood = "cosine"')
            if self.concentration == "learnt":
                raise ValueError('[statistics] concentration = "learnt" weighs directions; set likelihood = "cosine"')
        self._check_weights()

    def _check_weights(self) -> None:
        """Reject settings that need learnt weights of views."""
        if self.near and (self.concentration != "learnt" or not self.draws or not (self.parts or self.inner.parts)):
            raise ValueError(
                "[statistics] near = true is a second view of how clips look, without draws; set concentration ="
                ' "learnt", draws, and parts or inner.parts'
            )
        if self.mirror and self.concentration != "learnt":
            raise ValueError('[statistics] mirror = true compares halves of the clips; set concentration = "learnt"')
        if self.likelihood == "cosine" and self.views > 1 and self.concentration != "learnt":
            raise ValueError(
                f"[statistics] has {self.views} views, and one concentration can't weight them; set"
                ' concentration = "learnt"'
            )


class RidgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RanPAC: number of random features; training time grows with their cube, seconds for 2000 on a CPU."""

    projection: Count = 2000


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Linear probe: L2 penalty beside the mean cross-entropy, for features of unit variance."""

    decay: Positive = 1e-3


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`vectors`: V = static · V̄ + Σ r_k V^st_k + evidence · Σ p_c T_c; the paper has static = 1, evidence = 0.

    `posteriors`: class scores from the clip statistics, plus each expert's scores among its stage's classes, weighted
    by how much they helped on held-out clips. The other settings are then unused.
    """

    kind: Literal["vectors", "posteriors"] = "vectors"
    static: NotNegative = 1.0
    evidence: NotNegative = 0.0
    normalise: bool = True  # scale V̄ and every V^st_k to unit length first
