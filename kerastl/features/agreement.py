"""How far features in a lower precision are from float32, in units that a classifier feels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.splits import fold_rows
from kerastl.features.probe import fit_probe, image_losses, probe_probabilities

# Measured on ELPV (2,624 solar cells, EfficientNetLite0, ImageNet weights, 224 pixels, 2026-11).
# Samples of 64 and 128 images give an error of 0.16 to 0.19, where the probe of all images, fitted
# in bfloat16 and served in float32, loses 0.2 to 0.5 points of accuracy and 0.002 to 0.004 of AUROC
# (4-fold, 3 seeds). With the differences doubled (0.32 to 0.37) it loses 0.7 to 0.8 points, with
# four times as large ones 1.7. On crops of two photographs the same network's error is 0.07.
# Random weights with BatchNorm statistics of the images amplify rounding, on ELPV and photographs:
# MobileNetV2 0.33 and 0.35, EfficientNetB0 0.45 and 0.09, InceptionV3 0.16 and 0.39, ResNet50 0.11
# and 0.23; without those statistics, and VGG16, 0.02 to 0.09.
LARGEST_FEATURE_ERROR = 0.25
# Of 12 samples each of 64 and 128 images of ELPV, one of each fell below it by chance (that costs
# speed, no accuracy); with the differences four times as large 10 and 7 did. It alone refused a
# ResNet50 with random weights on the photographs (error 0.23, 90.6 %).
SMALLEST_PROBE_AGREEMENT = 0.95
# The log-loss is reported and has no limit: on the same samples its rise never stood out from its
# own standard error, whether the differences were as they are or eight times as large.

_PROBE_FOLDS = 3


@dataclass(frozen=True)
class Agreement:
    """What a sample of images showed about two precisions.

    Attributes:
        feature_error: Root mean square difference of a feature over its standard deviation, the
            median over the features that vary; infinite if none does or some are no numbers.
        probe_agreement: Part of held-out answers, 0..1, that a probe fitted on the lower
            precision keeps when it gets float32.
        log_loss_rise: By how many nats the held-out log-loss of that probe rises thereby.
        log_loss_rise_error: Standard error of that over the held-out images: a small sample's
            probe is sure of itself, and single images move its log-loss by much.
    """

    feature_error: float
    probe_agreement: float
    log_loss_rise: float
    log_loss_rise_error: float

    @property
    def objection(self) -> str | None:
        """Which limit is broken, in a few words; None if all are kept."""
        if not self.feature_error <= LARGEST_FEATURE_ERROR:
            return (
                f"features differ by {self.feature_error:.2f} standard deviations, at most "
                f"{LARGEST_FEATURE_ERROR:g} allowed"
            )
        if not self.probe_agreement >= SMALLEST_PROBE_AGREEMENT:
            return (
                f"{self.probe_agreement:.1%} of a probe's answers agree, at least "
                f"{SMALLEST_PROBE_AGREEMENT:.0%} wanted"
            )
        return None


def measure_agreement(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    seed: int = 0,
) -> Agreement:
    """Compare the features of the same images in two precisions.

    The probe goes the way of a classifier: fitted on features in the lower precision, the head
    is later served in float32. Each half of the images is held out once.

    Args:
        reference: float32 of shape (n, num_features), n of 4 or more: computed in float32.
        candidate: float32 of the same shape: computed in the lower precision.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        seed: Decides the halves.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(64) % 2
        >>> features = (rng.normal(size=(64, 8)) + 2 * labels[:, None]).astype(np.float32)
        >>> same = measure_agreement(features, features, labels)
        >>> same.feature_error, same.probe_agreement, same.log_loss_rise, same.objection
        (0.0, 1.0, 0.0, None)
        >>> noisy = features + rng.normal(size=features.shape).astype(np.float32)
        >>> measure_agreement(features, noisy, labels).feature_error > LARGEST_FEATURE_ERROR
        True
    """
    error = feature_error(reference, candidate)
    if not math.isfinite(error):
        return Agreement(error, 0.0, math.inf, 0.0)
    multi_label = labels.ndim == 2
    halves = fold_rows(labels, num_folds=2, seed=seed)
    equal: list[float] = []
    rises: list[float] = []
    for held_out in (halves == 0, halves == 1):
        fitted, known = labels[~held_out], np.ones(held_out.sum(), bool)
        asked = labels[held_out]
        if not multi_label:
            # A probe knows classes 0..k-1 without gaps; half a sample may lack some.
            classes, fitted = np.unique(fitted, return_inverse=True)
            known = np.isin(asked, classes)
            asked = np.searchsorted(classes, asked)
        folds = fold_rows(fitted, num_folds=_PROBE_FOLDS, seed=seed)
        probe = fit_probe(candidate[~held_out], fitted, folds=folds)
        low, exact = (
            probe_probabilities(probe, features[held_out], multi_label=multi_label)
            for features in (candidate, reference)
        )
        equal.append(float(np.mean(_decisions(low, multi_label) == _decisions(exact, multi_label))))
        asked, low, exact = asked[known], low[known], exact[known]
        rises += (image_losses(asked, exact) - image_losses(asked, low)).tolist()
    rise = float(np.mean(rises)) if rises else 0.0
    uncertain = float(np.std(rises) / np.sqrt(len(rises))) if rises else 0.0
    return Agreement(error, float(np.mean(equal)), rise, uncertain)


def feature_error(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
    """Return how far features are from their reference, over how much they vary.

    For each feature the root mean square difference over images, divided by the standard
    deviation over images of the reference; of these the median over features. (Their mean
    hangs on the few features that are other than zero for one or two images.) Features that
    do not vary do not count.

    Args:
        reference: float32 of shape (n, num_features).
        candidate: float32 of the same shape.

    Returns:
        0 or more; infinite if no feature varies or a value is no number.

    Example:
        >>> reference = np.array([[-1.0, 5.0], [1.0, 5.0]], np.float32)
        >>> feature_error(reference, reference + np.float32(0.5))
        0.5
    """
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        return math.inf
    spread = reference.std(axis=0, dtype=np.float64)
    varies = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-12)
    if not varies.any():
        return math.inf
    difference = candidate.astype(np.float64) - reference
    error = np.sqrt(np.mean(np.square(difference), axis=0))
    return float(np.median(error[varies] / spread[varies]))


def _decisions(probabilities: NDArray[np.float32], multi_label: bool) -> NDArray[Any]:
    """Return the classes that are answered: the first one, or each on its own."""
    return probabilities > 0.5 if multi_label else probabilities.argmax(axis=1)
