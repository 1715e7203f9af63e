"""One class more for a linear classifier, which leaves the log-odds of the others as they are.

The logits of the known classes stay. That of the new one is fitted by penalised logistic
regression of "new or known", where what the known classes say together is a fixed offset: the
conditional maximum of the likelihood of the larger softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp
from threadpoolctl import threadpool_limits

from kerastl.data.splits import fold_rows
from kerastl.features.probe import standardisation

# Of the L2 penalty, from strong to weak, each fit beginning where the last one ended.
PENALTIES = np.logspace(4, -3, 15)
_NUM_FOLDS = 5
_MOST_STEPS = 200


@dataclass(frozen=True)
class AddedClass:
    """A class that was added.

    Attributes:
        kernel: float32 of shape (num_features,): its column of the last layer.
        bias: Its bias.
        penalty: The chosen strength of the L2 penalty.
        left_out: float32 of shape (num_new + num_known,): the probability of the new class for
            each image, new ones first, from a fit that did not see it.
    """

    kernel: NDArray[np.float32]
    bias: float
    penalty: float
    left_out: NDArray[np.float32]


def add_class(
    new: NDArray[np.float32],
    known: NDArray[np.float32],
    *,
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
    known_evidence: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> AddedClass:
    """Fit a class beside those of a linear classifier.

    All new images together weigh as much as one of the known classes does on average: as if there
    were as many of them.

    Args:
        new: float32 of shape (num_new, num_features), 2 or more: images of the new class.
        known: float32 of shape (num_known, num_features), 2 or more: some of the others.
        kernel: float32 of shape (num_features, num_classes), of the known classes.
        bias: float32 of shape (num_classes,).
        known_evidence: float64 of shape (num_known,): the logsumexp of the logits of each known
            image from a fit without it. Default: what kernel and bias give, which is too sure of
            images that they were fitted to.
        seed: Of the folds that the penalty is chosen by.

    Example:
        >>> random = np.random.default_rng(0)
        >>> known = random.normal(size=(40, 4)).astype(np.float32)
        >>> new = random.normal([5, 0, 0, 0], 1, (9, 4)).astype(np.float32)
        >>> found = add_class(new, known, kernel=np.zeros((4, 2), np.float32), bias=np.zeros(2))
        >>> bool((found.left_out[:9] > 0.5).all() and (found.left_out[9:] < 0.5).all())
        True
    """
    features = np.concatenate([new, known]).astype(np.float64)
    is_new = np.arange(len(features)) < len(new)
    evidence = logsumexp(features @ kernel.astype(np.float64) + bias, axis=1)
    if known_evidence is not None:
        evidence[len(new) :] = known_evidence
    offsets = -evidence
    num_classes = kernel.shape[1]
    weights = np.where(
        is_new, 1 / (len(new) * (num_classes + 1)), num_classes / (len(known) * (num_classes + 1))
    ) * len(features)
    mean, scale = standardisation(features.astype(np.float32))
    # Within the span of the images, of which there are fewer than features: an L2 penalty keeps
    # solutions there, and the steps are as many times shorter.
    rotated, lengths, axes = np.linalg.svd((features - mean) / scale, full_matrices=False)
    standard = rotated * lengths
    folds = fold_rows(
        is_new.astype(np.int64), num_folds=min(_NUM_FOLDS, int(is_new.sum())), seed=seed
    )
    # Threads of BLAS would wait for each other in products as small as these.
    with threadpool_limits(1, user_api="blas"):
        left_out = _held_out(standard, is_new, offsets, weights=weights, folds=folds)
        losses = -(log_expit(np.where(is_new, left_out, -left_out)) * weights).sum(axis=1)
        best = int(np.argmin(losses))
        coefficients = _fit(
            standard,
            is_new,
            offsets,
            weights=weights,
            penalty=float(PENALTIES[best]),
            start=np.zeros(standard.shape[1] + 1),
        )
    # Rotation and normalisation folded in, as in the probe.
    folded = (coefficients[:-1] @ axes) / scale
    return AddedClass(
        kernel=folded.astype(np.float32),
        bias=float(coefficients[-1] - mean @ folded),
        penalty=float(PENALTIES[best]),
        left_out=expit(left_out[best]).astype(np.float32),
    )


def _held_out(
    features: NDArray[np.float64],
    is_new: NDArray[np.bool_],
    offsets: NDArray[np.float64],
    *,
    weights: NDArray[np.float64],
    folds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the log-odds of each row by fits without its fold, of shape (penalties, rows)."""
    found = np.empty((len(PENALTIES), len(features)))
    for fold in np.unique(folds):
        inside = folds != fold
        coefficients = np.zeros(features.shape[1] + 1)
        for number, penalty in enumerate(PENALTIES):
            coefficients = _fit(
                features[inside],
                is_new[inside],
                offsets[inside],
                weights=weights[inside],
                penalty=float(penalty),
                start=coefficients,
            )
            found[number, ~inside] = _logits(features[~inside], offsets[~inside], coefficients)
    return found


def _logits(
    features: NDArray[np.float64], offsets: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the log-odds of "new" against all known classes together."""
    return features @ coefficients[:-1] + coefficients[-1] + offsets


def _fit(
    features: NDArray[np.float64],
    is_new: NDArray[np.bool_],
    offsets: NDArray[np.float64],
    *,
    weights: NDArray[np.float64],
    penalty: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the kernel and, last, the bias that minimise the penalised weighted loss."""
    signs = np.where(is_new, 1.0, -1.0)

    def loss_and_gradient(
        coefficients: NDArray[np.float64],
    ) -> tuple[float, NDArray[np.float64]]:
        margins = signs * _logits(features, offsets, coefficients)
        slopes = -signs * weights * expit(-margins)
        kernel = coefficients[:-1]
        loss = -float((weights * log_expit(margins)).sum()) + penalty * float(kernel @ kernel) / 2
        return loss, np.append(features.T @ slopes + penalty * kernel, slopes.sum())

    found = minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS}
    )
    return np.asarray(found.x, np.float64)
