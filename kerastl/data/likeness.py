"""Do two pictures agree in detail and in colour? Correlation alone calls all sunsets one picture.

A few large shapes (a gradient, a wave, a dark half) make up nearly all of the correlation of two
pictures. Copies agree in each frequency that is above noise, and in colour; look-alikes do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

# Grey levels of a coefficient of the cosine transform (orthonormal, of 32 x 32 pixels) that are
# no evidence: rounding moves it by 0.3, JPEG of quality 50 by 0.6 to 2. With 4 the detail of
# faintly noisy gradients was too little to judge, and 3 of their 60 copies were found, not 47.
_NOISE_LEVELS = 2.0

# Frequencies from here on are not compared: half a pixel of shift, as cropping leaves, turns
# their sign.
_NUM_FREQUENCIES = 16

_CHUNK_ROWS = 8192

# Brightness and contrast of copies may differ by 30 %, and clipping adds some.
_LARGEST_GAIN = 1.6
_LARGEST_MEAN_DIFFERENCE = 64.0

# Colour differences (R - G and B - G) of copies differ by no more grey levels than this plus this
# part of what they are.
_COLOUR_LEVELS = 5.0
_COLOUR_FRACTION = 0.25


def detail(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how many independent frequencies of each thumbnail are above noise.

    Each of the 255 lowest coefficients c of the cosine transform (16 x 16 without the mean)
    counts c² / (c² + 2²): 2 grey levels are what storing as JPEG moves. Textures have 200 and
    more, cells of ELPV 50 and more, gradients without noise 10 to 27.

    Args:
        thumbnails: uint8 of shape (n, 32, 32).

    Returns:
        float32 of shape (n,), 0..255.

    Example:
        >>> ramp = np.arange(32, dtype=np.uint8).repeat(32).reshape(1, 32, 32)
        >>> noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32), np.uint8)
        >>> bool(detail(ramp)[0] < 20), bool(detail(noise)[0] > 200)
        (True, True)
    """
    counts = np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        power = np.square(_coefficients(thumbnails[part]))
        counts[part] = (power / (power + _NOISE_LEVELS**2)).sum(axis=1)
    return counts


def detail_agreements(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how well pairs of thumbnails agree, every frequency above noise counting alike.

    The mean over frequencies of 2ab / (a² + b²), weighted by (a² + b²) / (a² + b² + 2 · 2²),
    where a and b are the coefficients of the two, brought to one contrast. Unrelated pictures
    have about 0, whatever their few strongest frequencies share.

    Args:
        first: uint8 of shape (m, 32, 32).
        second: uint8 of the same shape.

    Returns:
        float32 of shape (m,), -1..1.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 128, (2, 32, 32), np.uint8)
        >>> [bool(one > 0.9) for one in detail_agreements(noise, noise[[0, 0]])]
        [True, False]
    """
    one, other = _coefficients(first), _coefficients(second)
    gains = np.sqrt(_lengths(other) / _lengths(one))[:, np.newaxis]
    one, other = one * gains, other / gains
    power = one**2 + other**2
    noisy = power + 2 * _NOISE_LEVELS**2
    weights = np.maximum((power / noisy).sum(axis=1), 1e-6)
    return np.asarray((2 * one * other / noisy).sum(axis=1) / weights, np.float32)


def colours_agree(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    *,
    both_coloured: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return whether pairs of small colour pictures can be copies of each other.

    Brightness may differ by 64 grey levels and contrast by a factor of 1.6, the same for all
    channels; hues may not. Where one of the two is grey only brightness counts: it may be the
    other without its colours.

    Args:
        first: uint8 of shape (m, side, side, 3), RGB 0..255.
        second: uint8 of the same shape.
        both_coloured: bool of shape (m,): whether neither of the two is grey.

    Returns:
        bool of shape (m,).

    Example:
        >>> red = np.zeros((1, 8, 8, 3), np.uint8)
        >>> red[..., 0] = np.arange(8) * 30
        >>> yes = np.ones(1, np.bool_)
        >>> agree = [colours_agree(red, red[..., order], both_coloured=yes)
        ...          for order in ([0, 1, 2], [2, 1, 0])]
        >>> [bool(one[0]) for one in agree]
        [True, False]
    """
    one, other = first.astype(np.float32), second.astype(np.float32)
    means = other.mean(axis=(1, 2, 3)) - one.mean(axis=(1, 2, 3))
    spreads = [picture.mean(axis=3).std(axis=(1, 2)) for picture in (one, other)]
    # One grey level: an even picture has no contrast that could differ.
    gains = (spreads[1] + 1) / (spreads[0] + 1)
    exposed = (np.abs(means) <= _LARGEST_MEAN_DIFFERENCE) & (
        np.maximum(gains, 1 / gains) <= _LARGEST_GAIN
    )
    roots = np.sqrt(gains)[:, np.newaxis, np.newaxis, np.newaxis]
    hues, others = (
        (picture[..., [0, 2]] - picture[..., 1:2]) * factor
        for picture, factor in ((one, roots), (other, 1 / roots))
    )
    apart = _rms(hues - others)
    allowed = _COLOUR_LEVELS + _COLOUR_FRACTION * np.maximum(_rms(hues), _rms(others))
    return np.asarray(exposed & ((apart <= allowed) | ~both_coloured), np.bool_)


def _coefficients(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the low frequencies without the mean, float32 of shape (n, 255)."""
    low = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")
    low = low[:, :_NUM_FREQUENCIES, :_NUM_FREQUENCIES].reshape(len(low), _NUM_FREQUENCIES**2)
    return np.asarray(low[:, 1:], np.float32)


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the length of each row, 1 for blank ones."""
    lengths = np.linalg.norm(rows, axis=1)
    return np.asarray(np.where(lengths > 0, lengths, 1), np.float32)


def _rms(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the root of the mean square of each picture."""
    return np.asarray(np.sqrt(np.square(pictures).mean(axis=(1, 2, 3))), np.float32)
