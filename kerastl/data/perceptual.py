"""Perceptual hashes: 64 bits that stay nearly the same when an image is stored in another way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

THUMBNAIL_SIDE = 32

# Rows of floats at a time: 32 MiB.
_CHUNK_ROWS = 8192

# 2 MiB of differences stay in the cache of a processor.
_PAIRS_AT_ONCE = 2**18


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 64-bit hash of every thumbnail by its low frequencies.

    pHash: of the two-dimensional cosine transform of a 32 x 32 grey image the 8 x 8 lowest
    frequencies are kept; a bit is set where a coefficient is above their median (Zauner 2010,
    "Implementation and Benchmarking of Perceptual Image Hash Functions"; the package imagehash
    does the same). Brightness and contrast move no bit or few, for all coefficients but the
    first scale alike.

    Args:
        thumbnails: uint8 of shape (n, 32, 32), grey.

    Returns:
        uint64 of shape (n,).

    Example:
        >>> ramp = np.arange(1024, dtype=np.uint16).reshape(1, 32, 32) // 8
        >>> one, other = (perceptual_hashes(image.astype(np.uint8)) for image in (ramp, ramp + 90))
        >>> bool(one == other)
        True
    """
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _CHUNK_ROWS):
        chunk = thumbnails[start : start + _CHUNK_ROWS].astype(np.float32)
        low = dctn(chunk, axes=(1, 2))[:, :8, :8].reshape(len(chunk), 64)
        bits = low > np.median(low, axis=1, keepdims=True)
        packed = np.ascontiguousarray(np.packbits(bits, axis=1))
        hashes[start : start + len(chunk)] = packed.view(np.uint64)[:, 0]
    return hashes


def close_pairs(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64] | None = None,
    *,
    largest_distance: int,
    largest_num_pairs: int,
) -> tuple[NDArray[np.int64], int]:
    """Return all pairs of rows whose hashes differ in few bits.

    Every pair is looked at: 50,000 hashes take 2 s on one idle core, and time grows with the
    square. If there are more pairs
    than wanted, the distance is lowered until there are not.

    Args:
        hashes: uint64 of shape (n,).
        others: uint64 of shape (n,): compare `hashes[i]` with `others[j]`, such as those of the
            mirror images; `hashes` itself when not given.
        largest_distance: Bits that may differ, 0..64.
        largest_num_pairs: Keep no more pairs than these.

    Returns:
        int64 of shape (m, 2), the smaller row first, and the distance they are within (-1: even
        equal hashes are too many).

    Example:
        >>> close_pairs(np.array([0, 255, 1], np.uint64), largest_distance=2, largest_num_pairs=9)
        (array([[0, 2]]), 2)
    """
    others = hashes if others is None else others
    count = len(hashes)
    rows_at_once = max(1, _PAIRS_AT_ONCE // max(count, 1))
    found: list[NDArray[np.int64]] = []
    distances: list[NDArray[np.uint8]] = []
    num_found = 0
    for start in range(0, count, rows_at_once):
        block = hashes[start : start + rows_at_once, np.newaxis]
        # Of two rows only the later one is looked at.
        apart = np.bitwise_count(block ^ others[np.newaxis, start:])
        first, second = np.nonzero(apart <= largest_distance)
        later = second > first
        first, second = first[later], second[later]
        if not len(first):
            continue
        found.append(np.stack([first, second], axis=1) + start)
        distances.append(apart[first, second])
        num_found += len(first)
        while num_found > largest_num_pairs:
            largest_distance -= 1
            keep = [one <= largest_distance for one in distances]
            found = [one[mask] for one, mask in zip(found, keep, strict=True)]
            distances = [one[mask] for one, mask in zip(distances, keep, strict=True)]
            num_found = sum(map(len, found))
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    return pairs.astype(np.int64), largest_distance
