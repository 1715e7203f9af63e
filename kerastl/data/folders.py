"""Folders of images: one folder per class, alone or below train/, val/ and test/."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kerastl.data.given_splits import SPLIT_SYNONYMS
from kerastl.data.image_kinds import IMAGE_SUFFIXES, holds_an_image, is_clutter, is_image_name
from kerastl.data.table import ImageTable, encode_names, natural_key, natural_order
from kerastl.data.wording import counted
from kerastl.errors import DataError

logger = logging.getLogger(__name__)


def table_from_folder(folder: str | os.PathLike[str], *, to_learn: bool = True) -> ImageTable:
    """Return the table of a folder with one sub-folder per class, or of train/, val/, test/.

    Folders inside a class folder belong to the class. Links are followed, never in circles.
    An image is what its suffix says, whatever it holds (a broken one must be named, not
    overlooked), and what starts like one without such a suffix ("IMG_1234", "a.JPG.1").
    Hidden and other files are ignored. The log counts both.

    Args:
        folder: The folder. It is divided already if it has a train folder with class folders
            in it, and a val or test folder (also validation, valid, dev).
        to_learn: Whether to refuse one class alone.

    Raises:
        DataError: It has no images, or no class folders.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("10/a.png", "2/b.JPG", "2/notes.txt"):
        ...         path = pathlib.Path(folder, name)
        ...         path.parent.mkdir(exist_ok=True)
        ...         _ = path.write_bytes(b"")
        ...     table = table_from_folder(folder)
        >>> table.class_names, table.labels.tolist()
        (('2', '10'), [0, 1])
    """
    root = Path(folder)
    ignored: Counter[str] = Counter()
    recognised: list[str] = []
    split_folders = _split_folders(root)
    paths: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    for place, split in split_folders or [(root, "")]:
        for class_folder in _visible_folders(place):
            found = sorted(_images_below(class_folder, ignored, recognised), key=natural_key)
            if not found:
                logger.warning("%s has no images and is not taken for a class.", class_folder)
            paths += found
            # macOS writes the é of a folder as two characters, others as one.
            names += [unicodedata.normalize("NFC", class_folder.name)] * len(found)
            splits += [split] * len(found)
    if ignored:
        listed = ", ".join(f"{suffix} {count}" for suffix, count in ignored.most_common(5))
        files = counted(ignored.total(), "file that is no image", "files that are no images")
        logger.info("Ignored %s (%s).", files, listed)
    if recognised:
        logger.info(
            "Took %s without the suffix of an image for %s, by their first bytes (%s).",
            counted(len(recognised), "file"), "an image" if len(recognised) == 1 else "images",
            ", ".join(map(os.path.basename, recognised[:3])),
        )  # fmt: skip
    if not paths:
        raise DataError(_why_empty(root, ignored))
    class_names = natural_order(names)
    if to_learn and len(class_names) == 1 and not split_folders:
        raise DataError(_why_one_class(root, class_names[0]))
    return ImageTable(
        name=Path(os.path.abspath(root)).name,
        ids=tuple(paths),
        labels=encode_names(names, class_names),
        class_names=class_names,
        splits=np.array(splits) if split_folders else None,
    )


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    """Return folders that are splits, with the names of these; none if classes come first."""
    folders = _visible_folders(root)
    found = [
        (folder, SPLIT_SYNONYMS[folder.name.casefold()])
        for folder in folders
        if folder.name.casefold() in SPLIT_SYNONYMS
    ]
    has_classes = any(split == "train" and _visible_folders(folder) for folder, split in found)
    # A class may be called "train", beside "bus"; two splits beside each other are splits.
    if not has_classes or len({split for _, split in found}) < 2:
        return []
    others = sorted(folder.name for folder in folders if folder not in dict(found))
    if others:
        logger.warning("Ignored beside train, val and test in %s: %s", root, ", ".join(others))
    return found


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that may hold images, in natural order."""
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name)]
    except OSError as error:
        raise DataError(_why_unreadable(error)) from None
    return sorted(found, key=lambda path: natural_key(path.name))


def _images_below(folder: Path, ignored: Counter[str], recognised: list[str]) -> Iterator[str]:
    """Yield the paths of all images below a folder; count other files by suffix."""

    def refuse(error: OSError) -> None:
        raise DataError(_why_unreadable(error))

    seen = {os.path.realpath(folder.parent)}
    for place, folder_names, file_names in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(place) in seen:
            folder_names.clear()
            continue
        seen.add(os.path.realpath(place))
        folder_names[:] = [name for name in folder_names if not is_clutter(name)]
        for name in file_names:
            suffix = os.path.splitext(name)[1].lower()
            path = os.path.join(place, name)
            if is_clutter(name):
                ignored["hidden" if name.startswith(".") else suffix or "no suffix"] += 1
            elif not os.path.isfile(path):
                ignored["broken link"] += 1
            elif is_image_name(name):
                yield _readable_name(path)
            elif holds_an_image(path):
                recognised.append(path)
                yield _readable_name(path)
            else:
                ignored[suffix or "no suffix"] += 1


def _readable_name(path: str) -> str:
    """Return the path if its name is text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"The file name {path!r} is not UTF-8 text. Rename the file, for example with convmv."
        ) from None
    return path


def _why_unreadable(error: OSError) -> str:
    """Return the message for a folder that cannot be listed."""
    return (
        f"The folder {error.filename!r} cannot be read ({error.strerror}). Check its permissions."
    )


def _why_empty(root: Path, ignored: Counter[str]) -> str:
    """Return the message for a folder in which no class was found."""
    files = sorted(path.name for path in root.iterdir() if path.is_file())
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv", ".jsonl"))]
    images = [name for name in files if is_image_name(name)]
    table_advice = f" It holds the table {tables[0]!r}: give that as DATA." if tables else ""
    if images:
        return (
            f"The folder {str(root)!r} has {counted(len(images))} directly in it (such as "
            f"{images[0]!r}) and no class folders, so their labels are unknown. Move them into "
            f"one folder per class, or give a CSV with the columns path and label.{table_advice}"
        )
    if ignored:
        listed = ", ".join(suffix for suffix, _ in ignored.most_common(5))
        return (
            f"The folder {str(root)!r} has no images, only other files ({listed}). Images end in "
            f"{' '.join(IMAGE_SUFFIXES)}; convert others.{table_advice}"
        )
    return (
        f"The folder {str(root)!r} has no images in it. Expected one folder per class with images "
        f"in it, or train/, val/ and test/ with such folders.{table_advice}"
    )


def _why_one_class(root: Path, class_name: str) -> str:
    """Return the message for a folder with one class folder only."""
    inner = _visible_folders(root / class_name)
    advice = (
        f"Did you mean the folder {str(root / class_name)!r}, which has {len(inner)} folders?"
        if len(inner) > 1
        else "Add a folder with images of another class."
    )
    return (
        f"The folder {str(root)!r} has images of one class only, {class_name!r}; a classifier "
        f"needs at least two. {advice}"
    )
