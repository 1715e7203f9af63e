"""Classes of very different sizes: what can be done, one remedy at a time.

Weights and balanced draws change what training pays attention to; logit adjustment changes
the answers of a model that was trained plainly. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, did_you_mean

NONE, SAMPLING, LOGIT_ADJUST = "none", "sampling", "logit-adjust"
WEIGHTINGS = ("balanced", "sqrt", "effective")
IMBALANCES = (NONE, *WEIGHTINGS, SAMPLING, LOGIT_ADJUST)

# Largest class over smallest, above which accuracy alone says little: of two classes at 3 to 1
# "always the larger" is right in 3 of 4 images.
LARGE_RATIO = 3.0

# Largest class over smallest, up to which classes count as equal: of two at 1.5 to 1, balanced
# weights are 0.83 and 1.25, and logit adjustment moves what is answered at 60 %, not 50 %.
EQUAL_RATIO = 1.5

# Cui et al. (CVPR 2019) try 0.9 to 0.9999: (N - 1) / N where a class has N different pictures
# to show. 0.999 is N = 1,000: below some hundred images it is almost `balanced`.
EFFECTIVE_BETA = 0.999


def check_imbalance(imbalance: str, *, multi_label: bool) -> str:
    """Return the name of a remedy, or say why it cannot be had.

    With several labels per image there is no class for an image to be weighted, drawn or
    adjusted by: each label is a question of its own, and for a question of yes or no a weight
    moves the answers as a threshold does. Those are chosen for each label anyway, see
    `kerastl.evaluation.thresholds`, and leave the probabilities as they are.

    Args:
        imbalance: What a user wrote.
        multi_label: Whether an image can have several classes.

    Raises:
        ConfigError: There is no such remedy, or it needs one class per image.

    Example:
        >>> check_imbalance("sqrt", multi_label=False)
        'sqrt'
    """
    if imbalance not in IMBALANCES:
        raise ConfigError(
            f"`imbalance` must be one of {', '.join(IMBALANCES)}; received "
            f"imbalance={imbalance!r}.{did_you_mean(imbalance, IMBALANCES)}"
        )
    if multi_label and imbalance != NONE:
        raise ConfigError(
            f"`imbalance` must be none where an image can have several labels; received "
            f"imbalance={imbalance!r}. Leave --imbalance away: rare labels get a threshold of "
            "their own, chosen on the validation images."
        )
    return imbalance


def class_weights(labels: NDArray[Any], *, num_classes: int, how: str) -> NDArray[np.float32]:
    """Return one weight per class, the larger the rarer; their mean over the rows is 1.

    A mean of 1 keeps the meaning of learning rates and penalties. With n_c rows of a class:

    - balanced: 1 / n_c, so that all classes weigh the same;
    - sqrt: the square root of that, half way on a logarithmic scale;
    - effective: (1 - β) / (1 - β^n_c), β = 0.999: as balanced for few rows, but from about
      1 / (1 - β) = 1,000 rows on more of them bring little that is new (Cui et al., CVPR 2019,
      https://arxiv.org/abs/1901.05555).

    A class without rows gets the weight of a class with one.

    Args:
        labels: int64 of shape (n,), 0..num_classes-1: the training rows.
        num_classes: Number of classes.
        how: "balanced", "sqrt" or "effective".

    Returns:
        float32 of shape (num_classes,), above 0.

    Raises:
        ConfigError: `how` is something else.

    Example:
        >>> for how in ("balanced", "sqrt"):
        ...     weights = class_weights(np.array([0] * 9 + [1]), num_classes=2, how=how)
        ...     [round(float(weight), 2) for weight in weights]
        [0.56, 5.0]
        [0.83, 2.5]
    """
    counts = _counts(labels, num_classes)
    if how == "balanced":
        weights = 1 / counts
    elif how == "sqrt":
        weights = counts**-0.5
    elif how == "effective":
        weights = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**counts)
    else:
        raise ConfigError(f"`how` must be one of {', '.join(WEIGHTINGS)}; received how={how!r}.")
    return (weights / weights[labels].mean()).astype(np.float32)


def loss_weights(
    labels: NDArray[Any], *, num_classes: int, imbalance: str
) -> NDArray[np.float32] | None:
    """Return the class weights that a remedy measures losses with; None for plain losses.

    Sampling has those of `balanced`: a mean over balanced draws is, on average, the mean that
    they weight. Logit adjustment trains and chooses plainly.

    Args:
        labels: int64 of shape (n,): the training rows.
        num_classes: Number of classes.
        imbalance: One of `IMBALANCES`.

    Example:
        >>> loss_weights(np.array([0, 0, 1, 1]), num_classes=2, imbalance="sampling").tolist()
        [1.0, 1.0]
    """
    if imbalance in (NONE, LOGIT_ADJUST):
        return None
    how = "balanced" if imbalance == SAMPLING else imbalance
    return class_weights(labels, num_classes=num_classes, how=how)


def log_priors(labels: NDArray[Any], *, num_classes: int) -> NDArray[np.float32]:
    """Return the logarithm of each class's share of the rows.

    A class without rows counts as one with a single row.

    Args:
        labels: int64 of shape (n,), 0..num_classes-1: the training rows.
        num_classes: Number of classes.

    Returns:
        float32 of shape (num_classes,), 0 or less.

    Example:
        >>> [round(float(p), 2) for p in np.exp(log_priors(np.array([0, 0, 0, 1]), num_classes=2))]
        [0.75, 0.25]
    """
    return np.log(_counts(labels, num_classes) / len(labels)).astype(np.float32)


def balanced_rows(labels: NDArray[Any], rows: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return as many rows as there are, drawn so that every class comes equally often.

    Within a class no row comes twice before all have come once. What does not divide by the
    number of classes goes to classes drawn by lot, one row each.

    Args:
        labels: int64 of shape (len(rows),): the class of each row.
        rows: int64: row numbers to draw from.
        seed: Of the draw; another seed for each epoch.

    Returns:
        int64 of shape (len(rows),), in random order.

    Example:
        >>> drawn = balanced_rows(np.array([0, 0, 0, 1]), np.arange(4), seed=0)
        >>> sorted(drawn.tolist())[2:]
        [3, 3]
    """
    rng = np.random.default_rng(seed)
    present = rng.permutation(np.unique(labels))
    share, rest = divmod(len(rows), len(present))
    drawn = []
    for place, label in enumerate(present):
        own = rows[labels == label]
        wanted = share + (place < rest)
        turns = [rng.permutation(own) for _ in range(-(-wanted // len(own)))]
        drawn.append(np.concatenate([*turns, own[:0]])[:wanted])
    return rng.permutation(np.concatenate(drawn))


def class_ratio(labels: NDArray[Any]) -> float:
    """Return how many times as many rows the largest class has as the smallest that has any.

    Args:
        labels: int64 of shape (n,).

    Example:
        >>> class_ratio(np.array([0, 0, 0, 2]))
        3.0
    """
    counts = np.bincount(labels)
    return float(counts.max() / counts[counts > 0].min())


def chosen_by(imbalance: str) -> str:
    """Return which loss on validation decides between epochs and models, in words.

    Args:
        imbalance: One of `IMBALANCES`.

    Example:
        >>> chosen_by("sampling")
        'class-weighted log-loss'
    """
    if imbalance == LOGIT_ADJUST:
        return "log-loss before the logit adjustment"
    return "log-loss" if imbalance == NONE else "class-weighted log-loss"


def _counts(labels: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """Return the rows of each class, at least 1."""
    return np.maximum(np.bincount(labels, minlength=num_classes), 1).astype(np.float64)
