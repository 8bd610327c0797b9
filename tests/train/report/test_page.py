"""Text is literal wherever a template of Markdown may print it, and pictures go into the page."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from stpr.train.report.page import MARKDOWN, literal, strong, write_page

MACROS = "{% from 'macros.md' import figure, table %}"
PLACES = {  # a template, and the pattern of the HTML around the text
    "heading": ("# {{ text }}", "<h1>(.*)</h1>"),
    "paragraph": ("{{ text }}", "<p>(.*)</p>"),
    "cell": (MACROS + "{{ table(['a'], [[text]]) }}", "<td>(.*)</td>"),
    "heading of a column": (MACROS + "{{ table([text, 'b'], []) }}", "<th>(.*)</th>\n<th>"),
    "caption": (MACROS + "{{ figure('a.png', 'text ' ~ text ~ ' text') }}", "<em>text (.*) text</em>"),
}
pieces = st.sampled_from(
    [*"\\`*_[]()<>|~$&#-+=.!:1a ", "&lt;", "**", "](", "http://a.b", "<b>", "1. ", "- ", "ä", "\n"]
)


def rendered(template: str, text: str) -> str:
    """What a reader of Markdown with all of its features sees."""
    markdown = MARKDOWN.from_string(template).render(text=text)
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)


@pytest.mark.parametrize("place", PLACES)
@given(st.lists(pieces, min_size=1, max_size=12).map("".join).filter(str.strip))
@example("---")
@example("pay_$5_to_$10")
@example("__a__ _b_ c_d")
@example("trailing \\")
@example("[a]: http://b")
def test_text_is_literal_in_every_place(place: str, text: str) -> None:
    template, pattern = PLACES[place]
    found = re.search(pattern, rendered(template, text))
    assert found is not None
    assert html.unescape(found[1]) == " ".join(text.split())


def test_common_text_stays_readable_in_markdown() -> None:
    for text in ("turn_left, turn_right", "-0.2 %", "1.5 MB", "stpr-train --out runs/a", "3 of 5 (60 %)"):
        assert literal(text) == text
    assert strong("a*b") == r"**a\*b**"


def test_pictures_are_inside_the_page_and_beside_the_markdown(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not really a picture")
    page = write_page(
        "comparison.md", tmp_path / "table.md", title="t", headings=["row"], results=[["x"]], notes=["n"],
        figures=[("a.png", "A caption.")], changes=[], made_with=[],
    )  # fmt: skip
    assert '<img src="data:image/png;base64,bm90IHJlYWxseSBhIHBpY3R1cmU=" alt="A caption." />' in page.read_text()
    assert "![A caption.](a.png)\\\n*A caption.*\n" in (tmp_path / "table.md").read_text()


def test_a_value_that_a_template_lacks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="'headings' is undefined"):
        write_page("run.md", tmp_path / "report.md", title="t")
    assert list(tmp_path.iterdir()) == []
