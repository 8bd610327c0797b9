"""Names of the shipped recipes, listed without parsing them, so that a command's help stays fast."""

from __future__ import annotations

from pathlib import Path
from typing import Final

RECIPES: Final = Path(__file__).parent / "recipes"
FOLDER: Final = Path(__file__).parent / "folder.toml"  # settings for training on a folder of videos


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))
