from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.model.scores.groups import Groups, grouped


def around(*places: int, width: int = 8) -> Tensor:
    """Descriptions `(n, 8)` around axes, one for each place in the list."""
    noise = 0.05 * torch.randn(len(places), width, generator=torch.Generator().manual_seed(0))
    return 3 * F.one_hot(torch.tensor(places), width) + noise


def groups_of(described: Tensor, most: int = 4) -> Groups:
    return grouped(described, F.normalize(described, dim=1), most, seed=0)


def test_alike_ones_are_a_group_with_their_mean_and_that_of_the_others() -> None:
    described = around(0, 1, 0, 1, 0)
    found = groups_of(described, most=2)
    assert found.own.sum(dim=0).sort().values.tolist() == [2, 3]
    for row in range(5):
        alike = [other for other in range(5) if other % 2 == row % 2]
        group = int(found.own[row].argmax())
        torch.testing.assert_close(found.means[group], described[alike].mean(dim=0))
        others = [other for other in alike if other != row]
        torch.testing.assert_close(found.without[row], described[others].mean(dim=0))


def test_one_that_is_like_no_other_is_in_no_group_since_its_mean_would_show_it() -> None:
    found = groups_of(around(0, 0, 1, 1, 5), most=3)
    assert found.own.sum(dim=1).tolist() == [1, 1, 1, 1, 0]
    assert len(found.means) == 2


def test_where_none_is_like_another_all_are_one_group() -> None:
    described = around(0, 1, 2, 3)
    found = groups_of(described)
    torch.testing.assert_close(found.means, described.mean(dim=0, keepdim=True))
    torch.testing.assert_close(found.without[0], described[1:].mean(dim=0))


def test_the_same_ones_again_and_a_single_one_have_a_group_without_a_warning() -> None:
    same = around(2).expand(5, -1)
    torch.testing.assert_close(groups_of(same).means, same[:1])
    torch.testing.assert_close(groups_of(same[:1]).means, same[:1])
    assert groups_of(same).without.isfinite().all()


def test_the_groups_are_the_same_again_and_for_any_number_of_threads() -> None:
    described, threads = torch.randn(2000, 40, generator=torch.Generator().manual_seed(1)), torch.get_num_threads()
    found = groups_of(described)
    try:
        torch.set_num_threads(1)
        assert torch.equal(groups_of(described).own, found.own)
    finally:
        torch.set_num_threads(threads)
