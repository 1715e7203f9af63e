"""The images of an index: whatever a fit reads, and folders of images without classes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.image_files import find_images
from kerastl.data.image_kinds import is_clutter, is_image_name
from kerastl.data.pixels import encoded_image
from kerastl.data.sources import ImageTable, load_table
from kerastl.data.stream import in_threads
from kerastl.errors import ConfigError, DataError
from kerastl.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class IndexedImages:
    """What an index holds, image by image.

    Attributes:
        ids: Absolute paths, or names where there are no files.
        rows: int64 of shape (n,): the row of the vector of each; images of equal bytes share one.
        digests: SHA-256 of these bytes, hexadecimal.
        labels: As in `kerastl.data.table.ImageTable`; None where there are none.
        groups: Text of shape (n,), or None.
    """

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    digests: tuple[str, ...]
    labels: NDArray[np.int64] | NDArray[np.int8] | None
    groups: NDArray[np.str_] | None


def read_images(
    data: str, *, unlabelled: bool = False, **columns: str | None
) -> tuple[ImageTable, str]:
    """Return the images that a user means, and one name for where they are.

    A folder with images directly in it has no classes: all images below it count, without labels.

    Args:
        data: A folder, with classes or without, or what `kerastl.data.sources.load_table` takes.
        unlabelled: Take folders for folders, not for classes.
        **columns: Options of `kerastl.data.sources.load_table`.

    Returns:
        A table, without class names where there are no labels; and an absolute path, or the name
        of a source.

    Raises:
        KerasTLError: The source does not exist, or has no images.
    """
    folder = Path(data).expanduser()
    if folder.is_dir() and (unlabelled or _has_images(folder)):
        given = [name for name, value in columns.items() if value is not None]
        if given:
            raise ConfigError(
                f"`{given[0]}` does not go with a folder without classes; received {data!r}."
            )
        if not unlabelled:
            logger.info("%s has images directly in it: no folder is taken for a class.", data)
        ids = tuple(os.path.abspath(path) for path in find_images([str(folder)]))
        table = ImageTable(folder.resolve().name, ids, np.zeros(len(ids), np.int64), ())
        return table, os.path.abspath(folder)
    if unlabelled:
        raise ConfigError(f"`unlabelled` goes with a folder; received {data!r}.")
    table = load_table(data, to_learn=False, **columns)
    return table, os.path.abspath(folder) if folder.exists() else data


def _has_images(folder: Path) -> bool:
    """Whether images lie in a folder, not below."""
    try:
        return any(
            is_image_name(path.name) and not is_clutter(path.name) and path.is_file()
            for path in folder.iterdir()
        )
    except OSError as error:
        raise DataError(
            f"The folder {str(folder)!r} cannot be read ({error.strerror}). Check its permissions."
        ) from None


def names_of(table: ImageTable) -> tuple[str, ...]:
    """Return what to call the images from anywhere.

    Args:
        table: The images.
    """
    return tuple(map(os.path.abspath, table.ids)) if table.contents is None else table.ids


def digest_contents(table: ImageTable) -> tuple[list[str], dict[int, str]]:
    """Return the SHA-256 of the bytes of each image, and why there is none.

    Args:
        table: The images.

    Returns:
        Hexadecimal digits, "" where an image is gone or may not be read; and reasons by row.
    """
    faults: dict[int, str] = {}

    def digest(row: int) -> str:
        try:
            return hashlib.sha256(encoded_image(table, row)).hexdigest()
        except DataError as error:
            faults[row] = str(error)
            return ""

    digests: list[str] = []
    with track("Looking for changes", total=len(table.ids)) as advance:
        for one in in_threads(digest, range(len(table.ids))):
            digests.append(one)
            advance(1)
    return digests, faults


def image_lines(
    table: ImageTable, chosen: Iterable[tuple[int, int]], digests: Sequence[str]
) -> str:
    """Return JSON lines of the images of an index.

    Args:
        table: The images.
        chosen: Row of the table, and row of the vector, of each image that is indexed.
        digests: Of the bytes of all images of the table.
    """
    names = names_of(table)
    lines = []
    for row, place in chosen:
        line: dict[str, Any] = {"id": names[row], "row": place, "sha256": digests[row]}
        if table.class_names:
            line["label"] = table.labels[row].tolist()
        if table.groups is not None:
            line["group"] = str(table.groups[row])
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)


def parse_images(path: Path, *, multi_label: bool) -> IndexedImages:
    """Return the images that `image_lines` described.

    Args:
        path: File of these lines.
        multi_label: Whether an image can have several labels.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        labels: Any = None
        if lines and "label" in lines[0]:
            labels = np.array(
                [line["label"] for line in lines], np.int8 if multi_label else np.int64
            )
        groups = None
        if lines and "group" in lines[0]:
            groups = np.array([line["group"] for line in lines], np.str_)
        rows = np.array([line["row"] for line in lines], np.int64)
        ids, digests = (tuple(line[name] for line in lines) for name in ("id", "sha256"))
        return IndexedImages(ids, rows, digests, labels, groups)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(path)!r} is damaged ({error}). Build the index again to write it anew."
        ) from None
