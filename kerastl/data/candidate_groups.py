"""What may have been taken together: by folder, by file name, or by place in a run of files."""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kerastl.data.leakage import LARGEST_SHARE, SMALLEST_NUM_HELD_OUT, LeakTest, file_ranks

# Folders or names explain a leak if so many of the sisters in file order are of one group.
_SMALLEST_EXPLAINED = 0.8

# Of two random places in a block of length B, 90 % are less than 0.68 B apart.
_LAG_QUANTILE = 0.9
_LAG_PER_LENGTH = 1 - (1 - _LAG_QUANTILE) ** 0.5

# A run is no longer than this part of its folder, so that there are groups to divide.
_LARGEST_RUN_FRACTION = 0.1


def folder_groups(ids: tuple[str, ...]) -> NDArray[np.str_]:
    """Return the folder that each file is in, below what all have in common.

    Args:
        ids: Paths of images.

    Example:
        >>> folder_groups(("photos/cat/tom/1.png", "photos/cat/kit/1.png")).tolist()
        ['tom', 'kit']
    """
    folders = [os.path.dirname(name) for name in ids]
    # Paths without a folder, or from the root and from here, have nothing in common.
    related = all(folders) and len({os.path.isabs(folder) for folder in folders}) == 1
    common = os.path.commonpath(folders) if related else ""
    below = [os.path.relpath(folder, common) if common else folder for folder in folders]
    return np.array(["" if folder == "." else folder for folder in below])


def name_groups(ids: tuple[str, ...]) -> NDArray[np.str_]:
    """Return what file names start with, before their last number.

    Args:
        ids: Paths of images.

    Example:
        >>> name_groups(("a/patient07_003.png", "b/patient12_1_left.png")).tolist()
        ['patient07_', 'patient12_']
    """
    stems = [os.path.splitext(os.path.basename(name))[0] for name in ids]
    return np.array([re.sub(r"\d+\D*$", "", stem) for stem in stems])


