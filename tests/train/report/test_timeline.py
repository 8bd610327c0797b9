from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from stpr.runtime.untrimmed import Action, Heard, Stream
from stpr.train.report.timeline import MISSED, MOST_ROWS, RIGHT, WRONG, timeline_figure

STREAM = Stream(
    90.0,
    [Action(10, 12, "wave"), Action(30, 32, "jump"), Action(59, 61, "turn")],
    [Heard(11.5, 12.5, "wave"), Heard(40, 41, "jump"), Heard(61.5, 62, "turn")],
)


def bars(figure: Figure, row: int) -> list[str]:
    """The colours of a row's actions."""
    found = [bar for bar in figure.axes[row].collections if isinstance(bar, PolyCollection)]
    return [to_hex(bar.get_facecolor()[0]) for bar in found]


def marks(figure: Figure, row: int) -> list[tuple[float, str]]:
    """Where a row's events start, and their colours."""
    lines = [line for line in figure.axes[row].lines if line.get_marker() != "None"]
    return [(float(np.asarray(line.get_xdata())[0]), str(line.get_color())) for line in lines]


def test_told_and_missed_actions_and_false_events_look_different() -> None:
    figure = timeline_figure(STREAM, title="kitchen")
    assert bars(figure, 0) == [colour.lower() for colour in (RIGHT, MISSED, RIGHT)]
    assert marks(figure, 0) == [(11.5, RIGHT), (40.0, WRONG)]
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == ["wave", "jump", "turn", "jump"]  # three actions, then what was said for no reason


def test_names_are_literal() -> None:
    stream = Stream(9.0, [Action(1, 5, "$a_1$")], [Heard(6.0, 7.0, "$b_1$")])
    figure = timeline_figure(stream, title="$c_1$")
    texts = figure.findobj(lambda found: isinstance(found, Text) and "$" in found.get_text())
    assert len(texts) == 3
    assert not any(isinstance(text, Text) and text.get_parse_math() for text in texts)


def test_a_minute_is_a_row_and_an_action_across_is_in_both() -> None:
    figure = timeline_figure(STREAM, title="kitchen")
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 60), (60, 120)]
    assert bars(figure, 1) == [RIGHT.lower()]
    assert marks(figure, 1) == [(61.5, RIGHT)]


@pytest.mark.parametrize(("seconds", "rows"), [(5, 1), (60, 1), (61, 2), (3600, MOST_ROWS)])
def test_long_streams_show_their_first_minutes_and_say_so(seconds: float, rows: int, tmp_path: Path) -> None:
    figure = timeline_figure(Stream(seconds, [], []), title="day")
    assert len(figure.axes) == rows
    shown = min(seconds, MOST_ROWS * 60)
    assert figure.get_suptitle() == f"day: {shown:.0f} of {seconds:.0f} s"
    figure.savefig(tmp_path / "day.png")
    assert (tmp_path / "day.png").stat().st_size > 1000
