"""The documentation site: built strictly, whole, and with nothing that is loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^(stpr-\w+) = ", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "tools" / "site" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_and_every_table_has_its_place(site: Path) -> None:
    page = (site / "command-line.html").read_text(encoding="utf-8")
    assert len(COMMANDS) >= 8
    assert all(f'id="{name}"' in page for name in COMMANDS)
    assert "--config" in page
    recipe = (site / "recipe.html").read_text(encoding="utf-8")
    assert all(f"<code>{key}</code>" in recipe for key in ("stages", "backbone", "precision", "likelihood"))
    lines = (site / "lines.html").read_text(encoding="utf-8")
    assert all(f"<code>{key}</code>" in lines for key in ("media_time", "routing", "start_frame"))
    assert "SourceError" in (site / "errors.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?:[^\"]*)", page.read_text("utf-8"))
        assert loaded == [], page


def test_results_are_what_compare_wrote_and_the_method_quotes_the_same(site: Path) -> None:
    page = (site / "results.html").read_text(encoding="utf-8")
    assert 'class="admonition warning"' in page
    found = re.findall(r"<tr>\s*<td>(\w+)</td>\s*<td>(\d)</td>\s*<td>([^<]+)</td>", page)
    assert ("streaming_lda", "3", "99.8 ± 0.0") in found
    assert len(set(re.findall(r"<h2[^>]*>([^<]+)", page))) == 6
    method = (ROOT / "METHOD.md").read_text(encoding="utf-8")
    assert len(found) == 78
    assert [row for row in found if row[2] not in method] == []
