"""The probe: penalised logistic regression on frozen features, its penalty cross-validated.

It is the baseline that fine-tuning must beat, and its solution, with the normalisation
of the features folded in, *is* the Dense layer of the head (Kumar et al., ICLR 2022,
"Fine-Tuning can Distort Pretrained Features": +1 point in distribution and +10 out of it
against fine-tuning from a random head).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from kerastl.progress import Advance, track

# 45 values, log-spaced, as Kornblith et al. (CVPR 2019) sweep them.
PENALTIES = np.logspace(-6, 5, 45)
_LARGEST_ITERATIONS = 300
# Up to so many features (numbers, not rows) one thread of BLAS fits faster than all: they wait for
# each other in every product. One fit on 2 quiet cores, all threads and one: 500 x 1,280 of 2
# classes 70 and 5 ms, 2,600 of 10 classes 110 and 40 ms, 10,000 of 10 classes 370 and 210 ms,
# 40,000 of 2 classes 230 and 230 ms (2026-11).
_LARGEST_FOR_ONE_THREAD = 2**24
# Logit of a class that the rows at hand do not show.
_ABSENT_BIAS = -10.0


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier on features.

    Attributes:
        kernel: float32 of shape (num_features, num_classes).
        bias: float32 of shape (num_classes,).
        penalty: The chosen strength of the L2 penalty on features of about the same scale
            (1 / C of scikit-learn).
        path: For each penalty tried, in ascending order: (penalty, mean log-loss of the
            held-out folds in nats, weighted if the fit was).
        out_of_fold: float32 of shape (n, num_classes): probabilities of each training
            row from the model of the chosen penalty that did not see it.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    path: tuple[tuple[float, float], ...]
    out_of_fold: NDArray[np.float32]


def fit_probe(
    features: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    folds: NDArray[np.int64],
    row_weights: NDArray[np.float32] | None = None,
) -> Probe:
    """Fit a penalised logistic regression, its penalty chosen by cross-validated log-loss.

    Args:
        features: float32 of shape (n, num_features).
        labels: int64 of shape (n,), 0..num_classes-1, every class present; or 0/1 of shape
            (n, num_classes) where an image can have several classes.
        folds: int64 of shape (n,): the fold that each row is held out in. Make them with
            `kerastl.data.splits.fold_rows`, whole groups in one fold if there are groups.
        row_weights: float32 of shape (n,), for one class per row only: what each row weighs in
            the fit and in the cross-validated loss. Their mean should be 1, so that the penalty
            keeps its meaning.

    Returns:
        The probe. With one label per image its probabilities are
        softmax(features @ kernel + bias), else the sigmoid of the same.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(60) % 2
        >>> features = (rng.normal(size=(60, 3)) + labels[:, None]).astype(np.float32)
        >>> probe = fit_probe(features, labels, folds=np.arange(60) // 20)
        >>> probe.kernel.shape
        (3, 2)
    """
    mean, scale = standardisation(features)
    # In float64 the same solutions take four times as long (measured, 1,300 × 1,280).
    standard = ((features - mean) / scale).astype(np.float32)
    losses: dict[int, float] = {}
    held_out: dict[int, NDArray[np.float32]] = {}

    def sweep(indices: Iterable[int], advance: Advance, *, until_worse: bool = False) -> None:
        """Cross-validate penalties from strong to weak, each from where the last one ended."""
        wanted = sorted({i for i in indices if 0 <= i < len(PENALTIES)} - set(losses), reverse=True)
        warm: dict[int, dict[int, LogisticRegression]] = {}
        for index in wanted:
            held_out[index] = _cross_validate(
                standard, labels, folds, PENALTIES[index], row_weights=row_weights, warm=warm
            )
            losses[index] = float(
                np.average(image_losses(labels, held_out[index]), weights=row_weights)
            )
            advance(1)
            if until_worse and losses[index] > min(losses.values()):
                break

    # The loss over the penalty has one valley, and the weakest penalties cost most steps:
    # every fourth from strong to weak until the loss rises, then ever finer about the best.
    coarse, finer = range(0, len(PENALTIES), 4), (2, 1)
    most = len(coarse) + 2 * len(finer)
    with _blas_threads(standard.size), track("Fitting the probe", total=most + 1) as advance:
        sweep(coarse, advance, until_worse=True)
        for step in finer:
            best = min(losses, key=losses.__getitem__)
            sweep([best - step, best + step], advance)
        best = min(losses, key=losses.__getitem__)
        kernel, bias = _fit(
            standard,
            labels,
            PENALTIES[best],
            num_classes=_num_classes(labels),
            row_weights=row_weights,
        )
        advance(most + 1 - len(losses))  # the last fit, and what the valley saved
    # Normalisation folded in: w·(x − m)/s + b = (w/s)·x + (b − w·m/s).
    folded = kernel / scale[:, None]
    return Probe(
        kernel=folded.astype(np.float32),
        bias=(bias - mean @ folded).astype(np.float32),
        penalty=float(PENALTIES[best]),
        path=tuple((float(PENALTIES[i]), losses[i]) for i in sorted(losses)),
        out_of_fold=held_out[best],
    )


def _blas_threads(size: int) -> AbstractContextManager[object]:
    """Hold BLAS to one thread for features of this many numbers, where that is faster."""
    if size > _LARGEST_FOR_ONE_THREAD:
        return contextlib.nullcontext()
    return threadpool_limits(1, user_api="blas")


def probe_probabilities(
    probe: Probe, features: NDArray[np.float32], *, multi_label: bool = False
) -> NDArray[np.float32]:
    """Return what the probe answers.

    Args:
        probe: From `fit_probe`.
        features: float32 of shape (n, num_features).
        multi_label: Whether an image can have several classes.

    Returns:
        float32 of shape (n, num_classes).
    """
    return _probabilities(features @ probe.kernel + probe.bias, multi_label=multi_label)


def standardisation(features: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and scale of each feature: its deviation, or the median one's if that is larger.

    By its own deviation alone a feature that hardly any of these images has would be made as large
    as all others, and an image that has it would be answered by it. With 60 and 120 images of
    digits that is a log-loss on others of 1.70 and 0.94 in place of 0.64 and 0.45, with 1,600 solar
    cells 0.360 in place of 0.348; and answers of held-out folds look better than they are
    (means of 4 seeds, `benchmarks/probe_scale.py`).

    Args:
        features: float32 of shape (n, num_features).

    Returns:
        Both float64 of shape (num_features,); no scale is 0.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    varying = deviation[deviation > 1e-6 * max(float(deviation.max()), 1e-12)]
    return mean, np.maximum(deviation, np.median(varying) if len(varying) else 1.0)


def _cross_validate(
    features: NDArray[Any],
    labels: NDArray[Any],
    folds: NDArray[np.int64],
    penalty: float,
    *,
    row_weights: NDArray[np.float32] | None,
    warm: dict[int, dict[int, LogisticRegression]],
) -> NDArray[np.float32]:
    """Return the out-of-fold probabilities; `warm` keeps each fold's models."""
    num_classes = _num_classes(labels)
    results = np.full((len(features), num_classes), np.nan, np.float32)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        kernel, bias = _fit(
            features[inside],
            labels[inside],
            penalty,
            num_classes=num_classes,
            row_weights=None if row_weights is None else row_weights[inside],
            warm=warm.setdefault(int(fold), {}),
        )
        logits = features[outside] @ kernel + bias
        results[outside] = _probabilities(logits, multi_label=labels.ndim == 2)
    return results


def _num_classes(labels: NDArray[Any]) -> int:
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


def _probabilities(logits: NDArray[Any], *, multi_label: bool) -> NDArray[np.float32]:
    """Return softmax or sigmoid of the logits."""
    values: NDArray[Any] = expit(logits) if multi_label else softmax(logits, axis=1)
    return values.astype(np.float32)


def log_loss_nats(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    class_weights: NDArray[np.float32] | None = None,
) -> float:
    """Return the mean negative log-likelihood in nats, per image (and per class if several).

    Args:
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: float32 of shape (n, num_classes).
        class_weights: float32 of shape (num_classes,): what an image of each class weighs in
            the mean; not for several classes per image.

    Example:
        >>> round(log_loss_nats(np.array([0]), np.array([[0.5, 0.5]], np.float32)), 3)
        0.693
    """
    return float(image_losses(labels, probabilities, class_weights=class_weights).mean())


def image_losses(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    class_weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Return the log-loss of each image in nats; their mean is `log_loss_nats`.

    Args:
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: float32 of shape (n, num_classes).
        class_weights: float32 of shape (num_classes,): each loss is multiplied by that of its
            class, over the mean of these over the images.

    Example:
        >>> image_losses(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]])).round(3).tolist()
        [0.693, 0.0]
    """
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    if labels.ndim == 2:
        return -np.where(labels == 1, np.log(clipped), np.log(1 - clipped)).mean(axis=1)
    losses = -np.log(clipped[np.arange(len(labels)), labels])
    return weighted_losses(losses, labels, class_weights)


def weighted_losses(
    losses: NDArray[np.float64], labels: NDArray[Any], class_weights: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """Return losses by the weight of their class, so that their mean is the weighted one.

    Args:
        losses: float64 of shape (n,).
        labels: int64 of shape (n,).
        class_weights: float32 of shape (num_classes,); None to leave them.
    """
    if class_weights is None:
        return losses
    weights = class_weights[labels].astype(np.float64)
    return losses * weights / weights.mean()


def _fit(
    features: NDArray[Any],
    labels: NDArray[Any],
    penalty: float,
    *,
    num_classes: int,
    row_weights: NDArray[np.float32] | None = None,
    warm: dict[int, LogisticRegression] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return kernel and bias of penalised logistic regression on standardised features.

    `warm` keeps the scikit-learn models from one penalty to the next: one for a softmax,
    one per class for sigmoids.
    """
    warm = {} if warm is None else warm
    if labels.ndim == 1:
        return _fit_softmax(
            features, labels, penalty, num_classes=num_classes, row_weights=row_weights, warm=warm
        )
    columns = [
        _fit_sigmoid(features, labels[:, index], penalty, warm=warm, key=index)
        for index in range(num_classes)
    ]
    kernel = np.stack([kernel for kernel, _ in columns], axis=1)
    return kernel, np.array([bias for _, bias in columns])


