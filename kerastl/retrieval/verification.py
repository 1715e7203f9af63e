"""Same or different? A threshold on the cosine of two images, and how often it is wrong.

The threshold is from pairs of one part of the images, its rates from pairs of the other part: of
the pairs that a threshold was chosen on, it looks better than it is.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.intervals import Estimate, bootstrap_weights, percentile_estimate
from kerastl.evaluation.ranking import rank_rows, ranking_areas
from kerastl.features.novelty import rank_statistic

FALSE_ACCEPT_RATE = 0.01
# From so many classes on the two parts have different classes: what is said of new ones.
_MANY_CLASSES = 20
_MOST_SAME, _MOST_DIFFERENT = 20_000, 100_000
_RESAMPLES = 200
_CURVE_POINTS = 200


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images, and whether both show the same.

    Attributes:
        images: int64 of shape (m, 2).
        same: bool of shape (m,).
        cosines: float32 of shape (m,).
    """

    images: NDArray[np.int64] = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)
    cosines: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Verification:
    """A threshold and what it is worth.

    Attributes:
        wanted_rate: Part of the pairs of different labels that may be accepted.
        threshold: Cosine above which two images are called the same.
        false_accepts: Measured part of the pairs of different labels that are accepted.
        true_accepts: Measured part of the pairs of one label that are.
        area: Under the ROC curve of the measured pairs.
        num_threshold_pairs: Of different labels, that the threshold is from.
        num_pairs: Measured pairs of different labels, and of one label.
        parted_by: "classes", "groups" or "images": what is in one of the two parts only.
        curve: (false accepts, true accepts) of the measured pairs, along the thresholds.
    """

    wanted_rate: float
    threshold: float
    false_accepts: Estimate
    true_accepts: Estimate
    area: Estimate
    num_threshold_pairs: int
    num_pairs: tuple[int, int]
    parted_by: str
    curve: tuple[tuple[float, float], ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return asdict(self)


def verify_pairs(
    vectors: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    *,
    false_accept_rate: float = FALSE_ACCEPT_RATE,
    same: NDArray[np.int64] | None = None,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> Verification:
    """Find the threshold for a rate of false accepts on one half, and measure it on the other.

    The rate holds on average over draws of the images. Intervals are 95 %, by the bootstrap over
    images (or groups), for pairs that share an image are not independent.

    Args:
        vectors: float32 of shape (n, width), of length 1.
        labels: int64 of shape (n,).
        false_accept_rate: Above 0 and below 1.
        same: Of shape (n,): images with one number are one picture (files that are copies of each
            other): they are in one part, and no pair. Default: all are different.
        groups: Of shape (n,): images of one group are in one part, and no pair.
        seed: Of the parts, the pairs and the resamples.

    Raises:
        ConfigError: The rate is not between 0 and 1, or too small for so few pairs.
        DataError: A part has no pair of one label, or none of different ones.

    Example:
        >>> from kerastl.data.nearest import unit_rows
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(400) % 4
        >>> units = unit_rows(3 * np.eye(4)[labels] + rng.normal(size=(400, 4)))
        >>> found = verify_pairs(units, labels, false_accept_rate=0.05)
        >>> found.false_accepts.low < 0.05 < found.false_accepts.high, found.area.value > 0.9
        (True, True)
    """
    check_rate(false_accept_rate)
    random = np.random.default_rng(seed)
    pictures = np.arange(len(labels)) if same is None else same
    part, parted_by = _parts(labels, groups, pictures, random)
    chosen, measured = (
        draw_pairs(
            vectors,
            labels,
            np.flatnonzero(part == number),
            same=pictures,
            groups=groups,
            random=random,
        )
        for number in (0, 1)
    )
    different = chosen.cosines[~chosen.same]
    threshold = rank_statistic(different, exceeded_by=false_accept_rate)
    if math.isinf(threshold):
        least = _rounded_up(1 / (len(different) + 1))
        raise ConfigError(
            f"`false_accept_rate` must be {least} or more: there are "
            f"{len(different):,} pairs of different labels to find a threshold on; received "
            f"false_accept_rate={false_accept_rate}."
        )
    units = pictures if groups is None else groups
    accepts, area = _measured(measured, threshold, len(labels), units, seed=seed)
    return Verification(
        wanted_rate=false_accept_rate,
        threshold=threshold,
        false_accepts=accepts[0],
        true_accepts=accepts[1],
        area=area,
        num_threshold_pairs=len(different),
        num_pairs=(int(np.sum(~measured.same)), int(np.sum(measured.same))),
        parted_by=parted_by,
        curve=_curve(measured),
    )


def _rounded_up(rate: float) -> str:
    """Return a rate with two digits, none of them too small."""
    digits = 1 - math.floor(math.log10(rate))
    return f"{math.ceil(rate * 10**digits) / 10**digits:g}"


def check_rate(false_accept_rate: float) -> None:
    """Refuse what is no rate.

    Args:
        false_accept_rate: What a user gave.

    Raises:
        ConfigError: It is not above 0 and below 1.
    """
    if not 0 < false_accept_rate < 1:
        raise ConfigError(
            "`false_accept_rate` must be above 0 and below 1; received "
            f"false_accept_rate={false_accept_rate}. Write 0.01 for one of a hundred."
        )


def draw_pairs(
    vectors: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    images: NDArray[np.int64],
    *,
    same: NDArray[np.int64],
    groups: NDArray[Any] | None,
    random: np.random.Generator,
) -> Pairs:
    """Return pairs among some images: all, or of very many as many as are needed.

    Args:
        vectors: float32 of shape (n, width), of length 1.
        labels: int64 of shape (n,).
        images: int64: which of them.
        same: Of shape (n,): no pair is of one picture.
        groups: Of shape (n,): no pair is of one group; None for no groups.
        random: Draws.

    Raises:
        DataError: There is none of one label, or none of different labels.
    """
    found = []
    for alike, most in ((False, _MOST_DIFFERENT), (True, _MOST_SAME)):
        pairs = _some_pairs(labels, images, alike=alike, most=most, random=random)
        pairs = pairs[same[pairs[:, 0]] != same[pairs[:, 1]]]
        if groups is not None:
            pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        if not len(pairs):
            raise DataError(
                f"There are no two images {'of one label' if alike else 'of different labels'} "
                f"among {len(images):,}, one half of all"
                f"{' (pairs of one group do not count)' if groups is not None else ''}. "
                "Index more labelled images."
            )
        found.append(pairs)
    both = np.concatenate(found)
    cosines = np.concatenate(
        [
            np.einsum("ij,ij->i", vectors[some[:, 0]], vectors[some[:, 1]])
            for some in np.array_split(both, len(both) // 4096 + 1)
        ]
    )
    return Pairs(both, np.repeat([False, True], [len(one) for one in found]), cosines)


def _some_pairs(
    labels: NDArray[np.integer[Any]],
    images: NDArray[np.int64],
    *,
    alike: bool,
    most: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return distinct pairs of one label, or of different ones, the smaller number first."""
    count = len(images)
    if count * (count - 1) // 2 <= 4 * most:
        first, second = np.triu_indices(count, 1)
    elif alike:  # drawn within labels, weighted by the pairs that a label has
        order = np.argsort(labels[images], kind="stable")
        sizes = np.unique(labels[images], return_counts=True)[1]
        starts = np.cumsum(sizes) - sizes
        # Of n times n draws n are an image with itself, which falls out below.
        weights = np.where(sizes > 1, sizes.astype(np.float64) ** 2, 0.0)
        if not weights.any():
            return np.empty((0, 2), np.int64)
        weights /= weights.sum()
        label = random.choice(len(sizes), 2 * most, p=weights)
        first, second = (order[starts[label] + random.integers(0, sizes[label])] for _ in range(2))
    else:
        first, second = random.integers(0, count, (2, 4 * most))
    pairs = np.sort(images[np.stack([first, second], axis=1)], axis=1)
    pairs = pairs[(pairs[:, 0] != pairs[:, 1])]
    pairs = pairs[(labels[pairs[:, 0]] == labels[pairs[:, 1]]) == alike]
    pairs = np.unique(pairs, axis=0)
    return pairs[np.sort(random.permutation(len(pairs))[:most])]


def _parts(
    labels: NDArray[np.integer[Any]],
    groups: NDArray[Any] | None,
    same: NDArray[np.int64],
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], str]:
    """Return 0 or 1 for each image, and what was kept whole."""
    names, counts = np.unique(labels, return_counts=True)
    if np.sum(counts >= 2) >= _MANY_CLASSES:
        units, parted_by = labels, "classes"
    elif groups is not None:
        units, parted_by = np.asarray(groups), "groups"
    else:
        part = np.empty(len(labels), np.int64)
        _, first, picture = np.unique(same, return_index=True, return_inverse=True)
        for name in names:  # halves of each class, a picture in the half of its first copy
            own = random.permutation(first[labels[first] == name])
            part[own] = (np.arange(len(own)) + random.integers(2)) % 2
        return part[first[picture]], "images"
    unit = np.unique(units, return_inverse=True)[1].ravel()
    half = random.permutation(int(unit.max()) + 1) % 2
    return half[unit], parted_by


def _measured(
    pairs: Pairs, threshold: float, num_images: int, groups: NDArray[Any], *, seed: int
) -> tuple[list[Estimate], Estimate]:
    """Return the rates of both kinds of pairs, and the area, with their intervals."""
    accepted = pairs.cosines > threshold
    ranking = rank_rows(pairs.same, pairs.cosines)
    one = np.ones((len(accepted), 1))
    area = float(ranking_areas(ranking, one)[0][0])
    kinds = (~pairs.same, pairs.same)
    rates: list[list[NDArray[np.float64]]] = [[], []]
    areas = []
    for weights in bootstrap_weights(
        num_images, groups=groups, num_resamples=_RESAMPLES, seed=seed
    ):
        for columns in np.array_split(weights, -(-weights.shape[1] // 8), axis=1):
            drawn = columns[pairs.images[:, 0]] * columns[pairs.images[:, 1]]
            for place, kind in enumerate(kinds):
                total = drawn[kind].sum(axis=0)
                hits = drawn[kind & accepted].sum(axis=0)
                rates[place].append(np.where(total > 0, hits / np.maximum(total, 1), np.nan))
            areas.append(ranking_areas(ranking, drawn)[0])
    units = len(np.unique(groups[pairs.images]))
    found = [
        percentile_estimate(float(accepted[kind].mean()), np.concatenate(values), units=units)
        for kind, values in zip(kinds, rates, strict=True)
    ]
    whole = percentile_estimate(area, np.concatenate(areas), units=units)
    assert whole is not None  # there are both kinds
    return [estimate for estimate in found if estimate is not None], whole


def _curve(pairs: Pairs) -> tuple[tuple[float, float], ...]:
    """Return points of the ROC curve, few enough for a file that people read."""
    from sklearn.metrics import roc_curve  # slow to import

    false_accepts, true_accepts, _ = roc_curve(pairs.same, pairs.cosines)
    # Evenly along both axes: the corner is where thresholds are chosen.
    length = false_accepts + true_accepts
    places = np.unique(np.searchsorted(length, np.linspace(0, 2, _CURVE_POINTS)))
    places = np.unique(np.append(places[places < len(length)], len(length) - 1))
    return tuple(
        (float(one), float(other))
        for one, other in zip(false_accepts[places], true_accepts[places], strict=True)
    )
