"""How large an image may be, and the words for one that is larger."""

from __future__ import annotations

# Where TensorFlow's JPEG kernel stops (2**29 bytes of RGB) and Pillow raises its
# DecompressionBombError: 178 megapixels, half a gigabyte of RGB.
LARGEST_PIXELS = 2**29 // 3


def too_large_reason(height: int, width: int) -> str:
    """Return why an image is refused.

    Args:
        height: In pixels, as the file says.
        width: In pixels, as the file says.

    Example:
        >>> too_large_reason(60000, 40000)
        'image of 40000 x 60000 pixels; more than 178,956,970 are refused'
    """
    return f"image of {width} x {height} pixels; more than {LARGEST_PIXELS:,} are refused"