def _fit_softmax(
    features: NDArray[Any],
    labels: NDArray[Any],
    penalty: float,
    *,
    num_classes: int,
    row_weights: NDArray[np.float32] | None,
    warm: dict[int, LogisticRegression],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fit classes that exclude each other."""
    present = np.unique(labels)
    if len(present) == 1:  # the fold holds out every row of all the others
        certain = np.full(num_classes, _ABSENT_BIAS)
        certain[present] = 0.0
        return np.zeros((features.shape[1], num_classes)), certain
    model = _fit_warm(features, labels, penalty, row_weights=row_weights, warm=warm, key=0)
    kernel = np.zeros((features.shape[1], num_classes))
    bias = np.full(num_classes, _ABSENT_BIAS)
    if len(model.classes_) == 2:
        # scikit-learn gives one logit z for two classes; softmax([-z/2, z/2]) is the same.
        signs = np.array([-0.5, 0.5])
        kernel[:, model.classes_] = model.coef_.T * signs
        bias[model.classes_] = model.intercept_ * signs
    else:
        kernel[:, model.classes_] = model.coef_.T
        bias[model.classes_] = model.intercept_
    return kernel, bias


def _fit_sigmoid(
    features: NDArray[Any],
    present: NDArray[Any],
    penalty: float,
    *,
    warm: dict[int, LogisticRegression],
    key: int,
) -> tuple[NDArray[Any], float]:
    """Fit one class that others do not exclude."""
    if present.min() == present.max():  # never or always there in this part of the rows
        return np.zeros(features.shape[1]), _ABSENT_BIAS * (1 - 2 * float(present.max()))
    model = _fit_warm(features, present, penalty, warm=warm, key=key)
    return model.coef_[0], float(model.intercept_[0])


def _fit_warm(
    features: NDArray[Any],
    labels: NDArray[Any],
    penalty: float,
    *,
    row_weights: NDArray[np.float32] | None = None,
    warm: dict[int, LogisticRegression],
    key: int,
) -> LogisticRegression:
    """Fit one scikit-learn model, from where its last fit ended."""
    model = warm.setdefault(
        key, LogisticRegression(max_iter=_LARGEST_ITERATIONS, tol=1e-4, warm_start=True)
    )
    model.set_params(C=1.0 / penalty)
    with warnings.catch_warnings():
        # The weakest penalties of the sweep need not converge: their loss says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels, sample_weight=row_weights)
    return model
