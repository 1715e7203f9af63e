"""How a picture must be turned: the EXIF orientation of JPEG, PNG and WebP files.

The rule, in plain Python here and as TensorFlow graph in `kerastl.data.exif_graph`:

- JPEG: the first APP1 segment before the scan that starts with "Exif"; PNG: the first eXIf
  chunk; WebP: the EXIF chunk, if the header announces one.
- In its TIFF directory the first entry 0x0112 that is one SHORT from 1 to 8.
- Anything else means 1, upright: a wrong EXIF never fails an image.

Browsers read the same. Pillow's `ImageOps.exif_transpose` differs in three rare cases: it
takes other types than SHORT, an orientation in XMP, and EXIF in the text chunks of old PNGs.

Source: JEITA CP-3451 (Exif 2.3), 4.6.4 A; PNG 3rd edition, 11.3.3.6; WebP container (RFC 9649).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 0x0112
SHORT = 3

_ByteOrder = Literal["little", "big"]


def exif_orientation(content: bytes) -> int:
    r"""Return how a JPEG, PNG or WebP file is to be turned, 1 to 8.

    Args:
        content: The contents of one file, of any kind.

    Returns:
        The orientation of its EXIF; 1 (upright) where there is none, or a wrong one.

    Example:
        >>> tiff = bytes.fromhex("4d4d002a00000008 0001 0112 0003 00000001 0006 0000 00000000")
        >>> jpeg = b"\xff\xd8\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
        >>> exif_orientation(jpeg), exif_orientation(jpeg[:30])
        (6, 1)
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _orientation_of_tiff(_exif_of_jpeg(content))
    if content.startswith(b"\x89PNG"):
        return _orientation_of_tiff(_exif_of_png(content)) if b"eXIf" in content else 1
    if content.startswith(b"RIFF") and content[8:16] == b"WEBPVP8X" and content[20:21] != b"":
        has_exif = content[20] & 8
        return _orientation_of_tiff(_exif_of_webp(content)) if has_exif else 1
    return 1


def _exif_of_jpeg(content: bytes) -> bytes:
    """Walk the segments up to the scan."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if marker < 0xC0 or marker in (0xD9, 0xDA, 0xFF) or length < 2:
            return b""
        end = place + 2 + length
        if marker == 0xE1 and content[place + 4 : place + 10] == b"Exif\0\0":
            return content[place + 10 : end]
        place = end
    return b""


def _exif_of_png(content: bytes) -> bytes:
    """Walk the chunks; the eXIf chunk may come after the pixels."""
    place = 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        if name == b"eXIf":
            return content[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
        place += 12 + length
    return b""


def _exif_of_webp(content: bytes) -> bytes:
    """Walk the chunks, which have even lengths; some writers put the prefix of JPEG first."""
    place = 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] == b"EXIF":
            return content[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
        place += 8 + length + length % 2
    return b""


def _orientation_of_tiff(tiff: bytes) -> int:
    """Return the orientation in the first directory, as far as that is there."""
    orders: dict[bytes, _ByteOrder] = {b"II*\0": "little", b"MM\0*": "big"}
    order = orders.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    directory = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[directory : directory + 2], order)
    for number in range(min(count, (len(tiff) - directory - 2) // 12)):
        entry = tiff[directory + 2 + 12 * number :][:12]
        values = (
            int.from_bytes(entry[:2], order),
            int.from_bytes(entry[2:4], order),
            int.from_bytes(entry[4:8], order),
        )
        orientation = int.from_bytes(entry[8:10], order)
        if values == (ORIENTATION_TAG, SHORT, 1) and 1 <= orientation <= 8:
            return orientation
    return 1


def turn_array_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the picture as it is meant to be looked at.

    Args:
        pixels: Of shape (height, width, ...), as stored.
        orientation: From `exif_orientation`, 1 to 8.

    Returns:
        The same values; height and width are swapped for orientations 5 to 8.

    Example:
        >>> turn_array_upright(np.array([[1, 2], [3, 4]]), 6).tolist()
        [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
