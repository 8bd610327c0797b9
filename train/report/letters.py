"""Draw names in any script in matplotlib figures: choose fonts that have the glyphs, else transliterate.

matplotlib's own font covers Latin, Greek, Cyrillic and some more. For other letters the installed fonts are searched;
letters that no font has are transliterated, and emoji are replaced by their names.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, Final

from anyascii import anyascii
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

OWN: Final = "DejaVu Sans"
MOST_LETTERS: Final = 34  # longest name that is drawn in full
NO_OUTLINES: Final = ("color", "lastresort", "last resort", "emojicompat")  # fonts that matplotlib can't draw


def drawn(words: str) -> str:
    """The text in one line, with letters that no font has transliterated, and emoji such as `:wave:`."""
    return "".join(map(_drawn, " ".join(words.split())))


def style(*words: str) -> dict[str, Any]:
    """Keyword arguments for matplotlib to draw `words` literally (no TeX) and in fonts that have their letters."""
    found = [_family(letter) for word in words for letter in word if not letter.isascii()]
    return {"parse_math": False, "fontfamily": list(dict.fromkeys([OWN, *filter(None, found)]))}


def short(name: str, most: int = MOST_LETTERS) -> str:
    """Shorten a name that is too long in its middle, since names mostly differ at their ends."""
    name = " ".join(name.split())
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def length(words: str) -> int:
    """The width of a text in narrow letters; wide letters, as in East Asian scripts, count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1 for letter in words)


@cache
def _drawn(letter: str) -> str:
    kind = unicodedata.category(letter)
    if letter.isascii() or (kind not in ("Cf", "Mn") and _family(letter)):
        return letter
    if kind in ("Cf", "Cc"):  # joins emoji, or changes the writing direction
        return ""
    if kind == "Mn":  # an accent, or an emoji variation selector
        return letter if _family(letter) else ""
    return anyascii(letter) or ("" if kind == "Sk" else f"U+{ord(letter):04X}")


@cache
def _family(letter: str) -> str | None:
    """The first font that has the letter, None without one."""
    fonts = sorted(fontManager.ttflist, key=lambda font: (font.name != OWN, font.name, font.style != "normal"))
    usable = (font for font in fonts if not any(part in font.name.lower() for part in NO_OUTLINES))
    return next((font.name for font in usable if ord(letter) in _letters(font.fname)), None)


@cache
def _letters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()  # the font can't be read
