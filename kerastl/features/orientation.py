"""Whether it matters which way up images are: by what a probe says of the same images turned.

What mirroring and turning of training images presume is that labels stay. So that is asked: a
probe that has only seen images as they are answers others as they are, and turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# With fewer images neither question has an answer. More cost time and change none.
FEWEST_IMAGES, MOST_IMAGES = 200, 500

# Points of accuracy that turning may cost, at most, with 95 % confidence. On 600 images: solar
# cells upside down 0 (± 2), digits 30 to 40, drawn faces 17, stripes whose direction is the class
# 56 by a quarter turn (2026-11).
_LARGEST_LOSS = 0.05

# An image is told from itself upside down in 0.75 of solar cells, where the camera has an up, and
# in 0.98 of grey crops of a photograph of a temple (flower: 0.9; drawn cells: 0.5).
_LARGEST_UP = 0.85

# Of a normal distribution, one-sided.
_Z = 1.645

# Penalty relative to the mean square of the training images' features: a strong one, as they are
# fewer than the features.
_PENALTY = 0.3


@dataclass(frozen=True)
class Orientation:
    """What is known about the way up.

    Attributes:
        num_images: That were asked about.
        up: Part of the images that a linear model tells from themselves upside down; 0.5 is
            chance.
        accuracy: Of a probe on images as they are.
        chance: What the most frequent class would give.
        upside_down: Difference in accuracy upside down, with the lower end of its one-sided 95 %
            interval.
        quarter: The same of quarter turns and transpositions.
    """

    num_images: int
    up: float
    accuracy: float
    chance: float
    upside_down: tuple[float, float]
    quarter: tuple[float, float]

    @property
    def learns(self) -> bool:
        """Whether the probe knows anything: what knows nothing loses nothing by turning."""
        error = np.sqrt(self.chance * (1 - self.chance) / self.num_images)
        return self.accuracy - self.chance > 2 * _Z * error

    @property
    def has_no_up(self) -> bool:
        """Whether the images can be turned upside down without their labels."""
        return self.learns and self.up < _LARGEST_UP and self.upside_down[1] > -_LARGEST_LOSS

    @property
    def has_no_side(self) -> bool:
        """Whether they can be turned by a quarter as well."""
        return self.has_no_up and self.quarter[1] > -_LARGEST_LOSS


def turned(images: NDArray[np.uint8], *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images upside down (half of them mirrored too), and turned by a quarter.

    Args:
        images: uint8 of shape (n, side, side, 3).
        seed: Of which turn each image gets.

    Returns:
        Two arrays of the same shape.

    Example:
        >>> images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        >>> [len(one) for one in turned(images, seed=0)]
        [1, 1]
    """
    rng = np.random.default_rng(seed)
    mirrored = rng.random(len(images)) < 0.5
    upside_down = np.where(mirrored[:, None, None, None], images[:, ::-1], images[:, ::-1, ::-1])
    quarter = upside_down.swapaxes(1, 2)
    other_way = rng.random(len(images)) < 0.5
    quarter = np.where(other_way[:, None, None, None], quarter[:, ::-1, ::-1], quarter)
    return upside_down, np.ascontiguousarray(quarter)


def measure_orientation(
    features: NDArray[np.float32],
    upside_down: NDArray[np.float32],
    quarter: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    seed: int,
) -> Orientation:
    """Return how much it matters which way up images are, each half answered by the other.

    Args:
        features: float32 of shape (n, num_features): of the images as they are.
        upside_down: The same of `turned`.
        quarter: The same of its second part.
        labels: int64 of shape (n,).
        seed: Of the halves.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(400) % 2
        >>> images = [rng.normal(labels[:, None], 0.2, (400, 4)) for _ in range(3)]
        >>> measure_orientation(*images, labels, seed=0).has_no_side
        True
    """
    half = np.random.default_rng(seed).permutation(len(labels)) % 2 == 0
    names, counts = np.unique(labels, return_counts=True)
    members = (labels[:, None] == names).astype(np.float64)
    right, told = np.zeros((3, len(labels)), bool), np.zeros(len(labels), bool)
    for test in (half, ~half):
        mean, scale = _mean_and_scale(features[~test])
        views = [(one - mean) / scale for one in (features, upside_down, quarter)]
        shares = members[~test].mean(axis=0)
        probe = _ridge(views[0][~test], members[~test] - shares)
        for row, view in enumerate(views):
            right[row, test] = names[(view[test] @ probe + shares).argmax(axis=1)] == labels[test]
        # Without an intercept: which of the two comes first is only a sign.
        differences = views[0] - views[1]
        tell = _ridge(differences[~test], np.ones((int(np.sum(~test)), 1)))
        told[test] = (differences[test] @ tell)[:, 0] > 0
    return Orientation(
        num_images=len(labels),
        up=float(told.mean()),
        accuracy=float(right[0].mean()),
        chance=float(counts.max() / len(labels)),
        upside_down=_difference(right[1], right[0]),
        quarter=_difference(right[2], right[0]),
    )


def _mean_and_scale(features: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what features are brought to one scale by, as `kerastl.features.probe` does."""
    deviation = features.std(axis=0)
    return features.mean(axis=0), np.maximum(deviation, max(float(np.median(deviation)), 1e-9))


def _ridge(features: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Return the weights of a ridge regression without intercept, by its dual form."""
    products = features @ features.T
    products[np.diag_indices_from(products)] += _PENALTY * np.trace(products) / len(products)
    return features.T @ np.linalg.solve(products, targets)


def _difference(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean of one less the other, paired, and the lower end of its interval."""
    gains = one.astype(np.float64) - other
    # Never surer than one image that goes the other way would leave it.
    error = max(float(gains.std()), len(gains) ** -0.5) / len(gains) ** 0.5
    return float(gains.mean()), float(gains.mean() - _Z * error)
