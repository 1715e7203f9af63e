"""Probe or fine-tuned: validation decides, and only then the test split is read, once.

The fine-tuned model is kept unless it is surely worse than the probe that it began as, by the rule
that its checks are kept by (see `kerastl.training.kept.margin`): a training that goes on from the
probe is its last check. Against the smaller loss alone that is worth 0.3 points of accuracy and
0.006 nats with whole modules of solar cells held out, 0.1 points and 0.002 nats with 150 training
images, and nothing where there are more (means of 5 seeds, `benchmarks/what_to_keep.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.imbalance import log_priors
from kerastl.data.stream import Images
from kerastl.training.adjustment import adjust_bias, adjusted_probabilities
from kerastl.training.answers import Answers, Candidate, answers_to_test
from kerastl.training.kept import margin, standard_error

PROBE = "probe"
FINE_TUNED = "fine-tuned"
GROUP_BALANCED = "group-balanced"
MODELS = (PROBE, FINE_TUNED, GROUP_BALANCED)


@dataclass(frozen=True)
class Gain:
    """How much smaller the validation log-loss is after fine-tuning.

    Attributes:
        value: Nats per image; below 0 where the probe has the smaller one.
        standard_error: Of its mean over these images, or their groups.
        margin: Up to which the probe's smaller loss is none, see `kerastl.training.kept.margin`.
        num_groups: Groups that the error was taken over; None for images.
    """

    value: float
    standard_error: float
    margin: float
    num_groups: int | None

    @property
    def is_lost(self) -> bool:
        """Whether the probe is surely better."""
        return self.value < -self.margin

    @property
    def words(self) -> str:
        """Value and error, for people."""
        over = "images" if self.num_groups is None else f"{self.num_groups} groups"
        return f"{abs(self.value):.3f} \N{PLUS-MINUS SIGN} {self.standard_error:.3f} over {over}"


def choose(
    candidates: Mapping[str, Candidate], *, val_groups: NDArray[Any] | None
) -> tuple[str, Gain | None]:
    """Return which of probe and fine-tuned model is kept, and the gain of fine-tuning if any.

    Args:
        candidates: By name of the model.
        val_groups: Of shape (num_val,): validation images of one group are alike; None if none are.
    """
    if FINE_TUNED not in candidates:
        return PROBE, None
    gain = gain_of(candidates[PROBE].losses, candidates[FINE_TUNED].losses, groups=val_groups)
    return (PROBE if gain.is_lost else FINE_TUNED), gain


def read_test(
    classifier: keras.Model,
    candidates: Mapping[str, Candidate],
    images: Images,
    test: NDArray[np.int64],
    *,
    kept: str,
    priors_of: NDArray[Any] | None,
) -> tuple[dict[str, Answers], NDArray[np.int64]]:
    """Ask all models for the test split, give the classifier the kept one's weights, in place.

    From here on nothing is decided any more.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        candidates: By name of the model.
        images: uint8 of shape (n, height, width, 3).
        test: int64: the test rows.
        kept: A name.
        priors_of: int64: labels whose shares the answers are adjusted by after every choice; None
            to leave them.

    Returns:
        Answers by name of the model, and the test rows that they are of.
    """
    tested, test = answers_to_test(classifier, candidates, images, test)
    answers = {
        name: Answers(one.validation, tested[name], one.losses, one.while_training, one.temperature)
        for name, one in candidates.items()
    }
    classifier.set_weights(candidates[kept].weights)
    if priors_of is not None:
        answers = _adjusted(classifier, answers, priors_of)
    return answers, test


def gain_of(
    probe: NDArray[np.float64], fine_tuned: NDArray[np.float64], *, groups: NDArray[Any] | None
) -> Gain:
    """Return how much smaller the losses of the same images are after fine-tuning.

    Args:
        probe: float64 of shape (num_val,), nats.
        fine_tuned: The same.
        groups: See `decide`.

    Example:
        >>> gain_of(np.array([1.0, 1.0]), np.array([0.5, 0.7]), groups=None).words
        '0.400 ± 0.100 over images'
    """
    num_groups = 0 if groups is None else len(np.unique(groups))
    difference = probe - fine_tuned
    return Gain(
        float(difference.mean()),
        standard_error(difference, groups),
        margin(probe, fine_tuned, groups),
        num_groups if num_groups > 1 else None,
    )


def _adjusted(
    classifier: keras.Model, answers: dict[str, Answers], train_labels: NDArray[Any]
) -> dict[str, Answers]:
    """Adjust the classifier in place; return all answers adjusted, with the losses that chose."""
    priors = log_priors(train_labels, num_classes=classifier.output_shape[-1])
    adjust_bias(classifier, priors)
    return {
        name: dataclasses.replace(
            one,
            validation=adjusted_probabilities(one.validation, priors),
            test=adjusted_probabilities(one.test, priors),
        )
        for name, one in answers.items()
    }
