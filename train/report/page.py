"""Write a report from a Markdown template, and render the Markdown as an HTML page with embedded pictures.

Values that a template prints, such as names of classes and runs, are escaped, so they read literally in both files.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from stpr.runtime.contract.durable import write_file

PAGE: Final = "index.html"
ANYWHERE: Final = re.compile(r"[\\`*\[\]<>|~$&#]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is literal
FIRST: Final = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")  # would start a list or be a rule
TEMPLATES: Final = FileSystemLoader(Path(__file__).parent / "templates")


def literal(value: Any) -> Markup:
    """Escape `value` as one line of Markdown; Markdown itself (Markup) is returned unchanged."""
    if isinstance(value, Markup):
        return value
    line = ANYWHERE.sub(r"\\\g<0>", " ".join(str(value).split()))
    return Markup(FIRST.sub(r"\1\\\2", line))


def strong(value: Any) -> Markup:
    """`value`, in bold."""
    return Markup("**{}**").format(literal(value))


# Autoescape marks rendered Markdown, so that the result of a macro is not escaped twice.
OPTIONS: Final[dict[str, Any]] = {"loader": TEMPLATES, "autoescape": True, "undefined": StrictUndefined}
BLOCKS: Final[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
MARKDOWN: Final = Environment(finalize=literal, **OPTIONS, **BLOCKS)
HTML: Final = Environment(**OPTIONS)


def write_page(template: str, markdown: Path, *, title: str, **content: Any) -> Path:
    """Render a template with `content` to the file `markdown` and to an HTML page beside it; returns the page's path.

    Picture paths are relative to the folder; the page embeds the pictures, so it can be moved alone.
    """
    text = MARKDOWN.get_template(template).render(title=title, **content)
    write_file(markdown, text.encode())
    page = markdown.with_name(PAGE)
    body = Markup(_html(text, markdown.parent))
    return write_file(page, HTML.get_template("page.html").render(title=title, body=body).encode())


def _html(markdown: str, folder: Path) -> str:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for part in (part for token in tokens for part in token.children or () if part.type == "image"):
        picture = base64.b64encode((folder / str(part.attrs["src"])).read_bytes()).decode("ascii")
        part.attrs["src"] = f"data:image/png;base64,{picture}"
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html
