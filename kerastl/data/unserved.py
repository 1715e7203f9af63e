"""Images that training can read and an exported model cannot: counted by their first bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from kerastl.data.image_kinds import FIRST_BYTES, SERVED_KINDS, image_kind
from kerastl.data.lazy_contents import LazyContents
from kerastl.data.stream import in_threads
from kerastl.data.table import ImageTable


def unserved_kinds(table: ImageTable) -> dict[str, int]:
    """Return how many images are of a kind that the graph of an export does not decode.

    Of each file only its beginning is read: 10,000 files in 0.4 to 0.7 s on 2 busy cores, when
    they have just been read (2026-11). Not counted are the few JPEG, PNG, GIF, BMP and WebP that
    TensorFlow refuses and Pillow reads, as only decoding tells; and images of TFDS, which would
    have to be read whole, and which TFDS itself has TensorFlow decode.

    Args:
        table: Images that can be read.

    Returns:
        Kind to number of images, most frequent first; empty for arrays.

    Example:
        >>> from kerastl.data.table import ImageTable
        >>> contents = (b"GIF89a", b"II*" + bytes(9))
        >>> unserved_kinds(ImageTable("two", ("a", "b"), np.zeros(2, np.int64), ("cat",), contents))
        {'TIFF': 1}
    """
    contents = table.contents
    if isinstance(contents, np.ndarray | LazyContents):
        return {}

    def kind(row: int) -> str:
        if contents is not None:
            return image_kind(contents[row])
        try:
            with open(table.ids[row], "rb") as file:
                return image_kind(file.read(FIRST_BYTES))
        except OSError:  # gone meanwhile: whoever needs its pixels says so
            return ""

    counts = Counter(in_threads(kind, range(len(table.ids))))
    return {
        name: count for name, count in counts.most_common() if name and name not in SERVED_KINDS
    }


def unserved_words(kinds: Mapping[str, int]) -> str:
    """Return in a sentence what such images mean for an export; "" where there are none.

    Args:
        kinds: From `unserved_kinds`.

    Example:
        >>> print(unserved_words({"TIFF": 2}).partition(":")[0])
        2 images (TIFF) were read by Pillow, which an exported SavedModel does without
    """
    if not kinds:
        return ""
    count = sum(kinds.values())
    named = (
        next(iter(kinds)) if len(kinds) == 1 else ", ".join(f"{n:,} {k}" for k, n in kinds.items())
    )
    images = "image (%s) was" if count == 1 else "images (%s) were"
    return (
        f"{count:,} {images % named} read by Pillow, which an exported SavedModel does without: it "
        "answers an error to such files. Send it PNG or pixels; python -m kerastl.predict does."
    )
