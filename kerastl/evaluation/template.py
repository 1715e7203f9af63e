"""Pages from templates: everything is escaped, nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def render_template(
    name: str, *, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """Return a template of this folder, filled in. Text that is filled in is escaped.

    Args:
        name: Of the file.
        filters: Functions that the template may call by name.
        **values: What the template speaks of; a name that is missing is an error.

    Example:
        >>> "--page" in render_template("page.css")
        True
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerastl", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters or {})
    return environment.get_template(name).render(**values)


@dataclass(frozen=True)
class InlineScript:
    """A script within a page, which runs no other.

    Attributes:
        text: What stands between its tags.
        source: What the page's Content-Security-Policy calls it: the digest of the text, so that
            nothing that finds its way into the page is run.
    """

    text: Markup
    source: str


def inline_script(name: str) -> InlineScript:
    """Return a script of this folder.

    Args:
        name: Of the file.

    Example:
        >>> inline_script("page.js").source[:8]
        "'sha256-"
    """
    text = resources.files("kerastl.evaluation").joinpath(name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return InlineScript(Markup(text), f"'sha256-{digest}'")  # a file of ours


def dateline(created: datetime.datetime) -> str:
    """Return a time as a page prints it.

    Args:
        created: With or without a time zone.

    Example:
        >>> dateline(datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC))
        '2 January 2026, 03:04 UTC'
    """
    return f"{created.day} {created:%B %Y, %H:%M} {created.tzname() or ''}".strip()
