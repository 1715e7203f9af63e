"""What a finished probe run knows: its last layer, and features of images of all its classes."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from kerastl.data.nearest import unit_rows
from kerastl.data.splits import fold_rows
from kerastl.deploy.runs import FinishedRun
from kerastl.errors import DataError
from kerastl.features.centroids import fit_centroids
from kerastl.features.novelty import Novelty, choose_num_neighbours, fit_novelty
from kerastl.features.probe import fit_probe
from kerastl.models.classifier import parts_of
from kerastl.recorded_answers import RecordedSplit, recorded_split
from kerastl.recorded_images import recorded_pixels
from kerastl.training.few_images import MOST_OF_A_CLASS, are_few, few_image_folds

# Training images that a new class is told from, and test images that say what it takes from the
# others: more would make seconds into minutes.
_LEAST_KNOWN, _KNOWN_OF_A_CLASS, _MOST_ASKED = 100, 5, 100
_FEWEST_KNOWN = 10
_NUM_FOLDS = 5
_MOST_VALIDATION = 300
_SMALLEST_PROBABILITY = 1e-7

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class KnownClasses:
    """What a run knows.

    Attributes:
        kernel: float32 of shape (num_features, num_classes), of the last layer.
        bias: float32 of shape (num_classes,).
        train: float32 of shape (n, num_features), of training images.
        labels: int64 of shape (n,), of these.
        evidence: float64 of shape (n,): what the known classes together say of each of these
            (the logsumexp of their logits) if it had no part in the fit; None where there are too
            many for that.
        test: float32 of shape (num_test, num_features), of test images.
        test_names: Of these.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    train: NDArray[np.float32]
    labels: NDArray[np.int64]
    evidence: NDArray[np.float64] | None
    test: NDArray[np.float32]
    test_names: tuple[str, ...]


def know_classes(
    run: FinishedRun,
    read: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    are_centroids: bool,
) -> KnownClasses:
    """Return what a run knows, from its own images.

    All training images of a small run, 5 of each class and 100 in all of a larger one; up to 100
    test images.

    Args:
        run: Whose kept model is the probe.
        read: From pixels to pooled features.
        are_centroids: Whether the head was fitted as nearest centroids.

    Raises:
        DataError: Too few training images can be read, or none of one class.
    """
    num_classes = len(run.class_names)
    recorded = recorded_split(run.path, "train")
    largest_small = max(_LEAST_KNOWN, MOST_OF_A_CLASS * num_classes)
    is_small = len(recorded.names) <= largest_small
    most = largest_small if is_small else max(_LEAST_KNOWN, _KNOWN_OF_A_CLASS * num_classes)
    names, pixels = recorded_pixels(run.path, "train", most=most, of_each=_KNOWN_OF_A_CLASS)
    place = {name: index for index, name in enumerate(run.class_names)}
    label_of = dict(zip(recorded.names, recorded.labels, strict=True))
    labels = np.array([place[label_of[name]] for name in names], np.int64)
    _require_all_classes(run, labels)
    test_names, test_pixels = recorded_pixels(run.path, "test", most=_MOST_ASKED)
    kernel, bias = parts_of(run.model).output.get_weights()
    train = read(pixels)
    evidence = None
    if is_small and len(names) == len(recorded.names) and np.bincount(labels).min() > 1:
        groups = _groups(recorded, names)
        own = held_out_evidence(train, labels, groups=groups, are_centroids=are_centroids)
        # A softmax says nothing of what is common to all logits; the last layer itself does.
        evidence = own + (train @ kernel + bias).mean(axis=1)
    return KnownClasses(kernel, bias, train, labels, evidence, read(test_pixels), test_names)


def larger_novelty(
    run: FinishedRun,
    features: NDArray[np.float32],
    read: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> Novelty | None:
    """Return what tells pictures of another kind, once a class more is known.

    With fewer images of the new class than neighbours count, each of them would be called unknown:
    then a nearer neighbour counts, and the threshold is found anew on validation images.

    Args:
        run: Before the class was added.
        features: float32 of shape (num_new, num_features), of the new class.
        read: From pixels to pooled features.

    Returns:
        None where the run has none.
    """
    if (old := run.novelty) is None:
        return None
    known = np.concatenate([old.known, unit_rows(features).astype(np.float16)])
    neighbours = choose_num_neighbours(np.array([len(features)]))
    if neighbours >= old.num_neighbours:
        return dataclasses.replace(old, known=known)
    _, pixels = recorded_pixels(run.path, "val", most=_MOST_VALIDATION)
    found = fit_novelty(known, read(pixels), num_neighbours=neighbours)
    if math.isinf(found.threshold) and not math.isinf(old.threshold):
        logger.warning(
            "No image is called unknown any more: %d validation images of the run can be read, too "
            "few for a threshold that %d images of the new class ask for.",
            len(pixels),
            len(features),
        )
    return found


def held_out_evidence(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.str_] | None,
    are_centroids: bool,
) -> NDArray[np.float64]:
    """Return what the classes together say of each image, by a head that was fitted without it.

    A head is surer of what it was fitted to than of other images. A class that is added with that
    sureness for the standard is told from the known ones too easily, and takes fresh images from
    them: with 5 digits of each of 3 classes and 20 of a new one 91 % of fresh known digits were
    right before, 82 % after, and with this evidence 87 % (means of 4 draws, 96 pixels).

    Args:
        features: float32 of shape (n, num_features).
        labels: int64 of shape (n,), 2 or more of each class.
        groups: Of shape (n,): images of one group are left out together.
        are_centroids: Whether the head is nearest centroids; logistic regression otherwise.

    Returns:
        float64 of shape (n,): the logsumexp of logits whose mean over the classes is 0.

    Example:
        >>> labels = np.arange(12) % 3
        >>> features = np.eye(3, 5)[labels] + np.random.default_rng(0).normal(0, 0.1, (12, 5))
        >>> evidence = held_out_evidence(
        ...     features.astype(np.float32), labels, groups=None, are_centroids=True
        ... )
        >>> bool(evidence.min() > np.log(3))
        True
    """
    if are_few(labels):
        folds = few_image_folds(labels, groups=groups, seed=0)
    else:
        folds = fold_rows(labels, groups=groups, num_folds=_NUM_FOLDS, seed=0)
    fit = fit_centroids if are_centroids else fit_probe
    probabilities = fit(features, labels, folds=folds).out_of_fold.astype(np.float64)
    logs = np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
    return np.asarray(logsumexp(logs - logs.mean(axis=1, keepdims=True), axis=1), np.float64)


def _require_all_classes(run: FinishedRun, labels: NDArray[np.int64]) -> None:
    """Refuse to go on where images of the known classes are missing."""
    num_classes = len(run.class_names)
    advice = "Bring them back to where they were, or fit anew with the new images beside them."
    if len(labels) < min(_FEWEST_KNOWN, 2 * num_classes):
        raise DataError(
            "The new class is told from the run's own training images, and only "
            f"{len(labels)} of them can be read. {advice}"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise DataError(
            "The new class is told from training images of each class, and of "
            f"{run.class_names[missing[0]]!r} none can be read. {advice}"
        )


def _groups(recorded: RecordedSplit, names: tuple[str, ...]) -> NDArray[np.str_] | None:
    """Return the groups of some images of a split."""
    if recorded.groups is None:
        return None
    group_of = dict(zip(recorded.names, recorded.groups, strict=True))
    return np.array([group_of[name] for name in names], str)
