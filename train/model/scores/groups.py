"""Summarise many descriptions by a few means, each of a group of similar ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Groups(NamedTuple):
    """Means of the groups of n descriptions `(n, S)`; each is of at least two, if n is."""

    means: Tensor  # (K, S), at most as many as asked for
    own: Tensor  # (n, K) one-hot: the group of each description; zeros for one in no group
    without: Tensor  # (n, S) the mean of its group without it


def grouped(described: Tensor, directions: Tensor, most: int, *, seed: int) -> Groups:
    """Group descriptions `(n, S)` by k-means of their `directions` `(n, S)` into at most `most` groups; n >= 1.

    A description that is like no other is in no group, unless all are: then they are one.
    """
    from sklearn.cluster import KMeans  # imported late: takes a second, for background videos only

    search = KMeans(min(most, len(torch.unique(directions, dim=0))), n_init=4, random_state=seed)
    names = torch.as_tensor(search.fit_predict(directions.double().cpu().numpy()), device=described.device)
    own = F.one_hot(names.long()).to(described)
    own = own[:, own.sum(dim=0) > 1]
    if not own.shape[1]:
        own = torch.ones_like(described[:, :1])
    sums, counts = own.T @ described, own.sum(dim=0)
    without = (own @ sums - described) / (own @ counts - 1).clamp_min(1)[:, None]
    return Groups(sums / counts[:, None], own, without)
