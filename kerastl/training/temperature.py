"""How sure a model should be: one number that its logits are divided by, fitted on validation.

A network that is trained to the end is right more often, and surer than it is right: the first is
what is wanted, the second a single number takes back (temperature scaling: Guo et al. 2017,
https://arxiv.org/abs/1706.04599). Checks of a training that are compared by the plain log-loss are
compared by both, and a rising loss that is mere confidence ends the training too early; compared
by the loss after the temperature they are compared by what they know (Berta et al. 2025,
https://arxiv.org/abs/2501.19195; measured on the solar cells by `benchmarks/what_to_keep.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logit

from kerastl.data.splits import fold_rows
from kerastl.features.probe import image_losses, weighted_losses
from kerastl.models.classifier import parts_of

# What a temperature may be, either way.
_LARGEST = 10.0
# Of the logarithm of temperatures before any image is seen: in two of three cases between a half
# and two. Without it a handful of right answers would ask for the temperature 0.
_SPREAD = float(np.log(2))
_NUM_FOLDS = 5
# Fewer images know less than "it is 1". Simulated (`benchmarks/temperature.py`): what is chosen
# here costs a model that is as sure as right 0.006 nats with 50 images, 0.002 with 100; one that is
# twice too sure gains 0.04 to 0.1 with 50.
_LEAST_IMAGES = 50
# As `kerastl.features.probe.log_loss_nats` has it.
_TINY = 1e-7
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Temperature:
    """A temperature, and whether it is worth having.

    Attributes:
        fitted: What fits the validation images best; above 1 where the model is too sure.
        loss_before: Log-loss on them without it, nats per image, class-weighted where asked for.
        loss_after: The same with temperatures that the held-out images had no part in; None where
            the images are too few, or of too few groups, to hold some out.
    """

    fitted: float
    loss_before: float
    loss_after: float | None

    @property
    def value(self) -> float:
        """What the logits are divided by: 1 where the fitted one does not prove better."""
        proven = self.loss_after is not None and self.loss_after < self.loss_before
        return self.fitted if proven else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return {"value": self.value, **dataclasses.asdict(self), "words": self.words}

    @property
    def words(self) -> str:
        """What was done and why, in a sentence."""
        if self.loss_after is None:
            return "1: validation has too few images, or groups, to choose another one"
        losses = (
            f"cross-validated loss on validation {self.loss_after:.3f} with it, "
            f"{self.loss_before:.3f} without"
        )
        if self.value == 1.0:
            return f"1: {self.fitted:.2f}, which fits best, does not prove better ({losses})"
        return f"{self.fitted:.2f}: all logits are divided by it ({losses})"


def fit_temperature(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    class_weights: NDArray[np.float32] | None = None,
) -> float:
    """Return the temperature after which the log-loss is smallest, 0.1 to 10; 1 for a few images.

    Of fewer than 50 images nothing is learned. With some more it is drawn towards 1: what is
    minimised is the sum of their losses and of half the squared logarithm of the temperature over
    that of 2.

    Args:
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        probabilities: float32 of shape (n, num_classes).
        class_weights: float32 of shape (num_classes,): what an image of each class weighs; not
            for several classes per image.

    Example:
        >>> labels = np.repeat([0, 1], [750, 250])
        >>> too_sure = np.repeat(np.array([[0.9, 0.1]], np.float32), 1000, axis=0)
        >>> round(fit_temperature(labels, too_sure), 1)  # ln 9 / ln 3
        2.0
    """
    if len(labels) < _LEAST_IMAGES:
        return 1.0
    return _fitted(labels, probabilities, class_weights)


def _fitted(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    class_weights: NDArray[np.float32] | None,
) -> float:
    """Return the temperature after which the penalised loss is smallest, of however few images."""
    count = len(labels)
    logits = _logits(probabilities, multi_label=labels.ndim == 2)

    def penalised(log_temperature: float) -> float:
        losses = _losses(labels, logits / np.exp(log_temperature), class_weights=class_weights)
        return float(losses.mean()) + 0.5 * (log_temperature / _SPREAD) ** 2 / count

    limit = np.log(_LARGEST)
    # For all that is known of it the loss has one valley: it is convex in 1 / temperature.
    found = minimize_scalar(penalised, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def choose_temperature(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    groups: NDArray[Any] | None = None,
    class_weights: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Temperature:
    """Fit a temperature, and see by cross-validation whether it is better than none.

    Args:
        labels: See `fit_temperature`, like `probabilities` and `class_weights`.
        probabilities: See there.
        groups: Of shape (n,): rows of one group are held out together.
        class_weights: See there.
        seed: Of the folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = (rng.random(400) < 0.25).astype(int)
        >>> too_sure = np.repeat(np.array([[0.99, 0.01]], np.float32), 400, axis=0)
        >>> choose_temperature(labels, too_sure).value > 3
        True
    """
    before = float(image_losses(labels, probabilities, class_weights=class_weights).mean())
    fitted = fit_temperature(labels, probabilities, class_weights=class_weights)
    units = len(labels) if groups is None else len(np.unique(groups))
    if units < 2 or len(labels) < _LEAST_IMAGES:
        return Temperature(fitted, before, None)
    folds = fold_rows(labels, num_folds=_NUM_FOLDS, seed=seed, groups=groups)
    held_out = np.empty_like(probabilities)
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        found = _fitted(labels[inside], probabilities[inside], class_weights)
        held_out[outside] = tempered_probabilities(
            probabilities[outside], found, multi_label=labels.ndim == 2
        )
    after = float(image_losses(labels, held_out, class_weights=class_weights).mean())
    return Temperature(fitted, before, after)


def tempered_probabilities(
    probabilities: NDArray[np.float32], temperature: float, *, multi_label: bool
) -> NDArray[np.float32]:
    """Return what a model answers after `bake_temperature`, from what it answered before.

    That is exact but for several labels of which one is surer than 1 - 1e-7: a float32 does not say
    how much.

    Args:
        probabilities: float32 of shape (n, num_classes).
        temperature: Above 0; the larger, the less sure.
        multi_label: Whether each label has a probability of its own.

    Example:
        >>> tempered_probabilities(np.array([[0.9, 0.1]], np.float32), 2.0, multi_label=False)
        array([[0.75, 0.25]], dtype=float32)
    """
    if temperature == 1.0:
        return probabilities
    logits = _logits(probabilities, multi_label=multi_label) / temperature
    logs = log_expit(logits) if multi_label else log_softmax(logits, axis=1)
    return np.exp(logs).astype(np.float32)


def bake_temperature(classifier: keras.Model, temperature: float) -> None:
    """Divide the logits of a classifier by a temperature for good, in place.

    Exact, also for the mean over mirror images, which is one of logits; and part of the model from
    now on: its exports have it too.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        temperature: Above 0.
    """
    output = parts_of(classifier).output
    for variable in (output.kernel, output.bias):
        variable.assign(variable / temperature)


def tempered_losses(
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    *,
    class_weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Return the log-loss of each image in nats after the temperature that fits them all best.

    Args:
        labels: See `fit_temperature`.
        probabilities: See there.
        class_weights: See there.
    """
    found = fit_temperature(labels, probabilities, class_weights=class_weights)
    tempered = tempered_probabilities(probabilities, found, multi_label=labels.ndim == 2)
    return image_losses(labels, tempered, class_weights=class_weights)


def _logits(probabilities: NDArray[np.float32], *, multi_label: bool) -> NDArray[np.float64]:
    """Return logits that have these probabilities."""
    values = probabilities.astype(np.float64)
    if multi_label:
        return np.asarray(logit(np.clip(values, _SMALLEST, 1 - _TINY)))
    return np.log(np.maximum(values, _SMALLEST))


def _losses(
    labels: NDArray[Any],
    logits: NDArray[np.float64],
    *,
    class_weights: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """Return the log-loss of each image that these logits have."""
    if labels.ndim == 2:
        return -np.asarray(log_expit(np.where(labels == 1, logits, -logits))).mean(axis=1)
    losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return weighted_losses(losses, labels, class_weights)
