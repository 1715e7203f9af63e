"""Pictures to measure with: JPEG files that take as long to decode as photographs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from kerastl.data.stream import in_threads
from kerastl.errors import DataError
from kerastl.progress import track

# (width, height) of an ImageNet photograph, the common size of data sets from the web.
PHOTO_SIZE = (500, 375)
_QUALITY = 90
# Amplitudes fall with the frequency, as those of natural images do (1/f**0.8 to 1/f**1.5, Tolhurst
# et al. 1992). With these numbers a file of 500 x 375 has 56 KB; windows of that size of the two
# photographs that scikit-learn brings have 68 and 39 KB at the same quality.
_FALL = 1.4
_CONTRAST = 42.0
_COLOUR_CONTRAST = 0.25
# How far the mean colours of classes lie apart; the noise within a class overlaps them.
_CLASS_CONTRAST = 24.0


def write_photos(
    folder: Path,
    *,
    count: int,
    num_classes: int,
    size: tuple[int, int] = PHOTO_SIZE,
    seed: int = 0,
) -> None:
    """Write JPEG files, one sub-folder for each class, no two alike.

    Noise with the spectrum of natural images, whose mean colour tells the class: something to
    learn, nothing to look at. Classes differ by one image at most.

    Args:
        folder: Where to; sub-folders are made.
        count: Images in all.
        num_classes: Classes.
        size: (width, height) in pixels.
        seed: Same seed, same images.

    Raises:
        DataError: They cannot be written.
    """
    colours = np.random.default_rng(seed).normal(0, _CLASS_CONTRAST, (num_classes, 3))
    for label in range(num_classes):
        (folder / class_folder(label)).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        label = number % num_classes
        rng = np.random.default_rng((seed, number))
        pixels = noise_picture(rng, size=size) + colours[label]
        content = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
            content, "JPEG", quality=_QUALITY
        )
        path = folder / class_folder(label) / f"{number:06}.jpg"
        try:
            path.write_bytes(content.getvalue())
        except OSError as error:
            raise DataError(
                f"The images to measure with cannot be written in {str(folder)!r}: "
                f"{error.strerror or error}. Make room there, or point TMPDIR to another folder."
            ) from error

    with track("Making images", total=count) as advance:
        for _ in in_threads(write, range(count)):
            advance(1)


def class_folder(label: int) -> str:
    """Return the name of a class.

    Args:
        label: Its number.

    Example:
        >>> class_folder(3)
        'class-003'
    """
    return f"class-{label:03}"


def noise_picture(rng: np.random.Generator, *, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return noise whose amplitudes fall with the frequency, around grey.

    Args:
        rng: Where chance comes from.
        size: (width, height) in pixels.

    Returns:
        float32 of shape (height, width, 3), mean 128; not clipped.

    Example:
        >>> noise_picture(np.random.default_rng(0), size=(20, 10)).shape
        (10, 20, 3)
    """
    width, height = size
    vertical, horizontal = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None]
    frequency = np.hypot(vertical, horizontal).astype(np.float32)
    frequency[0, 0] = np.inf
    # Brightness varies most, colour less: one field for all channels, and one for each.
    shape = (4, *frequency.shape)
    phases = rng.standard_normal(shape, np.float32) + 1j * rng.standard_normal(shape, np.float32)
    fields = fft.irfft2((phases / frequency**_FALL).astype(np.complex64), s=(height, width))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    mixed = fields[:1] + _COLOUR_CONTRAST * fields[1:]
    picture: NDArray[np.float32] = (128 + _CONTRAST * mixed).astype(np.float32)
    return picture.transpose(1, 2, 0)
