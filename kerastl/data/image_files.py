"""The image files that a user means: paths, folders and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from kerastl.data.image_kinds import IMAGE_SUFFIXES, holds_an_image, is_clutter, is_image_name
from kerastl.errors import DataError


def find_images(paths: Iterable[str]) -> list[Path]:
    """Return the image files that a user means, in the order given, each once.

    Args:
        paths: Files, folders and glob patterns.

    Raises:
        DataError: A path or pattern matches nothing, or a folder has no images.
    """
    found: dict[Path, None] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if _is_visible_image(p, below=path))
            if not matches:
                raise DataError(
                    f"The folder {text!r} has no images; expected files ending in "
                    f"{', '.join(IMAGE_SUFFIXES)}."
                )
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(p) for p in glob.glob(text, recursive=True))
            matches = [p for p in matches if p.is_file()]
            if not matches:
                raise DataError(f"{text!r} is no file or folder, and no file matches it.")
        found.update(dict.fromkeys(matches))
    if not found:
        raise DataError("Name at least one image, folder or pattern after the model.")
    return list(found)


def _is_visible_image(path: Path, *, below: Path) -> bool:
    """Whether a file inside a folder is meant: an image by its name or content, not hidden."""
    if any(is_clutter(part) for part in path.relative_to(below).parts) or not path.is_file():
        return False
    return is_image_name(path.name) or holds_an_image(path)
