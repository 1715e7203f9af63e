"""How well features fit labels, without fitting a classifier: the evidence of a linear model.

LogME (You et al., ICML 2021, https://arxiv.org/abs/2102.11005): the largest logarithm of the
probability of the labels under Bayesian linear regression on the features, per image, mean over
classes; found by the fixed point of their later paper (JMLR 23:1, 2022, algorithm 3). It takes
all images at once and has no folds, so that it says something else than a cross-validated score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

_MOST_STEPS = 100
# Of the ratio of the two precisions, from one step to the next.
_TOLERANCE = 1e-4
# Directions whose share of the largest eigenvalue is less hold rounding errors alone.
_SMALLEST_EIGENVALUE = 1e-10
# Labels that features explain fully, or not at all, would make a precision infinite or 0.
_SMALLEST = 1e-12


def log_evidence(features: NDArray[np.floating[Any]], labels: NDArray[Any]) -> float:
    """Return the log-evidence of a linear model, in nats per image, mean over classes.

    Features are taken as they are: the model has no offset of its own, and its prior is centred
    on 0. Of two networks on the same images, the one with more is expected to transfer better; the
    number by itself says nothing.

    Args:
        features: Float of shape (n, num_features), finite.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(60) % 2
        >>> noise = rng.normal(size=(60, 4))
        >>> log_evidence(noise + labels[:, None], labels) > log_evidence(noise, labels)
        True
    """
    matrix = np.asarray(features, np.float64)
    # What is best does not depend on the scale of features; the limits of precisions below do.
    matrix = matrix / max(float(np.sqrt(np.mean(matrix**2))), 1e-300)
    targets = labels if labels.ndim == 2 else np.eye(int(labels.max()) + 1)[labels]
    eigenvalues, projections = _spectrum(matrix, np.asarray(targets, np.float64))
    rest = np.maximum((targets.astype(np.float64) ** 2).sum(axis=0) - projections.sum(axis=0), 0)
    return float(
        np.mean(
            [
                _largest_evidence(eigenvalues, projections[:, column], rest[column], len(matrix))
                for column in range(targets.shape[1])
            ]
        )
    )


def _spectrum(
    matrix: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the squared singular values, and the squared part of each target along each."""
    wide = matrix.shape[1] > matrix.shape[0]
    eigenvalues, vectors = eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    kept = eigenvalues > _SMALLEST_EIGENVALUE * max(float(eigenvalues[-1]), 1e-300)
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    left = vectors if wide else matrix @ vectors / np.sqrt(eigenvalues)
    return eigenvalues, (left.T @ targets) ** 2


def _largest_evidence(
    eigenvalues: NDArray[np.float64],
    squares: NDArray[np.float64],
    rest: float,
    num_images: int,
) -> float:
    """Return the evidence per image at the best precision of the prior and of the noise.

    Args:
        eigenvalues: Squared singular values of the features that are not 0.
        squares: Squared part of the target along each of their directions.
        rest: Squared part of the target outside all of them.
        num_images: n.
    """
    prior, noise, evidence = 1.0, 1.0, -math.inf
    for _ in range(_MOST_STEPS):
        ratio = prior / noise
        effective = float((eigenvalues / (eigenvalues + ratio)).sum())
        weights = float((eigenvalues * squares / (eigenvalues + ratio) ** 2).sum())
        residual = float((squares * (ratio / (eigenvalues + ratio)) ** 2).sum()) + rest
        prior = max(effective, _SMALLEST) / max(weights, _SMALLEST)
        noise = max(num_images - effective, _SMALLEST) / max(residual, _SMALLEST)
        # Of the weights and residual of the former ratio: at the fixed point it is the evidence.
        evidence = 0.5 * (
            len(eigenvalues) * math.log(prior)
            + num_images * math.log(noise)
            - float(np.log(prior + noise * eigenvalues).sum())
            - noise * residual
            - prior * weights
            - num_images * math.log(2 * math.pi)
        )
        if abs(prior / noise - ratio) <= _TOLERANCE * ratio:
            break
    return evidence / num_images
