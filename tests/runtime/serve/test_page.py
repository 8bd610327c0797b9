"""The page as its users meet it: in a real browser, beside a real run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.factories import make_bundle
from tests.runtime.serve.browser import Page, browsing
from tests.runtime.serve.runs import TOKEN, Served, clips_of, make_clip, served
from tests.runtime.updates.bundles import make_next

CLIP = "20260102T030405Z_synthetic-motions-wave-1.mp4"
SIZES = {"phone": (390, 844), "desktop": (1440, 900), "wall": (2560, 1440)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def watched(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  (skips first)
    """The folder that the run watches, with stage 2 and one clip in it."""
    folder = tmp_path_factory.mktemp("watched")
    make_bundle(folder)
    make_clip(clips_of(folder), CLIP)
    return folder


@pytest.fixture(scope="module")
def run(watched: Path) -> Iterator[Served]:
    with served(watched) as one:
        yield one


def opened(page: Page, run: Served, size: str) -> None:
    width, height = SIZES[size]
    page.open(run.url, width=width, height=height, phone=size == "phone")
    page.wait_for("typeof taken === 'number' && taken >= 0 && about && $('picture').naturalWidth > 0")


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_shows_a_moving_picture_and_says_what_the_run_says(page: Page, run: Served, size: str) -> None:
    opened(page, run, size)
    first = page.ask("taken")
    page.wait_for(f"taken > {first} + 3")
    assert page.ask("document.documentElement.scrollWidth") == SIZES[size][0]
    # What is written was read from the very state that it shows.
    shown = page.wait_for(
        "document.querySelectorAll('.column').length &&"
        " [$('label').textContent, $('score').textContent, $('runs').textContent,"
        " document.querySelectorAll('.column').length,"
        " [...document.querySelectorAll('.column i')].map(one => parseFloat(one.style.height)),"
        " JSON.stringify(now.cameras[camera].latest), $('bundle').textContent, $('life').textContent]"
    )
    label, score, runs, columns, heights, latest, bundle, life = shown
    said = json.loads(latest)
    assert label == (said["label"] or {"warming_up": "warming up"}.get(said["state"], "unknown"))
    assert score == (f"{round(100 * said['score'])} %" if said["label"] else "")
    weights = list(said["routing"].values())
    assert columns == len(weights) > 0
    assert heights == pytest.approx([100 * max(0, one) / max(weights) for one in weights], abs=0.1)
    assert runs.startswith("toy stage ")
    assert run.ask("/state").json["bundle"]["digest"] in bundle
    assert " s old" in life
    classes = page.ask("[...document.querySelectorAll('#classes li')].map(one => one.textContent)")
    assert classes[:2] == ["1wavejump", "2turn"]
    errors = [one for one in page.complaints if '"level": "error"' in one or "exceptionDetails" in one]
    assert errors == []


def test_the_strip_is_drawn(page: Page, run: Served) -> None:
    opened(page, run, "desktop")
    colours = (
        "(() => { const strip = $('strip');"
        " const pixels = strip.getContext('2d').getImageData(0, 0, strip.width, strip.height).data;"
        " const found = new Set(); for (let at = 0; at < pixels.length; at += 4)"
        " found.add([pixels[at], pixels[at + 1], pixels[at + 2]].join()); return [...found]; })()"
    )
    stage = page.wait_for("now.cameras[camera].labels.length && now.cameras[camera].labels.at(-1).stage")
    wanted = page.ask(f"colour({stage})")
    rgb = ",".join(str(int(wanted[at : at + 2], 16)) for at in (1, 3, 5))
    page.wait_for(f"{colours}.includes('{rgb}')")


def test_update_and_roll_back_by_keyboard_and_by_button(page: Page, run: Served, watched: Path) -> None:
    """The later stage comes by itself; it is rolled back with keys alone, and tried again with a click."""
    make_next(watched / "toy" / "stage-2", watched / "toy" / "stage-3", other_encoder=True)
    run.wait_for(lambda state: state["bundle"]["stage"] == 3)
    opened(page, run, "desktop")
    assert page.wait_for("$('runs').textContent === 'toy stage 3'")
    assert page.ask("$('back').disabled")
    page.ask("document.querySelector('#token input').focus()")
    page.type(TOKEN)
    page.press("Enter", 13)
    page.wait_for("!$('back').disabled && $('back').textContent === 'Roll back to stage 2'")
    for _ in range(3):  # back from the field over whatever can be tried
        if page.ask("document.activeElement === $('back')"):
            break
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9, modifiers=8)
    assert page.ask("document.activeElement === $('back')")
    page.press("Enter", 13)
    page.wait_for("$('back').textContent.startsWith('Sure?')")
    assert run.ask("/state").json["bundle"]["stage"] == 3  # once is not enough
    page.press("Enter", 13)
    page.wait_for("$('runs').textContent === 'toy stage 2'")
    page.wait_for("$('found').textContent.includes('refused: rolled back')")
    page.ask("[...document.querySelectorAll('#found button')].find(one => one.textContent === 'Try again').click()")
    page.wait_for("$('runs').textContent === 'toy stage 3'")
    page.wait_for("[...document.querySelectorAll('#classes li')].at(-1).textContent === '3spin'")
    state = run.wait_for(lambda state: state["update"]["phase"] == "idle")
    assert state["update"]["swaps"] == 3
    assert state["cameras"]["synthetic:motions"]["latest"]["bundle"]["stage"] == 3
    assert TOKEN not in page.ask("document.documentElement.outerHTML + location.href")


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_a_clip_is_played_with_keys_alone(page: Page, run: Served, size: str, tmp_path: Path) -> None:
    opened(page, run, size)
    page.wait_for("document.querySelectorAll('#clips button').length === 1")
    page.ask("document.querySelector('#clips button').focus()")
    assert page.ask("document.activeElement.getAttribute('aria-label')").startswith("Play the clip of wave, ")
    page.press("Enter", 13)
    page.wait_for("$('player').open && film.pictures.length === 30 && $('still').naturalWidth === 64")
    assert page.ask("document.documentElement.scrollWidth") == SIZES[size][0]
    assert page.ask("document.activeElement.id") == "play"
    page.wait_for("!film.plays && film.at === 29 && $('play').textContent === 'Play'")  # to its end, in its own time
    assert page.ask("$('when').textContent") == "1.9 of 1.9 s"
    page.press("Enter", 13)  # from the beginning
    page.wait_for("film.plays && $('play').textContent === 'Pause'")
    page.ask("$('where').focus()")
    page.press("Home", 36)
    page.wait_for("!film.plays && film.at === 0")
    shot = cv2.imread(str(page.photograph(tmp_path / "shot.png")))
    assert shot is not None
    page.press("Escape", 27)
    page.wait_for("!$('player').open && film === null")
    assert page.ask("document.activeElement.dataset.clip") == CLIP  # back where one was


def test_a_run_that_went_away_is_seen_to_be_away(page: Page, tmp_path: Path) -> None:
    make_bundle(tmp_path)
    with served(tmp_path) as run:
        opened(page, run, "phone")
        assert page.ask("$('notice').hidden")
    page.wait_for("$('notice').textContent.startsWith('The run does not answer.')")
    assert page.ask("$('dot').className") == "off"
    with pytest.raises(OSError, match="refused"):
        run.ask("/")
    time.sleep(0.1)
