"""What an index keeps of each content beside its vector: digest, thumbnail, colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.perceptual import THUMBNAIL_SIDE
from kerastl.data.scan import COLOUR_SIDE, ImageFacts
from kerastl.retrieval.row_file import RowFile

# 1.3 KB for each image: near duplicates are found without reading any of them again.
_FACT = np.dtype(
    [
        ("digest", "S64"),
        ("format", "S8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("hash", "<u8"),
        ("mean", "<f4"),
        ("spread", "<f4"),
        ("colour", "?"),
        ("thumbnail", "u1", (THUMBNAIL_SIDE, THUMBNAIL_SIDE)),
        ("colours", "u1", (COLOUR_SIDE, COLOUR_SIDE, 3)),
    ]
)
_COLUMNS = {
    "format": "formats",
    "width": "widths",
    "height": "heights",
    "hash": "hashes",
    "mean": "mean",
    "spread": "spread",
    "colour": "colour",
    "thumbnail": "thumbnails",
    "colours": "colours",
}


def facts_file(path: Path) -> RowFile:
    """Return the file of facts.

    Args:
        path: The index.
    """
    return RowFile(path / "facts.rows", _FACT)


def pack_facts(
    facts: ImageFacts, places: NDArray[np.int64], digests: Sequence[str]
) -> NDArray[Any]:
    """Return facts as rows of that file.

    Args:
        facts: From `kerastl.data.scan.scan_images`.
        places: int64: of which images.
        digests: Of the content of each of these.
    """
    rows = np.zeros(len(places), _FACT)
    for column, attribute in _COLUMNS.items():
        rows[column] = getattr(facts, attribute)[places]
    rows["digest"] = list(digests)
    return rows


def unpack_facts(rows: NDArray[Any]) -> ImageFacts:
    """Return rows of that file as facts of readable images.

    Args:
        rows: From `pack_facts`.
    """
    columns = {attribute: rows[column] for column, attribute in _COLUMNS.items()}
    columns["formats"] = columns["formats"].astype(np.str_)
    wide = {name: columns[name].astype(np.int64) for name in ("widths", "heights")}
    return ImageFacts(**{**columns, **wide}, digests=rows["digest"].astype(np.str_), unreadable=())
