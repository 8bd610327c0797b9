from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.bench.videos import (
    Video,
    annotated_videos,
    embedded_videos,
    length,
    not_learnt,
    overlapping,
    unannotated_stream,
)
from stpr.runtime.contract.errors import DataError, SourceError, StprError
from stpr.runtime.motions import CLASSES, FPS
from stpr.runtime.untrimmed import Action
from tests.runtime.bench.conftest import film


def test_videos_come_in_the_order_of_the_list_with_their_actions(filmed: Path) -> None:
    videos = annotated_videos(filmed / "truth.csv", filmed)
    assert [(video.name, len(video.actions)) for video in videos] == [("kitchen.avi", 2), ("garden.avi", 1)]
    assert videos[1] == Video("garden.avi", filmed / "garden.avi", (Action(3.0, 5.0, "wave"),))
    assert [length(video) for video in videos] == [20.0, 10.0]


def test_the_last_frame_has_a_length_too(tmp_path: Path) -> None:
    film(tmp_path / "a.avi", 10.0, [])
    (tmp_path / "truth.csv").write_text("file,start,end,label\na.avi,8,10.4,wave\n")
    assert len(annotated_videos(tmp_path / "truth.csv", tmp_path)) == 1
    (tmp_path / "truth.csv").write_text("file,start,end,label\na.avi,8,10.6,wave\n")
    with pytest.raises(DataError, match=r"'wave' from 8 to 10\.6 s lies beyond the end of a\.avi"):
        annotated_videos(tmp_path / "truth.csv", tmp_path)


def test_a_folder_of_images_is_a_video(filmed: Path) -> None:
    (filmed / "images").mkdir()
    for index in range(50):
        cv2.imwrite(str(filmed / "images" / f"{index}.png"), cv2.UMat(8, 8, cv2.CV_8UC3).get())
    (filmed / "truth.csv").write_text("file,start,end,label\nimages,0,1,wave\n")
    (video,) = annotated_videos(filmed / "truth.csv", filmed)
    assert length(video) == 2.0
    with pytest.raises(SourceError, match="there is no video or folder"):
        length(Video("x", filmed / "x", ()))


def test_embedded_videos_are_kept_where_asked_and_gone_otherwise(tmp_path: Path) -> None:
    with embedded_videos("synthetic:motions", None, actions=1) as videos:
        paths = [video.path for video in videos]
        assert len(paths) == 7
        assert all(path.is_file() for path in paths)
    assert not any(path.exists() for path in paths)
    for actions in (1, 2):  # what another run left is replaced
        with embedded_videos("synthetic:fast", tmp_path, actions=actions) as (fast,):
            assert fast.path == tmp_path / "synthetic" / "fast.mp4"
            assert len(fast.actions) == actions
    assert (tmp_path / "synthetic" / "events.csv").is_file()


def test_several_seeds_are_several_videos_of_each_kind_by_the_actors_asked_for(tmp_path: Path) -> None:
    with embedded_videos("synthetic:fast", tmp_path, actions=2, seeds=2) as videos:
        assert [video.name for video in videos] == ["seed-0/fast.mp4", "seed-1/fast.mp4"]
        assert videos[0].actions != videos[1].actions
        first = videos[0].path.read_bytes()
    with embedded_videos("synthetic:fast", None, actions=2) as (lone,):
        assert (lone.name, lone.actions, lone.path.read_bytes()) == ("fast.mp4", videos[0].actions, first)
    with embedded_videos("synthetic:fast", None, actions=2, split="train") as (other,):
        assert other.path.read_bytes() != first
    again = annotated_videos(tmp_path / "synthetic" / "seed-1" / "events.csv", tmp_path / "synthetic" / "seed-1")
    assert [video.actions for video in again] == [videos[1].actions]


def test_embedded_videos_that_can_not_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with (
        pytest.raises(StprError, match=r"choose another --out"),
        embedded_videos("synthetic:fast", tmp_path / "out", actions=1),
    ):
        pass


def test_the_stream_without_annotations_is_as_long_as_asked() -> None:
    with unannotated_stream(2.5) as video:
        assert length(video) == pytest.approx(2.5)
        assert round(2.5 * FPS) == 40
    assert not video.path.exists()


def test_labels_of_no_class_are_counted() -> None:
    videos = [
        Video("a", Path("a"), (Action(0, 1, "bob"), Action(2, 3, "juggle"))),
        Video("b", Path("b"), (Action(0, 1, "juggle"), Action(1, 2, "dance"))),
    ]
    assert not_learnt(videos, CLASSES) == {"dance": 1, "juggle": 2}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=12))
def test_an_action_overlaps_if_any_before_it_still_goes_on(pieces: list[tuple[int, int]]) -> None:
    actions = sorted(Action(start, start + lasting, "wave") for start, lasting in pieces)
    slow = [
        action for index, action in enumerate(actions) if any(earlier.end > action.start for earlier in actions[:index])
    ]
    assert overlapping(actions) == slow
