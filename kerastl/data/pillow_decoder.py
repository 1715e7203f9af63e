"""Encoded bytes to upright RGB pixels by Pillow: for whatever the faster decoders leave.

Where `kerastl.data.decode` reads a file too, the pixels are the same, bit for bit; a test
compares them over all kinds of files.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from kerastl.data.exif import exif_orientation, turn_array_upright
from kerastl.data.image_kinds import image_kind, what_it_is
from kerastl.data.image_limits import LARGEST_PIXELS, too_large_reason
from kerastl.data.jpeg_decoder import jpeg_reduction
from kerastl.errors import UnreadableImageError

READABLE_WORDS = "JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, JPEG 2000, ICO, AVIF and HEIC can be read"

# The readers themselves: `Image.open` would try others on the same bytes, look for more
# pictures in a JPEG, and warn.
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ICO": IcoImagePlugin.IcoImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}

_TIFF_NEW_SUBFILE_TYPE = 254
_TIFF_DNG_VERSION = 50706
_CAMERA_RAW = "camera raw file: develop it to JPEG, PNG or TIFF"
_NO_HEIC = "HEIC, for which pillow-heif must be installed: pip install 'kerastl[heic]'"


def decode_with_pillow(
    content: bytes, *, at_least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Return the RGB pixels of one encoded image, upright.

    Transparency is dropped, not blended, but transparent pixels of a GIF are black. 16-bit
    values keep their high byte. Floating-point TIFFs may hold 0..1, 0..255 or 0..65535. Of
    several pictures in a file the first is taken.

    Args:
        content: The contents of one file.
        at_least: (height, width) that the result must keep. A JPEG that is larger may be
            decoded 2, 4 or 8 times smaller, in the frequency domain; others ignore it.

    Returns:
        uint8 of shape (height, width, 3), 0..255.

    Raises:
        UnreadableImageError: The bytes are no image, damaged, or more than
            `kerastl.data.image_limits.LARGEST_PIXELS`; its `reason` says which.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> Image.new("I;16", (4, 2), 40000).save(buffer, "TIFF")
        >>> decode_with_pillow(buffer.getvalue())[0, 0].tolist()
        [156, 156, 156]
    """
    return np.ascontiguousarray(open_with_pillow(content, at_least=at_least))


