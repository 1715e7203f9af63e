"""Answers as sets of classes that hold the true one as often as promised (conformal prediction)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.comparison import mean_difference
from kerastl.evaluation.intervals import Estimate, proportion

# Fewer, and the coverage of a rule that was found on them is off by several points by chance: its
# standard deviation is sqrt(coverage (1 - coverage) / n), 2.1 points of 90 % with 200.
LEAST_IMAGES = 200
# Up to so many classes the smallest sets win; above, sets that grow where the model is unsure.
_FEW_CLASSES = 10
# RAPS as in its paper: every class after the first few costs, so that sets do not trail off.
_FREE_CLASSES, _COST = 5, 0.01


@dataclass(frozen=True)
class SetRule:
    """Which classes belong into the answer to an image.

    Attributes:
        kind: "LAC" (Sadinle et al. 2019, https://arxiv.org/abs/1609.00451) or "RAPS" (Angelopoulos
            et al. 2021, https://arxiv.org/abs/2009.14193), without its randomisation.
        coverage: Promised share of sets that hold the true class, 0..1.
        threshold: Of the score of a class: up to it the class belongs into the set.
        num_images: That it was found on.
    """

    kind: Literal["LAC", "RAPS"]
    coverage: float
    threshold: float
    num_images: int


@dataclass(frozen=True)
class SetMetrics:
    """What sets are worth on images that had no part in the rule.

    Attributes:
        rule: How they were made.
        n: Images.
        coverage: Share of the sets that hold the true class.
        size: Mean number of classes.
        single: Share of the sets with one class: answers as one knows them.
        empty: Share of the sets with none: pictures that are like nothing that was answered well.
        words: What that means, in sentences.
    """

    rule: SetRule
    n: int
    coverage: Estimate
    size: Estimate
    single: float
    empty: float
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def choose_set_rule(
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    *,
    coverage: float = 0.9,
) -> SetRule | None:
    """Return the rule whose sets hold the true class as often as promised.

    The promise is about new images of the same kind: drawn as the validation images were, and
    not in groups of which each is on one side alone (patients, modules, days).

    Args:
        labels: Integers of shape (n,): of validation images, which the model was not trained on.
        probabilities: Float of shape (n, num_classes).
        coverage: Wanted share of sets that hold the true class, between 0 and 1.

    Returns:
        The rule; None of fewer than 200 images.

    Raises:
        ConfigError: `coverage` is not between 0 and 1.

    Example:
        >>> random = np.random.default_rng(0)
        >>> probabilities = random.dirichlet([0.5, 0.5, 0.5], 400)
        >>> labels = np.array([random.choice(3, p=row) for row in probabilities])
        >>> rule = choose_set_rule(labels, probabilities)
        >>> rule.kind, 0.7 < rule.threshold < 0.95
        ('LAC', True)
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"`coverage` must be between 0 and 1; received coverage={coverage}.")
    count, num_classes = probabilities.shape
    if count < LEAST_IMAGES:
        return None
    kind: Literal["LAC", "RAPS"] = "LAC" if num_classes <= _FEW_CLASSES else "RAPS"
    own = _scores(probabilities, kind)[np.arange(count), labels]
    # The quantile of n and one more, which is the image to come.
    rank = math.ceil((count + 1) * coverage)
    threshold = float(np.sort(own)[rank - 1]) if rank <= count else math.inf
    return SetRule(kind, coverage, threshold, count)


def sets_of(rule: SetRule, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return which classes belong into the answer to each image.

    Args:
        rule: From `choose_set_rule`.
        probabilities: Float of shape (n, num_classes).

    Returns:
        bool of the same shape.

    Example:
        >>> rule = SetRule("LAC", 0.9, 0.7, 200)
        >>> sets_of(rule, np.array([[0.5, 0.4, 0.1]]))
        array([[ True,  True, False]])
    """
    return np.asarray(_scores(probabilities, rule.kind) <= rule.threshold)


def set_metrics(
    rule: SetRule,
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    *,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> SetMetrics:
    """Measure the sets of a rule on other images.

    Args:
        rule: From `choose_set_rule`.
        labels: Integers of shape (n,).
        probabilities: Float of shape (n, num_classes).
        groups: Of shape (n,): images of one group are not independent, and the promise fails.
        seed: Of the resamples.

    Raises:
        DataError: There is no image.

    Example:
        >>> rule = SetRule("LAC", 0.9, 0.7, 200)
        >>> answers = np.array([[0.5, 0.4, 0.1], [0.9, 0.1, 0.0]])
        >>> found = set_metrics(rule, np.array([1, 0]), answers)
        >>> found.coverage.value, found.size.value, found.single
        (1.0, 1.5, 0.5)
    """
    sets = sets_of(rule, probabilities)
    count = len(labels)
    held = sets[np.arange(count), labels]
    size = sets.sum(axis=1).astype(np.float64)
    covered = proportion(float(held.sum()), count)
    if covered is None:
        raise DataError("There is no image to measure sets on. Give at least one.")
    nothing = np.zeros(count)
    if groups is not None and held.any() and not held.all():
        covered = mean_difference(nothing, held.astype(np.float64), groups=groups, seed=seed)
    mean_size = mean_difference(nothing, size, groups=groups, seed=seed)
    return SetMetrics(
        rule=rule,
        n=count,
        coverage=covered,
        size=mean_size,
        single=float(np.mean(size == 1)),
        empty=float(np.mean(size == 0)),
        words=_words(
            rule,
            covered,
            mean_size.value,
            empty=float(np.mean(size == 0)),
            grouped=groups is not None,
        ),
    )


def _scores(probabilities: NDArray[np.floating[Any]], kind: str) -> NDArray[np.float64]:
    """Return how much each class is against the answer; what is small comes into the set first."""
    values = np.asarray(probabilities, np.float64)
    if kind == "LAC":
        return 1 - values
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    # What stands above a class: of the first one nothing, so that no set is empty.
    ranked = ranked.cumsum(axis=1) - ranked
    ranked += _COST * np.maximum(np.arange(1, values.shape[1] + 1) - _FREE_CLASSES, 0)
    scores = np.empty_like(ranked)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores


def _words(rule: SetRule, covered: Estimate, size: float, *, empty: float, grouped: bool) -> str:
    """Return what the sets are worth, in sentences."""
    words = (
        f"Sets of classes that should hold the true one in {rule.coverage:.0%} of all images "
        f"hold it in {covered.value:.1%} ({covered.low:.1%} to {covered.high:.1%}) of the test "
        f"images, with {size:.2f} classes in the mean."
    )
    if empty:
        words += (
            f" {empty:.0%} of the sets are empty: where a model is right more often than promised, "
            "its least sure answers are left out."
        )
    if covered.high < rule.coverage:
        words += " That is less than promised: the test images are of another kind than validation."
    if grouped:
        words += (
            " With groups (patients, modules, days) nothing is promised for a new group: only "
            "measuring on new groups, as here, tells."
        )
    return words
