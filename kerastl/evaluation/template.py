"""Pages from templates: everything is escaped, nothing is loaded from anywhere."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import jinja2


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


def dateline(created: datetime.datetime) -> str:
    """Return a time as a page prints it.

    Args:
        created: With or without a time zone.

    Example:
        >>> dateline(datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC))
        '2 January 2026, 03:04 UTC'
    """
    return f"{created.day} {created:%B %Y, %H:%M} {created.tzname() or ''}".strip()