def open_with_pillow(
    content: bytes, *, at_least: tuple[int, int] | None = None
) -> Image.Image | NDArray[np.uint8]:
    """Return the decoded image of `decode_with_pillow` in the form that cost least.

    Args:
        content: The contents of one file.
        at_least: (height, width) that the result must keep, see `decode_with_pillow`.

    Returns:
        A loaded image of mode RGB, or uint8 of shape (height, width, 3).

    Raises:
        UnreadableImageError: See `decode_with_pillow`.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (4, 2)).save(buffer, "JPEG")
        >>> open_with_pillow(buffer.getvalue()).size
        (4, 2)
    """
    kind = image_kind(content)
    if not content:
        raise UnreadableImageError("the file is empty")
    if kind == "camera raw":
        raise UnreadableImageError(_CAMERA_RAW)
    if not kind:
        known = what_it_is(content)
        raise UnreadableImageError(
            f"{known}, not an image" if known else f"unknown image file format ({READABLE_WORDS})"
        )
    opener = _find_heic_opener() if kind == "HEIC" else _OPENERS[kind]
    with _without_warnings():
        try:
            image = opener(io.BytesIO(content))
            _refuse_too_large(image)
            return _pixels(image, kind, content, at_least)
        except UnreadableImageError:
            raise
        # A parser written by others, on bytes that may be anything: fuzzing found SyntaxError,
        # OSError, ValueError, struct.error, KeyError, EOFError and more. All mean the same.
        except Exception as error:
            raise UnreadableImageError(_reason(kind, error)) from error


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a readable JPEG as a person sees it, without decoding it.

    Args:
        content: The contents of a file that `open_with_pillow` reads.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (4, 2)).save(buffer, "JPEG")
        >>> jpeg_size(buffer.getvalue())
        (4, 2)
    """
    with _without_warnings():
        width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(content)).size
    return (height, width) if exif_orientation(content) >= 5 else (width, height)


def _find_heic_opener() -> Callable[[io.BytesIO], Image.Image]:
    """Return the reader of HEIC, if it is installed."""
    try:
        import pillow_heif
    except ImportError:
        raise UnreadableImageError(_NO_HEIC) from None
    return lambda file: pillow_heif.open_heif(file).to_pillow()


def _refuse_too_large(image: Image.Image) -> None:
    """Stop before memory is asked for."""
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        raise UnreadableImageError(too_large_reason(height, width))


def _reason(kind: str, error: Exception) -> str:
    """Return what an error of Pillow means."""
    if isinstance(error, Image.DecompressionBombError):
        return f"image of more than {LARGEST_PIXELS:,} pixels, which are refused"
    if isinstance(error, NotImplementedError) or "unsupported" in str(error).lower():
        return f"{kind} of a kind that cannot be read ({error})"
    return f"damaged or truncated {kind}"


def _pixels(
    image: Image.Image, kind: str, content: bytes, at_least: tuple[int, int] | None
) -> Image.Image | NDArray[np.uint8]:
    """Decode an opened image."""
    if kind == "JPEG":
        orientation = exif_orientation(content)
        _reduce(image, orientation, at_least)
        if image.mode == "CMYK":
            return turn_array_upright(_jpeg_inks_to_rgb(image), orientation)
        if image.mode == "RGB" and orientation == 1:
            image.load()
            return image
        return turn_array_upright(_rgb(image), orientation)
    if kind in ("PNG", "WebP"):
        image.load()
        return turn_array_upright(_rgb(image), exif_orientation(content))
    if kind == "GIF":
        return _first_gif_frame(image)
    if kind == "TIFF" and isinstance(image, TiffImagePlugin.TiffImageFile):
        _refuse_raw_preview(image)
    if kind == "AVIF":
        image = ImageOps.exif_transpose(image)
    # TIFF and HEIC come upright.
    return np.ascontiguousarray(_rgb(image))


def _reduce(image: Image.Image, orientation: int, at_least: tuple[int, int] | None) -> None:
    """Let a JPEG be decoded smaller, in place."""
    height, width = image.height, image.width
    ratio = jpeg_reduction(height, width, orientation=orientation, at_least=at_least)
    if ratio > 1:
        # Pillow takes the strongest reduction that leaves this much, which is this one.
        image.draft(None, (width // ratio, height // ratio))


def _jpeg_inks_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the colours of a CMYK JPEG, as TensorFlow computes them.

    Pillow takes all such files for Adobe's, which are inverted, and rounds differently.
    """
    inks = np.asarray(image)
    light = 255 - inks if "adobe" in image.info else inks
    products = light[..., :3].astype(np.uint16) * light[..., 3:]
    return (products // 255).astype(np.uint8)


def _refuse_raw_preview(image: TiffImagePlugin.TiffImageFile) -> None:
    """Stop at camera raw files in the form of TIFF: their first picture is a stamp."""
    is_preview = int(image.tag_v2.get(_TIFF_NEW_SUBFILE_TYPE) or 0) & 1
    if is_preview or _TIFF_DNG_VERSION in image.tag_v2:
        raise UnreadableImageError(_CAMERA_RAW)


def _first_gif_frame(image: Image.Image) -> NDArray[np.uint8]:
    """Return the first picture of a GIF on its canvas, all else black."""
    left, top, right, bottom = image.tile[0][1]  # type: ignore[attr-defined]
    image.load()
    _refuse_too_large(image)
    rgba = np.asarray(image.convert("RGBA"))
    pixels = np.zeros((*rgba.shape[:2], 3), np.uint8)
    frame = rgba[top:bottom, left:right]
    pixels[top:bottom, left:right] = np.where(frame[..., 3:] > 0, frame[..., :3], 0)
    return pixels


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the three colours of an image in any mode of Pillow."""
    image.load()
    if image.mode == "F":
        return _grey_to_rgb(_from_float(np.asarray(image, np.float32)))
    if image.mode.startswith("I"):
        values = np.asarray(image)
        deep = image.mode != "I"  # "I;16" and its like; "I" are 32 bits
        return _grey_to_rgb((values >> 8).astype(np.uint8) if deep else _from_int(values))
    if image.mode in ("RGBa", "La"):  # premultiplied by alpha
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    # A colour that means "transparent" is a colour to us.
    image.info.pop("transparency", None)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_float(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 0..255 for 0..1, 0..255 or 0..65535: which of these tells the largest value."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):  # also not for NaN
        raise UnreadableImageError(
            f"floating-point image with values from {low:g} to {high:g}; 0..1, 0..255 and "
            "0..65535 can be read"
        )
    if high <= 1:
        values = values * 255
    if high <= 255:
        return np.rint(values).astype(np.uint8)
    return (values.astype(np.uint16) >> 8).astype(np.uint8)


def _from_int(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 0..255 for whole numbers 0..255 or 0..65535."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableImageError(
            f"image with whole numbers from {low} to {high}; 0..255 and 0..65535 can be read"
        )
    return (values if high <= 255 else values >> 8).astype(np.uint8)


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Use one channel three times."""
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


class _Quiet:
    """How many threads read at this moment; the filters of warnings belong to all of them."""

    lock = threading.Lock()
    threads = 0
    saved: warnings.catch_warnings[None] | None = None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings; what is wrong with an image is in `UnreadableImageError`.

    `warnings.catch_warnings` alone would leave its filter behind when two threads leave in
    the order in which they came, so the first one sets it and the last one takes it back.
    """
    with _Quiet.lock:
        _Quiet.threads += 1
        if _Quiet.threads == 1:
            _Quiet.saved = warnings.catch_warnings()
            _Quiet.saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b|pillow_heif\b")
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.threads -= 1
            if _Quiet.threads == 0 and _Quiet.saved is not None:
                _Quiet.saved.__exit__(None, None, None)
                _Quiet.saved = None
