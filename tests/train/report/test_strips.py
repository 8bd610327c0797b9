from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stpr.train.report.mistakes import Mistake
from stpr.train.report.strips import BACKGROUND, FRAMES, GAP, HEIGHT, WIDTH, strips_figure
from tests.factories import make_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "pay_$5_to_$10 [a].avi", frames=2)


def texts(mistake: Mistake) -> tuple[str, list[str], np.ndarray]:
    (axes,) = strips_figure([mistake]).axes
    return axes.get_title(loc="left"), [text.get_text() for text in axes.texts], np.asarray(axes.images[0].get_array())


def test_a_strip_shows_frames_and_says_what_was_taken_for_what(video: Path) -> None:
    title, words, picture = texts(Mistake(video, "$\\frac$", "a|<b>", 0.875))
    assert title == "$\\frac$ taken for a|<b>, 87.5 %"
    assert words == [video.name, ""]
    assert picture.shape == (HEIGHT, FRAMES * (WIDTH + GAP) - GAP, 3)
    assert picture.std() > 10
    assert texts(Mistake(video, "wave", "jump", None))[0] == "wave taken for jump"


def test_long_names_keep_both_ends(video: Path) -> None:
    title, _, _ = texts(Mistake(video, f"first{'x' * 70}last", "jump", 0.5))
    assert title.startswith("firstx")
    assert "xlast taken for jump" in title
    assert len(title) < 60


def test_a_video_that_is_gone_or_damaged_is_said_and_the_others_are_shown(tmp_path: Path, video: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    gone, broken, whole = strips_figure(
        [Mistake(path, "wave", "jump", 0.5) for path in (tmp_path / "gone.mp4", damaged, video)]
    ).axes[:3]
    assert gone.texts[1].get_text() == "the video is gone"
    assert broken.texts[1].get_text() == "the video can't be decoded"
    assert (np.asarray(gone.images[0].get_array()) == BACKGROUND).all()
    assert np.asarray(whole.images[0].get_array()).std() > 10


@pytest.mark.parametrize("count", [1, 2, 3, 24])
def test_any_number_of_strips_is_drawn(tmp_path: Path, count: int) -> None:
    figure = strips_figure([Mistake(tmp_path / "gone.mp4", "wave", "jump", 0.5)] * count)
    figure.draw_without_rendering()
    assert sum(bool(axes.images) for axes in figure.axes) == count
