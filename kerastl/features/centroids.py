"""Nearest centroids: the classifier for a handful of images per class.

SimpleShot (Wang et al. 2019, https://arxiv.org/abs/1911.04623): features less their mean, brought
to length 1; an image is of the class whose mean is nearest. Here the mean is that of the classes
at hand, not of another data set's, and the means too have length 1: then what is nearest is what
has the largest product, and the whole is a Dense layer like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from kerastl.data.nearest import unit_rows

# What cosines are multiplied by before the softmax; 0.1 is no opinion, 1,000 no doubt.
SCALES = np.logspace(-1, 3, 41)


@dataclass(frozen=True)
class Centroids:
    """Nearest centroids as a linear classifier on features.

    Attributes:
        kernel: float32 of shape (num_features, num_classes).
        bias: float32 of shape (num_classes,).
        scale: What products with centroids are multiplied by, over the mean length of a centred
            feature.
        out_of_fold: float32 of shape (n, num_classes): probabilities of each image from the
            centroids of the images outside its fold.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    scale: float
    out_of_fold: NDArray[np.float32]


def fit_centroids(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, folds: NDArray[np.int64]
) -> Centroids:
    """Return the centroids, as sure as the held-out folds say that they may be.

    Args:
        features: float32 of shape (n, num_features).
        labels: int64 of shape (n,), 0..num_classes-1, every class present outside each fold.
        folds: int64 of shape (n,): the fold that each image is held out in.

    Example:
        >>> labels = np.arange(12) % 3
        >>> features = np.eye(3, 5)[labels] + np.random.default_rng(0).normal(0, 0.1, (12, 5))
        >>> found = fit_centroids(features.astype(np.float32), labels, folds=np.arange(12) // 3)
        >>> (features @ found.kernel + found.bias).argmax(axis=1).tolist() == labels.tolist()
        True
    """
    num_classes = int(labels.max()) + 1
    held_out = np.empty((len(features), num_classes), np.float64)
    for fold in np.unique(folds):
        outside = folds == fold
        kernel, bias = _centroids(features[~outside], labels[~outside], num_classes)
        held_out[outside] = features[outside] @ kernel + bias
    scale = _scale(held_out, labels)
    kernel, bias = _centroids(features, labels, num_classes)
    return Centroids(
        kernel=(scale * kernel).astype(np.float32),
        bias=(scale * bias).astype(np.float32),
        scale=scale,
        out_of_fold=_probabilities(scale * held_out),
    )


def leave_one_out_folds(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return folds that hold one image of each class out at a time.

    With one image alone out, its own class would be the smallest of those that are left: a
    classifier that heeds how many there are would look worse than it is.

    Args:
        labels: int64 of shape (n,).

    Returns:
        int64 of shape (n,): as many folds as the largest class has images.

    Example:
        >>> leave_one_out_folds(np.array([0, 0, 1, 0, 1])).tolist()
        [0, 1, 0, 2, 1]
    """
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(len(rows))
    return folds


def _centroids(
    features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return kernel and bias: the product of a centred feature with each centroid."""
    members = np.eye(num_classes)[labels] / np.bincount(labels, minlength=num_classes)
    # Every class counts the same in what is called the middle.
    mean = (members.T @ features).mean(axis=0)
    centred = features - mean
    kernel = unit_rows(members.T @ unit_rows(centred)).T.astype(np.float64)
    length = float(np.linalg.norm(centred, axis=1).mean())
    kernel /= length if length > 0 else 1.0
    return kernel, -mean @ kernel


def _scale(held_out: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return what products with centroids are multiplied by: how sure so few images can make one.

    That of the smallest log-loss of the images left out would have no end where all of them are
    right. So what is aimed at is not certainty but Laplace's rule of succession, as in Platt's
    scaling (Platt 1999, "Probabilistic outputs for support vector machines", section 2.2): after n
    images of which all were right, the next one is with probability (n + 1)/(n + 2).
    """
    num_images, num_classes = held_out.shape
    doubt = 1 / (num_images + 2)
    targets = np.full(held_out.shape, doubt / max(1, num_classes - 1))
    targets[np.arange(num_images), labels] = 1 - doubt
    losses = [-(targets * log_softmax(scale * held_out, axis=1)).sum() for scale in SCALES]
    return float(SCALES[int(np.argmin(losses))])


def _probabilities(logits: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(softmax(logits, axis=1), np.float32)
