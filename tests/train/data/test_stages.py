from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.data.stages import Stage, check_learnt, check_videos, explicit_stages, split_stages
from stpr.train.datasets.annotations import Split, Video

NAMES = list(string.ascii_uppercase)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_stages_partition_a_permutation_of_the_classes(sizes: list[int], seed: int) -> None:
    classes = [f"class {number}" for number in range(sum(sizes))]
    stages = split_stages(classes, sizes, seed)
    assert [stage.index for stage in stages] == list(range(1, len(sizes) + 1))
    assert [len(stage.classes) for stage in stages] == sizes
    assert sorted(name for stage in stages for name in stage.classes) == sorted(classes)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_the_order_is_that_of_the_global_generator(count: int, seed: int) -> None:
    classes = [str(number) for number in range(count)]
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        order = np.arange(count)
        np.random.shuffle(order)  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    (stage,) = split_stages(classes, [count], seed)
    assert stage.classes == tuple(str(place) for place in order)


@pytest.mark.parametrize(
    ("seed", "first"), [(1000, (37, 97, 56, 55, 33, 84)), (1993, (68, 56, 78, 8, 23, 84))]
)  # seed 1000: the benchmark's published list; 1993: the order known from class-incremental work on 100 classes
def test_published_orders(seed: int, first: tuple[int, ...]) -> None:
    count = 101 if seed == 1000 else 100
    (stage,) = split_stages([str(number) for number in range(count)], [count], seed)
    assert stage.classes[:6] == tuple(str(number) for number in first)


def test_the_stored_stages_of_asl24(shared_data: Path) -> None:
    stored = json.loads((shared_data / "asl24" / "stages.json").read_text(encoding="utf-8"))
    assert stored["stages_by_seed"].keys() == {"0", "1", "2"}
    for seed, stages in stored["stages_by_seed"].items():
        found = split_stages(sorted(stored["classes"]), [8, 4, 4, 4, 4], int(seed))
        assert [list(stage.classes) for stage in found] == stages


def test_all_class_orders_of_the_benchmark(shared_data: Path) -> None:
    stored = json.loads((shared_data / "splits" / "tcd_class_orders.json").read_text(encoding="utf-8"))
    orders = [
        (int(seed), entry["order"]) for name in ("ucf101", "hmdb51", "ssv2") for seed, entry in stored[name].items()
    ]
    assert len(orders) >= 7
    for seed, order in orders:
        (stage,) = split_stages([str(number) for number in range(len(order))], [len(order)], seed)
        assert stage.classes == tuple(str(number) for number in order)


@pytest.mark.parametrize(
    ("classes", "sizes", "message"),
    [
        ("ABC", [2, 2], r"stages of \[2, 2\] classes add up to 4, but there are 3 classes"),
        ("ABC", [3, 0], "give each stage at least one"),
        ("ABC", [4, -1], "give each stage at least one"),
        ("ABC", [], "add up to 0"),
        ("ABA", [3], "class 'A' is listed 2 times"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(classes: str, sizes: list[int], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        split_stages(list(classes), sizes, 0)


def test_explicit_stages_keep_their_order() -> None:
    assert explicit_stages([["c", "a"], ["b"]], {"a", "b", "c"}) == [Stage(1, ("c", "a")), Stage(2, ("b",))]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["wave", "clap"], ["wave"]], "'wave' is in stage 1 and in stage 2"),
        ([["wave", "wave"], ["clap"]], "'wave' is in stage 1 and in stage 1"),
        ([["wave"], ["clpa"]], "stage 2 names the class 'clpa', .* did you mean 'clap'"),
        ([["wave"], ["zzzzz"]], "'zzzzz', which the data set does not have; known are 'clap', 'jump', 'wave'"),
        ([["wave"]], "no stage has 'clap', 'jump'; add each"),
        ([["wave", "clap", "jump"], []], "stage 2 has no class"),
        ([], "no stage has 'clap', 'jump', 'wave'"),
    ],
)
def test_lists_that_do_not_fit_are_refused(lists: list[list[str]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        explicit_stages(lists, {"wave", "clap", "jump"})


def test_many_left_over_classes_are_counted() -> None:
    with pytest.raises(RecipeError, match="'H' and 17 more"):
        explicit_stages([["Z"]], NAMES)


LEARNT = (("wave", "clap"), ("jump",))


@pytest.mark.parametrize("behind", [[], [["run"]], [["run"], ["spin", "fall"]]])
def test_stages_may_grow_behind_the_learnt_ones(behind: list[list[str]]) -> None:
    check_learnt([*LEARNT, *behind], LEARNT)
    check_learnt(behind, [])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([["clap", "wave"], ["jump"]], "stage 1 was learnt as 'wave', 'clap', but is 'clap', 'wave' in the stages"),
        ([["wave", "clap", "run"], ["jump"]], "stage 1 was learnt as .* but is 'wave', 'clap', 'run' in the stages"),
        ([["wave", "clap"], ["run"], ["jump"]], "stage 2 was learnt as 'jump', but is 'run' in the stages; list the"),
        (
            [["wave", "clap"]],
            "stage 2 was learnt as 'jump', but is missing in the stages; list the learnt stages first",
        ),
    ],
)
def test_a_learnt_stage_stays_as_it_was(lists: list[list[str]], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        check_learnt(lists, LEARNT)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("absent", "message"), [("train", "no train video"), ("test", "no test video")])
def test_a_class_without_videos_is_named(absent: Split, message: str) -> None:
    splits: tuple[Split, Split] = ("train", "test")
    videos = [Video(Path(f"{name}.{split}"), name, split) for name in "ab" for split in splits]
    stages = [Stage(1, ("a",)), Stage(2, ("b",))]
    check_videos(stages, videos)
    kept = [video for video in videos if (video.label, video.split) != ("b", absent)]
    with pytest.raises(DataError, match=f"'b' of stage 2 has {message}"):
        check_videos(stages, kept)
    check_videos(stages[:1], kept)
