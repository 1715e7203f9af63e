"""One page that shows where the evidence for answers is, and what the layers of a network see."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from kerastl.evaluation.report import Picture
from kerastl.evaluation.template import dateline, render_template


@dataclass(frozen=True)
class ExplanationPage:
    """All that the page says; plain values.

    Attributes:
        title: Headline of the page.
        created: When it was made.
        version: Of kerastl.
        command: What to type to make it again.
        subject: What is explained: "the answer" or the name of a class.
        layer: Whose maps Grad-CAM weights.
        places: Squares along each side that are covered in turn.
        images: One picture for each image.
        layers: Feature maps of the first image, and the first filters.
        first: What the first image is called.
        notes: What was left out, in sentences.
    """

    title: str
    created: datetime.datetime
    version: str
    command: str
    subject: str
    layer: str
    places: int
    images: Sequence[Picture]
    layers: Sequence[Picture]
    first: str
    notes: Sequence[str] = ()


def render_explanation(page: ExplanationPage) -> str:
    """Return the page: one HTML text that loads nothing from anywhere.

    Args:
        page: What to say.

    Example:
        >>> text = render_explanation(ExplanationPage(
        ...     title="pets", created=datetime.datetime(2026, 1, 2), version="1.0", command="…",
        ...     subject="the answer", layer="top", places=8, images=(), layers=(), first="cat.png"))
        >>> text.startswith("<!doctype html>")
        True
    """
    return render_template("explanation.html", page=page, created=dateline(page.created))