def run_groups(
    ids: tuple[str, ...], classes: NDArray[np.int64], nearest: NDArray[np.int64]
) -> NDArray[np.str_]:
    """Return blocks of files that follow each other, per folder.

    How long the blocks are is read from the images: within how many files lie 90 % of the
    nearest training images that are beyond chance? Where one series ends and the next
    begins is not known, so some blocks hold the end of one and the start of another.

    Args:
        ids: Paths of images.
        classes: int64 of shape (n,).
        nearest: int64 of shape (n,), see `kerastl.data.leakage.nearest_training_rows`.

    Example:
        >>> nearest = np.where(np.arange(400) % 3 == 0, np.arange(400) // 8 * 8 + 4, -1)
        >>> groups = run_groups(tuple(map(str, range(400))), np.zeros(400, int), nearest)
        >>> groups[:2].tolist()
        ['1-6', '1-6']
    """
    folders = folder_groups(ids)
    codes = np.unique(folders, return_inverse=True)[1]
    order = np.lexsort((file_ranks(ids), codes))
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    places = np.empty(len(ids), np.int64)
    places[order] = np.arange(len(ids)) - starts[codes[order]]
    length = _run_length(places, codes, classes, nearest)
    sizes = np.bincount(codes)
    names = []
    for row in range(len(ids)):
        size = int(sizes[codes[row]])
        # Blocks of one folder are equally long, not 60, 60, ... and 3.
        blocks = max(1, round(size / min(length, max(2, size * _LARGEST_RUN_FRACTION))))
        number = int(places[row]) * blocks // size
        first, last = -(-number * size // blocks) + 1, -(-(number + 1) * size // blocks)
        names.append(f"{folders[row]} {first}-{last}".strip())
    return np.array(names)


def suggest_groups(
    ids: tuple[str, ...],
    classes: NDArray[np.int64],
    nearest: NDArray[np.int64],
    *,
    tests: dict[str, LeakTest],
    copies: NDArray[np.int64],
) -> tuple[NDArray[np.str_], str]:
    """Return what a split should not tear apart, and what it was read from.

    Folders or file names, if their test is suspicious and they explain what the order of files
    shows; otherwise runs of files. Groups that share copies become one.

    Args:
        ids: Paths of images.
        classes: int64 of shape (n,).
        nearest: int64 of shape (n,), see `kerastl.data.leakage.nearest_training_rows`.
        tests: By "order", "folders" and "file names".
        copies: int64 of shape (n,): rows that are copies of each other have one number.

    Returns:
        Text of shape (n,), and "folders", "file names" or "runs of rows".
    """
    candidates = {"folders": folder_groups(ids), "file names": name_groups(ids)}
    for name, groups in candidates.items():
        if tests[name].suspicious and _explained(groups, nearest, ids) >= _SMALLEST_EXPLAINED:
            return merge_copies(_without_large(groups, classes), copies), name
    return merge_copies(run_groups(ids, classes, nearest), copies), "runs of rows"


def merge_copies(groups: NDArray[np.str_], copies: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return groups of which none is torn apart by copies: those that share one are united.

    Args:
        groups: Text of shape (n,).
        copies: int64 of shape (n,): rows that are copies of each other have one number.

    Returns:
        Text of shape (n,): united groups bear the name of the first of them.

    Example:
        >>> merge_copies(np.array(["a", "b", "c"]), np.array([0, 1, 0])).tolist()
        ['a', 'b', 'a']
    """
    names, codes = np.unique(groups, return_inverse=True)
    links = (codes, len(names) + copies)
    size = len(names) + int(copies.max()) + 1
    graph = coo_array((np.ones(len(codes)), links), shape=(size, size))
    united = connected_components(graph, directed=False)[1][: len(names)]
    first = np.unique(united, return_index=True)[1]
    return np.asarray(names[first][np.unique(united, return_inverse=True)[1]][codes], np.str_)


def _without_large(groups: NDArray[np.str_], classes: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return groups, with those that are most of a class broken up into single images."""
    names, codes = np.unique(groups, return_inverse=True)
    pairs, place, counts = np.unique(
        codes * (classes.max() + 1) + classes, return_inverse=True, return_counts=True
    )
    class_sizes = np.bincount(classes)[pairs % (classes.max() + 1)]
    # A rare class may well come from one patient; that patient stays whole.
    large = (counts > LARGEST_SHARE * class_sizes) & (class_sizes >= SMALLEST_NUM_HELD_OUT)
    singles = [f"{names[code]} {row}" for row, code in enumerate(codes.tolist())]
    return np.where(np.isin(codes, codes[large[place]]), np.array(singles), groups)


def _explained(groups: NDArray[np.str_], nearest: NDArray[np.int64], ids: tuple[str, ...]) -> float:
    """Return how many of the sisters that stand beside an image are of its group."""
    ranks = file_ranks(ids)
    rows = np.flatnonzero(nearest >= 0)
    beside = rows[np.abs(ranks[rows] - ranks[nearest[rows]]) <= 2]
    if not len(beside):
        return 1.0
    return float((groups[beside] == groups[nearest[beside]]).mean())


def _run_length(
    places: NDArray[np.int64],
    folders: NDArray[np.int64],
    classes: NDArray[np.int64],
    nearest: NDArray[np.int64],
) -> int:
    """Return how many files in a row seem to belong together."""
    rows = np.flatnonzero(nearest >= 0)
    partners = nearest[rows]
    rng = np.random.default_rng(0)
    members = {number: np.flatnonzero(classes == number) for number in np.unique(classes[rows])}
    drawn = np.array([rng.choice(members[number]) for number in classes[rows].tolist()])
    lags = np.arange(1, int(places.max()) + 2)
    found, chance = (
        np.searchsorted(
            np.sort(np.abs(places[rows] - places[other])[folders[rows] == folders[other]]),
            lags,
            "right",
        )
        / len(rows)
        for other in (partners, drawn)
    )
    excess = found - chance
    reach = int(lags[np.argmax(excess >= _LAG_QUANTILE * excess.max())])
    return max(2, round(reach / _LAG_PER_LENGTH))
