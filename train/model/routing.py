"""TD-MoE's router: the weight of each expert for a clip, without a task id (method §4.3, §4.4, §12.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stpr.train.model.directions import unit
from stpr.train.settings.messages import entry_of
from stpr.train.settings.model import RouterSettings


@dataclass(frozen=True, slots=True)
class RouterInputs:
    """The inputs of a router."""

    temporal: Tensor  # (B, E, D) V^tem_k
    anchors: Tensor  # (C, D) mean temporal part of each class
    static: Tensor  # (B, D) mean frame feature, without adapters if the keys are
    keys: Tensor  # (C, D) mean of `static` over each class's training clips, if the router needs it
    membership: Tensor  # (C, E) 1 if the class was learnt with the expert
    posterior: Tensor | None  # (B, C) of the clip statistics, if the router needs it
    temperature: float


def anchor_scores(inputs: RouterInputs) -> Tensor:
    """r_k = max over the classes of expert k of cos(V^tem_k, anchor): `(B, E)` (method §4.3)."""
    cosines = unit(inputs.temporal) @ unit(inputs.anchors).T  # (B, E, C)
    return _best_own(cosines, inputs.membership)


def key_scores(inputs: RouterInputs) -> Tensor:
    """r_k = max over the classes of expert k of cos(V̄, key): `(B, E)` (method §4.4)."""
    cosines = unit(inputs.static) @ unit(inputs.keys).T  # (B, C)
    return _best_own(cosines[:, None], inputs.membership)


def _best_own(cosines: Tensor, membership: Tensor) -> Tensor:
    """Maximum over each expert's own classes: `(B, E or 1, C)` -> `(B, E)`."""
    return (cosines - 4.0 * (1 - membership.T)).amax(dim=-1)  # pushes other experts' classes below any cosine


def _softmax(inputs: RouterInputs) -> Tensor:
    return torch.softmax(anchor_scores(inputs) / inputs.temperature, dim=-1)


def _top1(inputs: RouterInputs) -> Tensor:
    scores = anchor_scores(inputs)
    return (scores >= scores.amax(dim=-1, keepdim=True)).to(scores.dtype)


def _equal(inputs: RouterInputs) -> Tensor:
    experts = inputs.temporal[..., 0]  # (B, E)
    return 0 * experts + 1.0 / experts.shape[1]  # a new constant tensor would need a shape computation in the graph


def _likelihood(inputs: RouterInputs) -> Tensor:
    assert inputs.posterior is not None
    return inputs.posterior @ inputs.membership


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A router: computes weights `(B, E)`, and states which inputs must be stored or computed for it."""

    weigh: Callable[[RouterInputs], Tensor]
    keeps_anchors: bool = True  # each class's mean temporal part: the paper's anchors
    keeps_keys: bool = False  # each class's mean frame feature
    reads_unadapted: bool = False  # uses frame features without adapters, for keys and clips
    reads_posterior: bool = False  # needs clip statistics


ROUTERS: Final[Mapping[str, Router]] = {
    "raw": Router(weigh=anchor_scores),  # the paper's formula
    "softmax": Router(weigh=_softmax),
    "top1": Router(weigh=_top1),
    "likelihood": Router(weigh=_likelihood, reads_posterior=True),  # by the posterior of the clip statistics
    # The paper's ablations: equal weights, and keys of the mean frame instead of the temporal part.
    "equal": Router(weigh=_equal, keeps_anchors=False),
    "clip_key": Router(weigh=key_scores, keeps_keys=True, reads_unadapted=True),
    "adapter_key": Router(weigh=key_scores, keeps_keys=True),
}


def router_of(settings: RouterSettings) -> Router:
    """The recipe's router. Raises RecipeError for an unknown name."""
    return entry_of(ROUTERS, settings.kind, "[router] kind")
