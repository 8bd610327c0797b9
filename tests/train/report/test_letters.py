"""Names in pictures are legible whatever letters they have."""

from __future__ import annotations

import warnings

import pytest
from matplotlib.figure import Figure

from stpr.train.report.letters import drawn, style


@pytest.mark.parametrize(
    "name",
    [
        *("wave", "pay_$5_to_$10", "$\\frac$", "café", "мама", "שלום", "走る", "wink 👋🏽", "🧑\u200d🚀", "a\nb\tc"),
        *("हिन्दी", "✈️", "\U0003fff0", "x\u200by"),
    ],
)
def test_no_letter_is_an_empty_box(name: str) -> None:
    figure = Figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter that its fonts lack
        figure.text(0.1, 0.5, drawn(name), **style(name))
        figure.canvas.draw()
    assert drawn(name)
    assert "\n" not in drawn(name)


def test_what_matplotlib_has_stays_as_it_is() -> None:
    for name in ("pay_$5_to_$10", "café", "мама", "a & <b> #1 %d {x} [y]"):
        assert drawn(name) == name


def test_what_no_font_has_is_said() -> None:
    assert drawn("\U0003fff0") == "U+3FFF0"
    assert drawn("x\u200by") == "xy"


def test_pictures_without_a_font_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.train.report.letters._family", lambda _: None)
    from stpr.train.report import letters

    letters._drawn.cache_clear()
    assert drawn("wink 👋") == "wink :wave:"
    assert drawn("走る") == "Zouru"
    letters._drawn.cache_clear()
