"""How large an image says that it is: from the places that TensorFlow's decoders read, no others.

Not by Pillow: it refuses files that they read (a large text chunk), and walks through all of a file
that begins with a million empty segments.
"""

from __future__ import annotations

# A camera's file has some dozens before its size, one with large profiles a few hundred.
_MOST_JPEG_SEGMENTS = 2_000
# Markers of a JPEG that have no length behind them.
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
# Start of a frame: all kinds but 0xC4 (tables), 0xC8 (reserved) and 0xCC (conditioning).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Return the (height, width) that a JPEG, PNG, GIF, BMP or WebP announces.

    Args:
        content: Of a file.

    Returns:
        (0, 0) for what none of the decoders reads; None for a JPEG that hides its size behind
        thousands of segments.

    Example:
        >>> declared_size(b"GIF89a" + bytes([2, 1, 3, 0]) + bytes(20))
        (3, 258)
        >>> declared_size(b"no image")
        (0, 0)
    """
    if content[:2] == b"\xff\xd8":
        return _jpeg(content)
    if content[:4] == b"\x89PNG":
        return _number(content, 20, 4, "big"), _number(content, 16, 4, "big")
    if content[:4] == b"GIF8":
        return _number(content, 8, 2), _number(content, 6, 2)
    if content[:2] == b"BM":
        height = _number(content, 22, 4)  # negative if the first row is the upper one
        width = _number(content, 18, 4)  # negative is refused by the decoder
        return min(height, 2**32 - height), width if width < 2**31 else 0
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    return 0, 0


def _number(content: bytes, start: int, size: int, order: str = "little") -> int:
    return int.from_bytes(content[start : start + size], "big" if order == "big" else "little")


def _webp(content: bytes) -> tuple[int, int]:
    if content[12:16] == b"VP8X":
        return _number(content, 27, 3) + 1, _number(content, 24, 3) + 1
    if content[12:16] == b"VP8L":
        bits = _number(content, 21, 4)
        return bits // 2**14 % 2**14 + 1, bits % 2**14 + 1
    return _number(content, 28, 2) % 2**14, _number(content, 26, 2) % 2**14


def _jpeg(content: bytes) -> tuple[int, int] | None:
    place = 2
    for _ in range(_MOST_JPEG_SEGMENTS):
        place = content.find(b"\xff", place)
        if place < 0:
            return 0, 0
        marker = content[place + 1] if place + 1 < len(content) else 0
        if marker in _FRAMES:
            return _number(content, place + 5, 2, "big"), _number(content, place + 7, 2, "big")
        # 0xFF may be repeated before a marker.
        place += 1 if marker == 0xFF else 2
        if marker not in _ALONE and marker != 0xFF:
            place += max(_number(content, place, 2, "big"), 2)
    return None
