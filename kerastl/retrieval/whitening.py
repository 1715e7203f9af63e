"""PCA-whitening: fewer numbers for each image, none of which says what others say already."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import unit_rows
from kerastl.errors import ConfigError

# Rows that are in memory at a time as float64.
_ROWS_AT_ONCE = 4096
# Directions with less than this part of the largest variance hold rounding, which whitening would
# blow up.
_SMALLEST_VARIANCE = 1e-7
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Whitening:
    """What takes vectors to fewer directions of equal variance.

    Attributes:
        mean: float32 of shape (num_features,).
        projection: float32 of shape (num_features, dimensions): principal directions, each
            divided by the deviation along it.
        num_images: From how many it was learnt.
    """

    mean: NDArray[np.float32] = field(repr=False)
    projection: NDArray[np.float32] = field(repr=False)
    num_images: int

    def apply(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened vectors of length 1.

        Args:
            units: float32 of shape (n, num_features), of length 1.
        """
        return unit_rows((units - self.mean) @ self.projection)


def fit_whitening(
    units: NDArray[np.float32], rows: NDArray[np.int64], *, dimensions: int
) -> Whitening:
    """Learn the principal directions of vectors, and how far they spread along each.

    As Jégou and Chum (ECCV 2012, https://hal.science/hal-00722622): centre, project, divide by
    the deviations, and bring to length 1 again. What many images share (a ground, a frame) counts
    less then.

    Args:
        units: float32 of shape (n, num_features), of length 1; may be mapped from a file.
        rows: int64: which of them count.
        dimensions: How many directions stay.

    Raises:
        ConfigError: There are not so many directions, or too few images to know them.

    Example:
        >>> units = unit_rows(np.random.default_rng(0).normal(size=(500, 6)) * [9, 5, 1, 1, 1, 1])
        >>> whitening = fit_whitening(units, np.arange(500), dimensions=3)
        >>> whitening.apply(units).shape
        (500, 3)
    """
    width = units.shape[1]
    if not 1 <= dimensions <= min(width, len(rows) - 1):
        raise ConfigError(
            f"`whiten` must be from 1 to {max(min(width, len(rows) - 1), 0)} for {len(rows):,} "
            f"images with {width:,} features each; received whiten={dimensions}. Fewer directions "
            "than images can be known."
        )
    total, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = units[rows[start : start + _ROWS_AT_ONCE]].astype(np.float64)
        total += some.sum(axis=0)
        products += some.T @ some
    mean = total / len(rows)
    variances, directions = np.linalg.eigh(products / len(rows) - np.outer(mean, mean))
    kept = np.argsort(-variances)[:dimensions]
    known = int(np.sum(variances > _SMALLEST_VARIANCE * variances.max()))
    if known < dimensions:
        raise ConfigError(
            f"`whiten` must be at most {known} here: these {len(rows):,} images differ in no more "
            f"directions; received whiten={dimensions}."
        )
    projection = directions[:, kept] / np.sqrt(variances[kept])
    return Whitening(mean.astype(np.float32), projection.astype(np.float32), len(rows))


def write_whitening(path: Path, whitening: Whitening) -> None:
    """Write it as NumPy's .npz file.

    Args:
        path: A new file.
        whitening: What to write.
    """
    with path.open("wb") as file:
        np.savez(
            file,
            mean=whitening.mean,
            projection=whitening.projection,
            num_images=whitening.num_images,
        )


def read_whitening(path: Path) -> Whitening:
    """Read what `write_whitening` wrote.

    Args:
        path: The file.

    Raises:
        ConfigError: It is missing or damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            mean = np.asarray(file["mean"], np.float32)
            projection = np.asarray(file["projection"], np.float32)
            if projection.ndim != 2 or mean.shape != projection.shape[:1]:
                raise ValueError("its parts do not fit each other")
            return Whitening(mean, projection, int(file["num_images"]))
    except _DAMAGED as error:
        raise ConfigError(
            f"{str(path)!r} is missing or damaged ({error}). Make the index anew under another "
            "name."
        ) from None
