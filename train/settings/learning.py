"""The tables of a recipe that decide how a stage is learnt from its clips."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from stpr.train.settings.bounds import Count, CountOrNone, NotNegative, Positive, Share, ShareBelowOne
from stpr.train.settings.section import Section


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training may do to a clip. Mirroring harms classes such as "left to right"."""

    multi_scale_crop: bool
    flip: bool
    vary: bool = False  # light, colour, sharpness and place, as from person to person and day to day


class SamplingSettings(Section, frozen=True):
    """Frames of a clip, and how many random draws of each training clip are encoded when nothing upstream trains."""

    frames: Annotated[int, msgspec.Meta(ge=2)] = 8  # of one frame there is no temporal part
    draws: CountOrNone = 4
    augment: Augment = Augment(multi_scale_crop=True, flip=True)
    motion: CountOrNone = 0  # pairs of small grey pictures up to each frame, to see how things move; 0: none
    workers: Count = 2  # threads that decode ahead


class ContrastSettings(Section, frozen=True):
    """L_Cont: its temperature, its negatives, and whether the spatial term is used."""

    temperature: Positive = 0.01
    negatives: Literal["seen", "current"] = "seen"
    random_negatives: CountOrNone = 0  # unit vectors drawn at random, in place of the classes of later stages
    spatial: bool = True


class PreservationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """L_FSSD's weight w and its open points (method §3.3), each with the default argued there."""

    weight: NotNegative = 1e4
    classes: Literal["new", "old"] = "new"  # (1) A: this stage's classes under the old encoder; B: stored, averaged
    sign: Literal["clamp", "absolute"] = "clamp"  # (2) of a negative T·mu
    variance: Literal["clips", "frames"] = "clips"  # (3) over frame means, or over all frames
    clip_quantile: Share = 0.99  # (3) importance above this quantile is cut
    epsilon: Positive = 1e-6
    normalise: bool = True  # (4) unit-length features and class vectors


class UnknownSettings(Section, frozen=True):
    """Thresholds for "none of the known actions": the share of each class's training clips that they are set on."""

    holdout: ShareBelowOne = 0.1  # 0: no thresholds, nothing is ever unknown
    recall: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95  # of known clips
    # With [statistics] unknown = "direction": the share of a class's clips that may pass for another class, had their
    # own never been learnt. People never filmed look no more familiar than that; 0: go by `recall` alone.
    lenience: ShareBelowOne = 0.5


class OptimizerSettings(Section, frozen=True):
    """SGD with a cosine to zero (method §6)."""

    rate: Positive = 0.01
    batch: Count = 40
    epochs_first: CountOrNone = 60
    epochs_later: CountOrNone = 30
    momentum: ShareBelowOne = 0.9
    weight_decay: NotNegative = 5e-4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of forward and backward; weights and tests are float32


class LwfSettings(Section, frozen=True):
    """Learning without forgetting: how soft the old network's posteriors are made, and what holding them weighs."""

    temperature: Positive = 2.0  # of the distillation, on top of the contrast's
    weight: NotNegative = 1.0


class EwcSettings(Section, frozen=True):
    """Elastic weight consolidation: what moving an important parameter costs."""

    weight: NotNegative = 30.0
