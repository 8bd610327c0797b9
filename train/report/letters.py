"""Names of classes, runs and videos in pictures, read as they are: every letter in a font that has it, no empty box.

matplotlib's own font has Latin, Greek, Cyrillic and some more. For other letters the machine's fonts are looked
through; what none of them has is written as it sounds, and emoji by name.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, Final

from anyascii import anyascii
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

OWN: Final = "DejaVu Sans"
MOST_LETTERS: Final = 34  # of a name
NO_OUTLINES: Final = ("color", "lastresort", "last resort", "emojicompat")  # fonts whose letters matplotlib can't draw


def drawn(words: str) -> str:
    """The words as they can be drawn here: on one line, what no font has as it sounds, or as `:wave:`."""
    return "".join(map(_drawn, " ".join(words.split())))


def style(*words: str) -> dict[str, Any]:
    """What matplotlib needs to draw `words` literally, not as TeX, and in fonts that have their letters."""
    found = [_family(letter) for word in words for letter in word if not letter.isascii()]
    return {"parse_math": False, "fontfamily": list(dict.fromkeys([OWN, *filter(None, found)]))}


def short(name: str, most: int = MOST_LETTERS) -> str:
    """A name whose middle goes where it is too long: what tells names apart is mostly at their ends."""
    name = " ".join(name.split())
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def length(words: str) -> int:
    """How long words are in narrow letters: the letters of some scripts are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1 for letter in words)


@cache
def _drawn(letter: str) -> str:
    kind = unicodedata.category(letter)
    if letter.isascii() or (kind not in ("Cf", "Mn") and _family(letter)):
        return letter
    if kind in ("Cf", "Cc"):  # joins an emoji to the next one, or turns the direction
        return ""
    if kind == "Mn":  # an accent, or the choice of an emoji's form
        return letter if _family(letter) else ""
    return anyascii(letter) or ("" if kind == "Sk" else f"U+{ord(letter):04X}")


@cache
def _family(letter: str) -> str | None:
    """The first font that has a letter."""
    fonts = sorted(fontManager.ttflist, key=lambda font: (font.name != OWN, font.name, font.style != "normal"))
    usable = (font for font in fonts if not any(part in font.name.lower() for part in NO_OUTLINES))
    return next((font.name for font in usable if ord(letter) in _letters(font.fname)), None)


@cache
def _letters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()  # no font that can be read
