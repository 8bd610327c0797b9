"""The recipe tables that control how a stage is trained on its clips."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from stpr.train.settings.bounds import Count, CountOrNone, NotNegative, Positive, Share, ShareBelowOne
from stpr.train.settings.section import Section

Flow: TypeAlias = Literal["coarse", "fine"]


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Augmentations of training clips. Mirroring (`flip`) harms classes such as "left to right"."""

    multi_scale_crop: bool
    flip: bool
    vary: bool = False  # vary light, colour, sharpness and position, as between people and days


class SamplingSettings(Section, frozen=True):
    """Sampling of clips. `draws`: random views per training clip, encoded once if nothing before the head trains."""

    frames: Annotated[int, msgspec.Meta(ge=2)] = 8  # per clip
    draws: CountOrNone = 4
    augment: Augment = Augment(multi_scale_crop=True, flip=True)
    motion: CountOrNone = 0  # pairs of small grey pictures before each frame, input of the optical flow; 0: none
    flow: Flow = "coarse"  # windows of optical flow: "coarse", or "fine" for somebody small or far away, in any light
    workers: Count = 2  # threads that decode videos in advance


class ContrastSettings(Section, frozen=True):
    """The contrastive loss L_Cont: temperature, negatives, and whether the spatial term is used."""

    temperature: Positive = 0.01
    negatives: Literal["seen", "current"] = "seen"
    random_negatives: CountOrNone = 0  # random unit vectors that stand in for classes of later stages
    spatial: bool = True


class PreservationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss L_FSSD: its weight w, and the choices that the paper leaves open (method §3.3)."""

    weight: NotNegative = 1e4
    classes: Literal["new", "old"] = "new"  # (1) "new": this stage's classes, old encoder; "old": stored, averaged
    sign: Literal["clamp", "absolute"] = "clamp"  # (2) how a negative T·mu is treated
    variance: Literal["clips", "frames"] = "clips"  # (3) variance of clip means, or of all frames
    clip_quantile: Share = 0.99  # (3) importance is clipped at this quantile
    epsilon: Positive = 1e-6
    normalise: bool = True  # (4) use unit-length features and class vectors


class UnknownSettings(Section, frozen=True):
    """Thresholds that reject unknown actions. `holdout`: share of training clips held out of each class to set them.

    Of a class with four recordings or more a whole one is held out if that is more, up to a quarter of its clips.
    """

    holdout: ShareBelowOne = 0.1  # 0: no thresholds, nothing is rejected
    recall: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95  # share of known clips that the threshold should accept
    # With [statistics] unknown = "direction": lower the threshold until this share of a class's clips would be accepted
    # if the class had not been learnt. Clips of people never filmed look about as unfamiliar; 0: use `recall` alone.
    lenience: ShareBelowOne = 0.5


class OptimizerSettings(Section, frozen=True):
    """SGD with a cosine schedule to zero (method §6)."""

    rate: Positive = 0.01
    batch: Count = 40
    epochs_first: CountOrNone = 60
    epochs_later: CountOrNone = 30
    momentum: ShareBelowOne = 0.9
    weight_decay: NotNegative = 5e-4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of forward and backward; weights and tests are float32


class LwfSettings(Section, frozen=True):
    """Learning without Forgetting: temperature and weight of the distillation loss."""

    temperature: Positive = 2.0  # of the distillation, on top of the contrastive temperature
    weight: NotNegative = 1.0


class EwcSettings(Section, frozen=True):
    """Elastic Weight Consolidation: weight of the penalty on changing important parameters."""

    weight: NotNegative = 30.0
