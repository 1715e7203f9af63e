"""A handful of images per class: nearest centroids or the probe, by leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kerastl.data.splits import fold_rows
from kerastl.data.wording import counted
from kerastl.evaluation.intervals import Estimate, share
from kerastl.features.centroids import Centroids, fit_centroids, leave_one_out_folds
from kerastl.features.probe import Probe, log_loss_nats

# Training images of a class. With so few, centroids have won over probes as often as not (Wang et
# al. 2019, https://arxiv.org/abs/1911.04623, with 1 and 5).
MOST_OF_A_CLASS = 10
# What metrics.json calls the two heads.
CENTROIDS, REGRESSION = "nearest centroids", "logistic regression"


@dataclass(frozen=True)
class FewImages:
    """What was chosen where images are few, and how sure anybody can be.

    Attributes:
        centroids: The nearest centroids.
        are_chosen: Whether they are the head, in place of logistic regression.
        num_images: Training images.
        largest_class: Training images of the largest class.
        log_losses: Of centroids and of logistic regression, in nats per image, left out.
        accuracy: Of the one that was chosen, on images that were left out.
    """

    centroids: Centroids = field(repr=False)
    are_chosen: bool
    num_images: int
    largest_class: int
    log_losses: tuple[float, float]
    accuracy: Estimate

    @property
    def words(self) -> str:
        """What was chosen, why, and what the interval is."""
        names = (CENTROIDS, REGRESSION)
        first, second = names if self.are_chosen else names[::-1]
        losses = sorted(self.log_losses)
        value, low, high = (
            100 * one for one in (self.accuracy.value, self.accuracy.low, self.accuracy.high)
        )
        return (
            f"{counted(self.largest_class, 'training image')} per class at most: the probe is "
            f"{first}, whose leave-one-out log-loss is {losses[0]:.2f} ({second}: "
            f"{losses[1]:.2f}). Left out, {value:.0f} % of {self.num_images} are right; with so "
            f"few that means {low:.0f} to {high:.0f} %."
        )


def are_few(labels: NDArray[np.int64]) -> bool:
    """Tell whether images are so few that centroids are tried, and one of a class can be left out.

    Args:
        labels: int64 of shape (n,): of the training images; 0/1 of shape (n, num_classes) never
            are.

    Example:
        >>> are_few(np.arange(12) % 3), are_few(np.arange(90) % 3), are_few(np.arange(3))
        (True, False, False)
    """
    if labels.ndim != 1:
        return False
    counts = np.bincount(labels)
    return bool(counts.min() >= 2 and counts.max() <= MOST_OF_A_CLASS)


def few_image_folds(
    labels: NDArray[np.int64], *, groups: NDArray[np.str_] | None, seed: int
) -> NDArray[np.int64]:
    """Return folds that leave out as little as can be: one image of each class, or a group.

    Args:
        labels: int64 of shape (n,).
        groups: Of shape (n,): images of one group are left out together.
        seed: Of the folds of groups.
    """
    if groups is None:
        return leave_one_out_folds(labels)
    return fold_rows(labels, groups=groups, num_folds=MOST_OF_A_CLASS, seed=seed)


def choose_head(
    probe: Probe,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    folds: NDArray[np.int64],
    groups: NDArray[np.str_] | None,
    num_images: int,
    seed: int,
) -> FewImages:
    """Choose between the probe and nearest centroids by what they say of images left out.

    Args:
        probe: Fitted on the same rows, with the same folds.
        features: float32 of shape (n, num_features): of all views of the images, those of the
            images as they are first.
        labels: int64 of shape (n,).
        folds: int64 of shape (n,), from `few_image_folds`.
        groups: Of shape (num_images,): images of one group are alike; None for none.
        num_images: Images; the other rows are their views.
        seed: Of the resamples over groups.
    """
    centroids = fit_centroids(features, labels, folds=folds)
    losses = tuple(log_loss_nats(labels, one.out_of_fold) for one in (centroids, probe))
    are_chosen = losses[0] < losses[1]
    answers = (centroids if are_chosen else probe).out_of_fold[:num_images]
    right = answers.argmax(axis=1) == labels[:num_images]
    accuracy = share(right, groups=groups, seed=seed)
    assert accuracy is not None  # there are images
    return FewImages(
        centroids=centroids,
        are_chosen=are_chosen,
        num_images=num_images,
        largest_class=int(np.bincount(labels[:num_images]).max()),
        log_losses=(losses[0], losses[1]),
        accuracy=accuracy,
    )
