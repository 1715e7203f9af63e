"""Post-hoc logit adjustment: a model that was trained plainly answers as if classes were even.

With equal shares of all classes the best answer is that of the largest p(class | image) /
p(class)^τ, whatever the model; for a softmax that is a shift of its logits by -τ log p(class)
(Menon et al., ICLR 2021, https://arxiv.org/abs/2007.07314, equation 9).
"""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kerastl.errors import ConfigError
from kerastl.models.classifier import parts_of

# The paper's own choice, and the one that is Bayes-optimal for the balanced error.
TAU = 1.0


def adjust_bias(
    classifier: keras.Model, log_priors: NDArray[np.float32], *, tau: float = TAU
) -> None:
    """Shift the bias of the last Dense layer by -tau log prior, in place.

    Exact for a softmax, and part of the model from now on: its exports have it too.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        log_priors: float32 of shape (num_classes,), from `kerastl.data.imbalance.log_priors`.
        tau: How far: 0 is not at all, 1 as if all classes were equally frequent.

    Raises:
        ConfigError: The classifier gives several labels per image.
    """
    output = parts_of(classifier).output
    if output.activation is keras.activations.sigmoid:
        raise ConfigError(
            "Logit adjustment needs one class per image; this classifier answers each label "
            "for itself. Choose a threshold per label with `choose_thresholds` instead."
        )
    output.bias.assign_sub(tau * log_priors)


def adjusted_probabilities(
    probabilities: NDArray[np.float32], log_priors: NDArray[np.float32], *, tau: float = TAU
) -> NDArray[np.float32]:
    """Return what a model answers after `adjust_bias`, from what it answered before.

    Args:
        probabilities: float32 of shape (n, num_classes), of a softmax.
        log_priors: float32 of shape (num_classes,).
        tau: As for `adjust_bias`.

    Returns:
        float32 of shape (n, num_classes), each row with the sum 1.

    Example:
        >>> even = adjusted_probabilities(
        ...     np.array([[0.9, 0.1]], np.float32), np.log(np.array([0.9, 0.1], np.float32)))
        >>> even.round(3).tolist()
        [[0.5, 0.5]]
    """
    # A probability that was rounded to 0 stays near 0; log(0) would be no number.
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    return softmax(logits - tau * log_priors, axis=1).astype(np.float32)
