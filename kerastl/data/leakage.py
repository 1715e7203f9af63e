"""Does a split tear apart what belongs together? Held-out images and their nearest training image.

If images that were taken together are on both sides, a held-out image finds its sister in
training far more often than chance would have it: accuracy is then partly memory. What was
taken together is not known, but it shows in the order of the files and in their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from kerastl.data.nearest import Neighbours, nearest_rows
from kerastl.data.table import natural_key

# A leak is suspected where the nearest training image is a sister this many times as often as
# by chance, by this part of all images more, and chance would do it less often than this.
# Measured on ELPV, 3 seeds: random splits have 52 to 58 % by features of EfficientNet-Lite0 and
# 48 to 52 % by thumbnails, against 1.5 to 2.6 % of chance. With whole (guessed) modules on one
# side 3 to 6 % against 0.3 % are left, at the borders of modules: that must be no finding.
SMALLEST_RATIO = 3.0
SMALLEST_EXCESS = 0.1
LARGEST_P_VALUE = 1e-4

# "Taken just before or after": so many files of the class either way, fewer in small classes,
# where ten files either way would be half of them.
LARGEST_WINDOW = 10
_WINDOW_FRACTION = 0.05

# A group of more than half of its class says nothing: "cat" in cat001.png, cat002.png, ...
LARGEST_SHARE = 0.5

# Fewer held-out images than these say nothing.
SMALLEST_NUM_HELD_OUT = 20
_LARGEST_NUM_HELD_OUT = 5000


@dataclass(frozen=True)
class LeakTest:
    """How often the nearest training image is a sister, and how often it would be by chance.

    Attributes:
        by: What makes two images sisters: "order", "folders", "file names" or "groups".
        num_rows: Held-out images that were looked at.
        observed: Part of them whose nearest training image of the class is a sister, 0..1.
        expected: The same for a training image of the class that is drawn at random.
        p_value: Probability of so many or more by chance: binomial with the mean of the
            chances, which above the mean is no smaller than for the unequal chances
            themselves (Hoeffding 1956, https://doi.org/10.1214/aoms/1177728178).
        window: Files before and after that count as near; 0 where `by` is not "order".
    """

    by: str
    num_rows: int
    observed: float
    expected: float
    p_value: float
    window: int = 0

    @property
    def suspicious(self) -> bool:
        """Whether this is far more than chance."""
        return (
            self.num_rows >= SMALLEST_NUM_HELD_OUT
            and self.p_value < LARGEST_P_VALUE
            and self.observed >= SMALLEST_RATIO * self.expected
            and self.observed - self.expected >= SMALLEST_EXCESS
        )


def nearest_training_rows(
    classes: NDArray[np.int64],
    splits: NDArray[np.str_],
    *,
    neighbours: Neighbours | None = None,
    units: NDArray[np.float32] | None = None,
    usable: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Return the most similar training row of the same class for every held-out row.

    Args:
        classes: int64 of shape (n,).
        splits: Text of shape (n,): "train", "val" or "test".
        neighbours: Of all n rows, by embedding. A row whose list has no training row of its
            class has no answer; 20 neighbours are enough for most.
        units: float32 of shape (n, length), rows of length 1: searched when there are no
            neighbours, for 5,000 held-out rows at most.
        usable: bool of shape (n,): which rows to look at; all when not given.
        seed: Of the choice of held-out rows.

    Returns:
        int64 of shape (n,): a row, or -1.

    Example:
        >>> units = np.eye(2, dtype=np.float32)[[0, 1, 0]]
        >>> splits = np.array(["train", "train", "test"])
        >>> nearest_training_rows(np.zeros(3, int), splits, units=units).tolist()
        [-1, -1, 0]
    """
    count = len(classes)
    usable = np.ones(count, np.bool_) if usable is None else usable
    train = (splits == "train") & usable
    held_out = np.flatnonzero(((splits == "val") | (splits == "test")) & usable)
    nearest = np.full(count, -1, np.int64)
    if neighbours is not None:
        rows = neighbours.rows[held_out]
        fits = (rows >= 0) & train[rows] & (classes[rows] == classes[held_out, np.newaxis])
        found = fits.any(axis=1)
        nearest[held_out[found]] = rows[found, fits.argmax(axis=1)[found]]
    elif units is not None:
        if len(held_out) > _LARGEST_NUM_HELD_OUT:
            rng = np.random.default_rng(seed)
            held_out = np.sort(rng.choice(held_out, _LARGEST_NUM_HELD_OUT, replace=False))
        for number in np.unique(classes[held_out]):
            queries = held_out[classes[held_out] == number]
            allowed = np.flatnonzero(train & (classes == number))
            found_rows = nearest_rows(
                units, num_neighbours=1, query_rows=queries, allowed_rows=allowed
            ).rows
            nearest[queries] = found_rows[:, 0]
    return nearest


def order_test(
    nearest: NDArray[np.int64],
    classes: NDArray[np.int64],
    splits: NDArray[np.str_],
    *,
    ranks: NDArray[np.int64],
    usable: NDArray[np.bool_] | None = None,
) -> LeakTest:
    """Return how often the nearest training image stands beside the held-out one.

    Beside: at most 10 files of the class before or after it, or 5 % of the class if that is
    less.

    Args:
        nearest: int64 of shape (n,), see `nearest_training_rows`.
        classes: int64 of shape (n,).
        splits: Text of shape (n,): "train", "val" or "test".
        ranks: int64 of shape (n,): place of every image in the order of files.
        usable: bool of shape (n,): which training rows could be chosen; all when not given.

    Example:
        >>> splits = np.array(["train", "test"] * 100)
        >>> nearest = np.where(splits == "test", np.arange(200) - 1, -1)
        >>> test = order_test(nearest, np.zeros(200, int), splits, ranks=np.arange(200))
        >>> test.observed, round(test.expected, 3), test.suspicious
        (1.0, 0.098, True)
    """
    train = splits == "train" if usable is None else (splits == "train") & usable
    hits: list[NDArray[np.bool_]] = []
    chances: list[NDArray[np.float64]] = []
    widest = 0
    for rows, queries in _by_class(nearest, classes):
        places = np.empty(len(classes), np.int64)
        places[rows[np.argsort(ranks[rows], kind="stable")]] = np.arange(len(rows))
        window = int(np.clip(round(_WINDOW_FRACTION * len(rows)), 1, LARGEST_WINDOW))
        widest = max(widest, window)
        standing = np.sort(places[rows[train[rows]]])
        own = places[queries]
        near = np.searchsorted(standing, own + window, "right") - np.searchsorted(
            standing, own - window, "left"
        )
        chances.append(near / len(standing))
        hits.append(np.abs(places[nearest[queries]] - own) <= window)
    return _tested("order", hits, chances, window=widest)


def group_test(
    nearest: NDArray[np.int64],
    classes: NDArray[np.int64],
    splits: NDArray[np.str_],
    *,
    groups: NDArray[np.str_],
    by: str,
    usable: NDArray[np.bool_] | None = None,
) -> LeakTest:
    """Return how often the nearest training image is of the group of the held-out one.

    Images whose group has more than half of the training images of their class are not counted.

    Args:
        nearest: int64 of shape (n,), see `nearest_training_rows`.
        classes: int64 of shape (n,).
        splits: Text of shape (n,): "train", "val" or "test".
        groups: Text of shape (n,): such as the folder of each file.
        by: What the groups are, for the result.
        usable: bool of shape (n,): which training rows could be chosen; all when not given.

    Example:
        >>> splits = np.array(["train", "test"] * 30)
        >>> nearest = np.where(splits == "test", np.arange(60) - 1, -1)
        >>> groups = (np.arange(60) // 6).astype(str)
        >>> test = group_test(nearest, np.zeros(60, int), splits, groups=groups, by="groups")
        >>> test.observed, round(test.expected, 6)
        (1.0, 0.1)
    """
    train = splits == "train" if usable is None else (splits == "train") & usable
    codes = np.unique(groups, return_inverse=True)[1]
    hits: list[NDArray[np.bool_]] = []
    chances: list[NDArray[np.float64]] = []
    for rows, queries in _by_class(nearest, classes):
        standing = codes[rows[train[rows]]]
        sisters = np.bincount(standing, minlength=codes.max() + 1)[codes[queries]]
        chance = sisters / len(standing)
        telling = chance <= LARGEST_SHARE
        chances.append(chance[telling])
        hits.append((codes[nearest[queries]] == codes[queries])[telling])
    return _tested(by, hits, chances)


def file_ranks(ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place of every name in natural order, int64 of shape (n,).

    Args:
        ids: Names of images.

    Example:
        >>> file_ranks(("a/10.png", "a/9.png", "b/1.png")).tolist()
        [1, 0, 2]
    """
    ranks = np.empty(len(ids), np.int64)
    ranks[sorted(range(len(ids)), key=lambda row: natural_key(ids[row]))] = np.arange(len(ids))
    return ranks


def _by_class(
    nearest: NDArray[np.int64], classes: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield all rows of a class, and those of them that have an answer."""
    answered = np.flatnonzero(nearest >= 0)
    for number in np.unique(classes[answered]):
        yield np.flatnonzero(classes == number), answered[classes[answered] == number]


def _tested(
    by: str,
    hits: list[NDArray[np.bool_]],
    chances: list[NDArray[np.float64]],
    *,
    window: int = 0,
) -> LeakTest:
    """Return the rates and the probability that chance gives so many."""
    hit = np.concatenate([*hits, np.empty(0, np.bool_)])
    if not len(hit):
        return LeakTest(by, 0, 0.0, 0.0, 1.0, window)
    expected = float(np.clip(np.concatenate(chances).mean(), 0, 1))
    p_value = binomtest(int(hit.sum()), len(hit), expected, alternative="greater").pvalue
    return LeakTest(by, len(hit), float(hit.mean()), expected, float(p_value), window)
