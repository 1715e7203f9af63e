"""Areas under the ROC and the precision-recall curve, of many resamples at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True)
class Ranking:
    """Where the rows stand among the scores of the positives.

    Only the order between positives and negatives counts for both areas, so each
    negative is put below, at or above one of the K distinct scores of positives.

    Attributes:
        bins: int32 of shape (n,). 0..2K for negatives: 2k below the k-th score and above
            the one before it, 2k + 1 at it; 2K + 1 + k for positives with the k-th score.
        num_scores: K.
    """

    bins: NDArray[np.int32] = field(repr=False)
    num_scores: int


def rank_rows(positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]]) -> Ranking:
    """Return where the rows stand.

    Args:
        positive: bool of shape (n,).
        scores: Float of shape (n,): larger for what is rather positive.

    Example:
        >>> rank_rows(np.array([True, False, False]), np.array([0.5, 0.5, 0.1])).bins
        array([3, 1, 0], dtype=int32)
    """
    distinct = np.unique(scores[positive])
    below = np.searchsorted(distinct, scores, side="left")
    tied = np.searchsorted(distinct, scores, side="right") > below
    bins = np.where(positive, 2 * len(distinct) + 1 + below, 2 * below + tied)
    return Ranking(bins.astype(np.int32), len(distinct))


def ranking_areas(
    ranking: Ranking, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the area under the ROC curve and the average precision of weighted rows.

    The first is the probability that a positive scores above a negative, ties counted
    half (Hanley and McNeil, Radiology 143:29, 1982). The second is the sum over the
    scores, from the largest, of precision times gain in recall, without interpolation
    (as `sklearn.metrics.average_precision_score`).

    Args:
        ranking: From `rank_rows`.
        weights: float64 of shape (n, b): how often each of b resamples holds each row.

    Returns:
        Two float64 of shape (b,): the first not a number where positives or negatives
        are missing, the second where positives are.

    Example:
        >>> ranking = rank_rows(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]))
        >>> roc, precision_recall = ranking_areas(ranking, np.ones((3, 1)))
        >>> roc.tolist(), precision_recall.round(3).tolist()
        ([0.5], [0.833])
    """
    size, num_rows = ranking.num_scores, len(ranking.bins)
    # One column for each row, with its one entry: the sum of weights in each bin.
    adder = sparse.csc_array(
        (np.ones(num_rows), ranking.bins, np.arange(num_rows + 1)), shape=(3 * size + 1, num_rows)
    )
    sums = np.asarray(adder @ weights)
    positives, upto = sums[2 * size + 1 :], np.cumsum(sums[: 2 * size + 1], axis=0)
    num_positives, num_negatives = positives.sum(axis=0), upto[-1]
    below, at_or_below = upto[0:-1:2], upto[1::2]
    won = (positives * (below + at_or_below)).sum(axis=0) / 2
    true_above = np.cumsum(positives[::-1], axis=0)[::-1]
    found = true_above + (num_negatives - below)
    precision = np.divide(true_above, found, out=np.zeros_like(found), where=found > 0)
    return (
        ratio(won, num_positives * num_negatives),
        ratio((positives * precision).sum(axis=0), num_positives),
    )


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return part / whole, not a number where the whole is 0.

    Args:
        part: Float array.
        whole: Of the same shape, 0 or more.

    Example:
        >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
        [0.5, nan]
    """
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
