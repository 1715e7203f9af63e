"""Is a picture of the kind that the model was trained on? The nearest training images say.

The score is one less the cosine to the k-th nearest training image, between pooled features of
length 1 (Sun et al., ICML 2022, https://arxiv.org/abs/2204.06507). Its threshold is the rank
statistic of validation scores above which another image of that kind comes at most as often as was
stated, on average over draws of the validation images; of the one threshold that there is, the rate
has a Beta distribution (Vovk 2012, https://arxiv.org/abs/1209.2673; for this use Bates et al. 2023,
https://arxiv.org/abs/2104.08279).
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import unit_rows
from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.unknown import FALSE_ALARMS

# Training images that are remembered: 1,280 features of each are 2.5 MB as float16.
MOST_KNOWN = 1_000
_MOST_NEIGHBOURS = 10
# What damaged bytes of an archive, or an archive of something else, are answered with.
_DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, SyntaxError, zlib.error, zipfile.BadZipFile),
)


@dataclass(frozen=True, eq=False)
class Novelty:
    """What is needed to tell pictures of another kind.

    Attributes:
        known: float16 of shape (m, num_features): features of training images, of length 1.
        num_neighbours: k: which of the nearest counts, 1 or more.
        threshold: What scores above this is called unknown; infinity where validation images were
            too few to promise anything.
        num_validation: Images that the threshold is from.
    """

    known: NDArray[np.float16] = field(repr=False)
    num_neighbours: int
    threshold: float
    num_validation: int

    def scores(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return how far images are from all that is known, 0..2.

        Args:
            features: Float of shape (n, num_features), pooled features of the same network.

        Example:
            >>> novelty = fit_novelty(np.eye(4), np.eye(4), num_neighbours=1)
            >>> novelty.scores(np.array([[2.0, 0, 0, 0], [-1, -1, -1, -1]])).round(3).tolist()
            [0.0, 1.5]
        """
        nearness = unit_rows(features) @ self.known.astype(np.float32).T
        kth = np.partition(nearness, -self.num_neighbours, axis=1)[:, -self.num_neighbours]
        return np.asarray(1 - kth, np.float32)


def choose_num_neighbours(class_counts: NDArray[np.integer[Any]]) -> int:
    """Return which neighbour counts: the tenth, or one that small classes have themselves.

    Args:
        class_counts: How many known images each class has; classes without any do not count.

    Example:
        >>> choose_num_neighbours(np.array([300, 40])), choose_num_neighbours(np.array([300, 7]))
        (10, 3)
    """
    counts = class_counts[class_counts > 0]
    smallest = int(counts.min()) if len(counts) else 1
    return max(1, min(_MOST_NEIGHBOURS, smallest // 2))


def fit_novelty(
    known: NDArray[np.floating[Any]],
    validation: NDArray[np.floating[Any]],
    *,
    num_neighbours: int,
) -> Novelty:
    """Remember training images, and find the threshold on validation images.

    Args:
        known: Float of shape (m, num_features): pooled features of training images.
        validation: Float of shape (n, num_features): of images that were not trained on. From 19
            on there is a threshold: of fewer not even the largest score keeps the promise.
        num_neighbours: See `choose_num_neighbours`; m at most.

    Raises:
        DataError: There is no known image, or fewer than `num_neighbours`.

    Example:
        >>> random = np.random.default_rng(0)
        >>> known, validation, test = (random.normal(3, 1, (200, 8)) for _ in range(3))
        >>> novelty = fit_novelty(known, validation, num_neighbours=5)
        >>> bool(np.mean(novelty.scores(test) > novelty.threshold) < 0.1)
        True
    """
    if not 1 <= num_neighbours <= len(known):
        raise DataError(
            f"`num_neighbours` must be from 1 to the number of known images, {len(known)}; "
            f"received {num_neighbours}."
        )
    # From what is remembered, so that the threshold fits the very numbers that answer later.
    novelty = Novelty(
        unit_rows(known).astype(np.float16), num_neighbours, math.inf, len(validation)
    )
    threshold = rank_statistic(novelty.scores(validation))
    return Novelty(novelty.known, num_neighbours, threshold, len(validation))


def rank_statistic(
    scores: NDArray[np.floating[Any]], *, exceeded_by: float = FALSE_ALARMS
) -> float:
    """Return the score that another one of the same kind exceeds as rarely as stated.

    On average over draws of the scores, if all are exchangeable.

    Args:
        scores: Float of shape (n,).
        exceeded_by: Part of the cases, above 0 and below 1.

    Returns:
        One of the scores; infinity where they are too few for any of them.

    Example:
        >>> rank_statistic(np.arange(19.0)), rank_statistic(np.arange(18.0))
        (18.0, inf)
        >>> rank_statistic(np.arange(99.0), exceeded_by=0.1)
        89.0
    """
    rank = _rank(len(scores), exceeded_by)
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])


def _rank(num_validation: int, exceeded_by: float = FALSE_ALARMS) -> int:
    """Return which of the sorted scores is the threshold; more than there are where none is."""
    # Rounding must not ask for one more: 100 * (1 - 0.1) is 90.
    return math.ceil((num_validation + 1) * (1 - exceeded_by) - 1e-9)


def likely_false_alarms(num_validation: int, *, confidence: float = 0.95) -> float | None:
    """Return up to which rate a threshold may call images of its own kind unknown.

    On average over draws of the validation images it is 5 % at most; of 19 runs in 20 it is below
    this (Vovk 2012: the rate has the distribution Beta(n + 1 - rank, rank)).

    Args:
        num_validation: Independent images that the threshold is from.
        confidence: Part of the runs.

    Returns:
        0..1; None where there is no threshold.

    Example:
        >>> [round(likely_false_alarms(n), 3) for n in (19, 300, 10_000)]
        [0.146, 0.072, 0.054]
    """
    from scipy.stats import beta  # slow to import

    rank = _rank(num_validation)
    if rank > num_validation:
        return None
    return float(beta.ppf(confidence, num_validation + 1 - rank, rank))


def _checked(novelty: Novelty) -> Novelty:
    """Refuse what cannot answer; ValueError."""
    if novelty.known.ndim != 2 or not np.isfinite(novelty.known).all():
        raise ValueError("known features must be finite numbers of shape (m, num_features)")
    if not 1 <= novelty.num_neighbours <= len(novelty.known):
        raise ValueError("num_neighbours must be from 1 to the number of known images")
    if math.isnan(novelty.threshold):
        raise ValueError("the threshold is not a number")
    return novelty


def write_novelty(path: Path, novelty: Novelty) -> None:
    """Write it as NumPy's .npz file.

    Args:
        path: A new file.
        novelty: What to write.
    """
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            known=novelty.known,
            num_neighbours=novelty.num_neighbours,
            threshold=novelty.threshold,
            num_validation=novelty.num_validation,
        )


def read_novelty(path: Path) -> Novelty:
    """Read what `write_novelty` wrote.

    Args:
        path: The file.

    Raises:
        ConfigError: It is damaged.
        FileNotFoundError: There is none.
    """
    try:
        # Opened here: NumPy would leave a file open that is no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return _checked(
                Novelty(
                    np.asarray(file["known"], np.float16),
                    int(file["num_neighbours"]),
                    float(file["threshold"]),
                    int(file["num_validation"]),
                )
            )
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise ConfigError(
            f"{str(path)!r} is damaged ({error}). Remove it to go on without a score of unknown "
            "pictures, or make the run again."
        ) from None
