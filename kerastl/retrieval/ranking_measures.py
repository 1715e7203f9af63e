"""How well an index ranks: recall@k and mean average precision, each image asked about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.intervals import (
    Estimate,
    bootstrap_weights,
    percentile_estimate,
    share,
)
from kerastl.evaluation.ranking import rank_rows, ranking_areas
from kerastl.progress import track

DEPTHS = (1, 5, 10)
# Images that are asked; each takes a look at all others.
MOST_ASKED = 2_000
_RESAMPLES = 1_000


@dataclass(frozen=True)
class RankingMeasures:
    """What a search is worth where labels say what is alike.

    Attributes:
        num_asked: Images that were asked, each about all others.
        num_alone: Images that were not, because no other image that counts has their label.
        recall_at: By k: part of the images that have one of their label among the k nearest.
        chance_at: By k: the same of a random order.
        mean_average_precision: Over the images, of the order of all others.
        chance_precision: About that of a random order: the mean part of images of the same label.
        grouped: Whether images of the same group did not count.
    """

    num_asked: int
    num_alone: int
    recall_at: dict[int, Estimate]
    chance_at: dict[int, float]
    mean_average_precision: Estimate
    chance_precision: float
    grouped: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return asdict(self)


def ranking_measures(
    vectors: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    *,
    same: NDArray[np.int64],
    groups: NDArray[Any] | None = None,
    depths: Sequence[int] = DEPTHS,
    most_asked: int = MOST_ASKED,
    seed: int = 0,
) -> RankingMeasures:
    """Ask each image which of the others are nearest, and count those of its label.

    Average precision is that of scikit-learn, without interpolation. Intervals are 95 %, over
    images or over whole groups.

    Args:
        vectors: float32 of shape (n, width), of length 1, of each image.
        labels: int64 of shape (n,), or 0 and 1 of shape (n, num_classes): images that share a
            label are alike then.
        same: int64 of shape (n,): images with one number are one picture and do not find each
            other.
        groups: Of shape (n,): images of one group do not find each other either.
        depths: k, each 1 or more.
        most_asked: Of more images so many are drawn.
        seed: Of that draw, and of the resamples.

    Raises:
        DataError: No two images have the same label.

    Example:
        >>> from kerastl.data.nearest import unit_rows
        >>> units = unit_rows([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> found = ranking_measures(units, np.array([0, 0, 1, 1]), same=np.arange(4))
        >>> found.recall_at[1].value, found.mean_average_precision.value
        (1.0, 1.0)
    """
    count = len(vectors)
    random = np.random.default_rng(seed)
    asked = np.sort(random.permutation(count)[:most_asked])
    hits: list[list[bool]] = []
    precisions, shares, chances, kept = [], [], [], []
    with track("Asking images", total=len(asked)) as advance:
        for image in asked.tolist():
            advance(1)
            allowed = same != same[image]
            if groups is not None:
                allowed &= groups != groups[image]
            relevant = _relevant(labels, image)[allowed]
            if not relevant.any():
                continue
            cosines = (vectors @ vectors[image])[allowed]
            precisions.append(_average_precision(relevant, cosines))
            hits.append([bool(relevant[_first(cosines, depth)].any()) for depth in depths])
            shares.append(relevant.mean())
            chances.append([_chance(int(relevant.sum()), len(relevant), k) for k in depths])
            kept.append(image)
    if not kept:
        raise DataError(
            "No two images that count have the same label, so that nothing can be found. Give "
            "classes with two images or more (of more than one group, where there are groups)."
        )
    members = None if groups is None else np.asarray(groups)[kept]
    found = np.array(hits)
    means = np.mean(chances, axis=0)
    recall = {
        depth: share(found[:, place], groups=members, seed=seed)
        for place, depth in enumerate(depths)
    }
    return RankingMeasures(
        num_asked=len(kept),
        num_alone=len(asked) - len(kept),
        recall_at={depth: one for depth, one in recall.items() if one is not None},
        chance_at={depth: float(means[place]) for place, depth in enumerate(depths)},
        mean_average_precision=_mean(np.array(precisions), members, seed=seed),
        chance_precision=float(np.mean(shares)),
        grouped=groups is not None,
    )


def _relevant(labels: NDArray[np.integer[Any]], image: int) -> NDArray[np.bool_]:
    """Return which images share a label with one."""
    if labels.ndim == 1:
        return np.asarray(labels == labels[image])
    return np.asarray((labels[:, labels[image] > 0] > 0).any(axis=1))


def _first(cosines: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    """Return the places of the largest cosines."""
    depth = min(depth, len(cosines))
    return np.asarray(np.argpartition(-cosines, depth - 1)[:depth])


def _average_precision(relevant: NDArray[np.bool_], cosines: NDArray[np.float32]) -> float:
    """Return the average precision of one order."""
    areas = ranking_areas(rank_rows(relevant, cosines), np.ones((len(relevant), 1)))
    return float(areas[1][0])


def _chance(num_relevant: int, count: int, depth: int) -> float:
    """Return how likely one of `depth` drawn images is relevant."""
    drawn = np.arange(min(depth, count))
    missed = np.clip((count - num_relevant - drawn) / (count - drawn), 0, 1)
    return float(1 - np.prod(missed))


def _mean(values: NDArray[np.float64], groups: NDArray[Any] | None, *, seed: int) -> Estimate:
    """Return the mean of numbers from 0 to 1 with its bootstrap interval."""
    blocks = bootstrap_weights(len(values), groups=groups, num_resamples=_RESAMPLES, seed=seed)
    resampled = np.concatenate([values @ weights / weights.sum(axis=0) for weights in blocks])
    units = len(values) if groups is None else len(np.unique(groups))
    estimate = percentile_estimate(float(values.mean()), resampled, units=units)
    assert estimate is not None  # there is a value
    return estimate
