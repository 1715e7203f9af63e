"""One pass over images: what a check needs to know of each of them, and what cannot be read.

By the reader of a fit, so that what it finds unreadable is what a fit would leave out; a large
JPEG is read at an eighth of its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from kerastl.data.image_kinds import image_kind
from kerastl.data.image_reader import read_picture
from kerastl.data.perceptual import THUMBNAIL_SIDE, perceptual_hashes
from kerastl.data.pillow_decoder import jpeg_size
from kerastl.data.pixels import Unreadable, encoded_image
from kerastl.data.stream import Images, in_threads
from kerastl.data.table import ImageTable
from kerastl.errors import DataError, UnreadableImageError
from kerastl.progress import track

# Side of the colour pictures: enough for "reddish at the top left".
COLOUR_SIDE = 8

# A JPEG is read at the smallest eighth of its size that has this side: enough for thumbnails.
_DRAFT_SIDE = 4 * THUMBNAIL_SIDE

# Channels that differ by no more are equal: lossy WebP and JPEG round grey that much.
_GREY_TOLERANCE = 2


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What is known of each of n images; 0, "" or False where an image is unreadable.

    Attributes:
        formats: Text of shape (n,): the format that the bytes are in, whatever the file is
            called ("JPEG", "PNG", ...); "" for arrays.
        widths: int64 of shape (n,), in pixels, as a person sees the image (EXIF applied).
        heights: int64 of shape (n,).
        digests: Text of shape (n,): SHA-256 of the file, or of the pixels of an array. Files
            that cannot be decoded have one too; "" where not even bytes could be read.
        hashes: uint64 of shape (n,): see `kerastl.data.perceptual.perceptual_hashes`.
        thumbnails: uint8 of shape (n, 32, 32): grey, the aspect ratio ignored.
        colours: uint8 of shape (n, 8, 8, 3): RGB, the aspect ratio ignored.
        mean: float32 of shape (n,): mean grey value, 0..255.
        spread: float32 of shape (n,): standard deviation of the grey values (a large JPEG is
            measured at an eighth of its size or more, which takes off fine noise).
        colour: bool of shape (n,): False if all channels are equal.
        unreadable: Images that could not be decoded, and why.
    """

    formats: NDArray[np.str_]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    digests: NDArray[np.str_]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    colour: NDArray[np.bool_]
    unreadable: tuple[Unreadable, ...]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Of shape (n,): whether an image could be decoded."""
        return self.widths > 0


@dataclass(frozen=True)
class _Fact:
    """What is known of one image."""

    format: str = ""
    width: int = 0
    height: int = 0
    digest: str = ""
    thumbnail: NDArray[np.uint8] | None = None
    colours: NDArray[np.uint8] | None = None
    mean: float = 0.0
    spread: float = 0.0
    colour: bool = False
    reason: str = ""


def scan_images(table: ImageTable) -> ImageFacts:
    """Read every image of a table once, with all processors.

    No byte string stops it: what cannot be decoded is listed in `unreadable`.

    Args:
        table: The images.

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> facts = scan_images(table_from_arrays(np.zeros((2, 8, 9), np.uint8), ["a", "b"]))
        >>> facts.widths.tolist(), facts.spread.tolist(), facts.colour.tolist()
        ([9, 9], [0.0, 0.0], [False, False])
    """
    contents = table.contents
    if isinstance(contents, np.ndarray):
        return _scan(table.ids, lambda row: _fact_of_array(contents[row]))

    def read(row: int) -> _Fact:
        try:
            content = encoded_image(table, row)
        except DataError as error:
            return _Fact(reason=str(error))
        return _fact_of_bytes(content)

    return _scan(table.ids, read)


def scan_pixels(images: Images) -> ImageFacts:
    """Return the facts of images that are decoded already.

    About formats and sizes of files it knows nothing; the rest is as good as `scan_images`.
    10,000 images of 224 x 224 pixels take 5 to 6 s on 2 busy cores.

    Args:
        images: uint8 of shape (n, height, width, 3), RGB 0..255.

    Example:
        >>> facts = scan_pixels(np.full((3, 40, 50, 3), 7, np.uint8))
        >>> facts.mean.tolist(), facts.thumbnails.shape
        ([7.0, 7.0, 7.0], (3, 32, 32))
    """
    ids = tuple(f"images[{row}]" for row in range(len(images)))
    return _scan(ids, lambda row: _fact_of_array(images[row]))


def _scan(ids: tuple[str, ...], read: Callable[[int], _Fact]) -> ImageFacts:
    """Call `read` for all rows in threads: Pillow and hashlib work outside Python's lock."""
    count = len(ids)
    thumbnails = np.zeros((count, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    colours = np.zeros((count, COLOUR_SIDE, COLOUR_SIDE, 3), np.uint8)
    facts: list[_Fact] = []
    with track("Checking images", total=count) as advance:
        for row, fact in enumerate(in_threads(read, range(count))):
            if fact.thumbnail is not None and fact.colours is not None:
                thumbnails[row], colours[row] = fact.thumbnail, fact.colours
            facts.append(replace(fact, thumbnail=None, colours=None))
            advance(1)
    return ImageFacts(
        formats=np.array([fact.format for fact in facts], np.str_),
        widths=np.array([fact.width for fact in facts], np.int64),
        heights=np.array([fact.height for fact in facts], np.int64),
        digests=np.array([fact.digest for fact in facts], np.str_),
        hashes=perceptual_hashes(thumbnails),
        thumbnails=thumbnails,
        colours=colours,
        mean=np.array([fact.mean for fact in facts], np.float32),
        spread=np.array([fact.spread for fact in facts], np.float32),
        colour=np.array([fact.colour for fact in facts], np.bool_),
        unreadable=tuple(
            Unreadable(row, ids[row], fact.reason) for row, fact in enumerate(facts) if fact.reason
        ),
    )


def _fact_of_bytes(content: bytes) -> _Fact:
    """Return what is known of one encoded image."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        picture = read_picture(content, at_least=(_DRAFT_SIDE, _DRAFT_SIDE))
    except UnreadableImageError as error:
        return _Fact(digest=digest, reason=error.reason)
    kind = image_kind(content)
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    width, height = jpeg_size(content) if kind == "JPEG" else image.size
    return _fact_of_pixels(image, kind, width, height, digest)


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of pixels: that of `ImageFacts.digests` for arrays.

    Args:
        pixels: uint8 of shape (height, width, channels).

    Example:
        >>> pixel_digest(np.zeros((2, 2, 3), np.uint8))[:8]
        '15ec7bf0'
    """
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def _fact_of_array(pixels: NDArray[np.uint8]) -> _Fact:
    """Return what is known of one image of shape (height, width, 1 to 4 channels)."""
    digest = pixel_digest(pixels)
    channels = pixels.shape[-1]
    image = Image.fromarray(
        np.ascontiguousarray(pixels[..., :3] if channels >= 3 else pixels[..., 0])
    )
    return _fact_of_pixels(image, "", image.width, image.height, digest)


def _fact_of_pixels(image: Image.Image, name: str, width: int, height: int, digest: str) -> _Fact:
    """Return what the pixels tell, in operations that run outside Python's lock."""
    grey = image.convert("L")
    counts = np.array(grey.histogram(), np.float64)
    levels = np.arange(256)
    mean = float(counts @ levels / counts.sum())
    variance = float(counts @ (levels - mean) ** 2 / counts.sum())
    colour = image.mode == "RGB" and _has_colour(image)
    # Bilinear weighs parts of pixels at the border of a cell, which Pillow's box does not: the
    # thumbnails of an image and of its half-size copy then agree (median correlation on ELPV
    # 0.9998 against 0.997).
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = np.asarray(grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=4.0))
    size = (COLOUR_SIDE, COLOUR_SIDE)
    colours = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=4.0).convert("RGB")
    return _Fact(
        name, width, height, digest, thumbnail, np.asarray(colours), mean, variance**0.5, colour
    )


def _has_colour(image: Image.Image) -> bool:
    """Whether the channels of an RGB image differ."""
    red, green, blue = image.split()
    for one in (red, blue):
        # 256 counts of the absolute difference; all beyond the tolerance must be 0.
        if any(ImageChops.difference(one, green).histogram()[_GREY_TOLERANCE + 1 :]):
            return True
    return False
