"""What a page shows of a finding: words, what to type, thumbnails."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PIXELS = 96

# Of a sentence such as "Type: python -m kerastl.fit photos/; then …", the command.
_COMMAND = re.compile(r"`([^`]+)`|(python -m kerastl\.(?:(?!;\s|\.\s|\.$|`).)+)")


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Attributes:
        source: data: URI of an image, or "" where it cannot be shown.
        name: What the picture is called, such as its path.
        caption: What is known of it: label and split.
    """

    source: str
    name: str
    caption: str


@dataclass(frozen=True)
class ShownFinding:
    """A finding as a page shows it.

    Attributes:
        severity: "error", "warning" or "note".
        title: One line.
        why: Why it matters.
        advice: What to do next, commands included.
        groups: Pictures that belong together, group by group.
        num_hidden: For each group, how many pictures of it are not shown.
    """

    severity: str
    title: str
    why: str
    advice: str
    groups: Sequence[Sequence[Thumbnail]] = ()
    num_hidden: Sequence[int] = ()

    @property
    def advice_parts(self) -> list[tuple[str, bool]]:
        """The advice in pieces: text, and whether it is a command to copy."""
        return split_commands(self.advice)


def split_commands(advice: str) -> list[tuple[str, bool]]:
    """Return a text in pieces, and for each whether it is a command.

    Args:
        advice: Sentences with commands in backticks, or that start with "python -m kerastl.".

    Example:
        >>> split_commands("Type: python -m kerastl.fit a.csv --seed 3; then look.")
        [('Type:', False), ('python -m kerastl.fit a.csv --seed 3', True), ('Then look.', False)]
    """
    parts: list[tuple[str, bool]] = []
    end = 0
    for match in _COMMAND.finditer(advice):
        parts.append((_sentence(advice[end : match.start()]), False))
        parts.append((match[1] or match[2], True))
        end = match.end()
    parts.append((_sentence(advice[end:]), False))
    return [(text, command) for text, command in parts if text.strip(".")]


def _sentence(text: str) -> str:
    """Return what stands between two commands as a line of its own."""
    text = text.strip(" ;")
    return text[:1].upper() + text[1:]


def thumbnail_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a small JPEG of an image as the source of an `<img>`.

    Args:
        pixels: uint8 of shape (height, width, 3), RGB 0..255.

    Example:
        >>> thumbnail_data_uri(np.zeros((8, 8, 3), np.uint8))[:27]
        'data:image/jpeg;base64,/9j/'
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
