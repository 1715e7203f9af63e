"""Pictures of something else: how well doubt and distance tell them from the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.intervals import (
    Estimate,
    bootstrap_weights,
    percentile_estimate,
    proportion,
    share,
)
from kerastl.evaluation.measure_words import percent
from kerastl.evaluation.ranking import rank_rows, ranking_areas

# Part of the images of known classes that may be called unknown.
FALSE_ALARMS = 0.05
# As in its paper: the power that makes small probabilities count, and how many of them do.
_GAMMA, _MOST_CLASSES = 0.1, 100
_RESAMPLES = 1000
_NOVELTY = "distance to what was trained on (kNN)"
_NONE = np.zeros(0, bool)
_GROUPED = (
    " That share is of groups like those of validation taken together; of a single new group it "
    "can be far larger."
)


@dataclass(frozen=True)
class Doubt:
    """How well one score tells pictures of something else from images of the classes.

    Attributes:
        name: Of the score, for people.
        auroc: How often a picture of something else has more of it than an image of the classes.
        threshold: Of which at most 5 % of the images of the classes have more.
        found: Share of the pictures of something else that have more.
    """

    name: str
    auroc: Estimate
    threshold: float
    found: Estimate


@dataclass(frozen=True)
class UnknownMetrics:
    """How well a model tells pictures of something else from its classes.

    Attributes:
        num_known: Images of the classes.
        num_unknown: Pictures of something else.
        doubts: One for each score, the distance first where the model gives it.
        mean_confidence: Of the answers to pictures of something else, 0..1.
        words: What that means, in sentences.
        called_unknown: Share of the pictures of something else that the model itself calls
            unknown, by its own threshold; None where it has none.
        false_alarms: The same of the images of the classes.
    """

    num_known: int
    num_unknown: int
    doubts: tuple[Doubt, ...]
    mean_confidence: float
    words: str
    called_unknown: Estimate | None = None
    false_alarms: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def doubt_scores(probabilities: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return scores of doubt, larger for what is rather something else.

    One less the largest probability (MSP: Hendrycks and Gimpel 2017,
    https://arxiv.org/abs/1610.02136) and, with more than two classes, a generalised entropy (GEN:
    Liu, Lochman and Zach, CVPR 2023), in which small probabilities count more.

    Args:
        probabilities: Float of shape (n, num_classes), each row with the sum 1.

    Returns:
        By name: float64 of shape (n,).

    Example:
        >>> scores = doubt_scores(np.array([[0.98, 0.01, 0.01], [0.4, 0.3, 0.3]]))
        >>> [name for name, score in scores.items() if score[1] > score[0]]
        ['largest probability (MSP)', 'generalised entropy (GEN)']
    """
    values = np.clip(np.asarray(probabilities, np.float64), 0.0, 1.0)
    scores = {"largest probability (MSP)": 1 - values.max(axis=1)}
    if values.shape[1] > 2:
        largest = np.sort(values, axis=1)[:, ::-1][:, :_MOST_CLASSES]
        entropy = (largest**_GAMMA * (1 - largest) ** _GAMMA).sum(axis=1)
        scores["generalised entropy (GEN)"] = entropy
    return scores


def unknown_metrics(
    known: NDArray[np.floating[Any]],
    unknown: NDArray[np.floating[Any]],
    *,
    novelty: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]] | None = None,
    called: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> UnknownMetrics:
    """Measure how well a model tells pictures of something else from its classes.

    Args:
        known: Float of shape (n, num_classes): answers to images of the classes that were not
            trained on.
        unknown: Float of shape (m, num_classes): answers to pictures of something else.
        novelty: Float of shape (n,) and (m,): how far both are from what was trained on, see
            `kerastl.features.novelty`.
        called: bool of shape (n,) and (m,): what the model itself calls unknown.
        groups: Of shape (n,): known images of one group are not independent of each other.
        seed: Of the resamples.

    Raises:
        DataError: One of both is empty.

    Example:
        >>> random = np.random.default_rng(0)
        >>> sure, unsure = (random.dirichlet([a, 0.1, 0.1], 200) for a in (9, 0.1))
        >>> found = unknown_metrics(sure, unsure)
        >>> found.doubts[0].auroc.value > 0.4, found.num_unknown
        (True, 200)
    """
    if not len(known) or not len(unknown):
        raise DataError(
            "There must be images of the classes and pictures of something else; received "
            f"{len(known)} and {len(unknown)}."
        )
    own, other = doubt_scores(known), doubt_scores(unknown)
    if novelty is not None:
        own, other = (
            {_NOVELTY: np.asarray(far, np.float64), **scores}
            for far, scores in zip(novelty, (own, other), strict=True)
        )
    is_unknown = np.repeat([False, True], [len(known), len(unknown)])
    members = None
    if groups is not None:  # each picture of something else is a group of its own
        members = np.concatenate(
            [
                np.unique(np.asarray(groups).astype(str), return_inverse=True)[1],
                len(known) + np.arange(len(unknown)),
            ]
        )
    doubts = []
    for name, score in own.items():
        threshold = float(np.quantile(score, 1 - FALSE_ALARMS, method="higher"))
        found = proportion(float(np.sum(other[name] > threshold)), len(unknown))
        assert found is not None  # there is a picture
        area = _area(is_unknown, np.concatenate([score, other[name]]), members, seed=seed)
        doubts.append(Doubt(name, area, threshold, found))
    confidence = float(np.max(unknown, axis=1).mean())
    known_called, unknown_called = called or (_NONE, _NONE)
    alarms = share(known_called, groups=None if called is None else groups, seed=seed)
    told = share(unknown_called)
    words = _words(doubts, confidence)
    if alarms is not None and told is not None:
        words += (
            f" By its own threshold it calls {told.value:.0%} of them unknown, and "
            f"{alarms.value:.1%} of the images of the classes ({alarms.low:.1%} to "
            f"{alarms.high:.1%}; {FALSE_ALARMS:.0%} were stated)."
        )
    return UnknownMetrics(len(known), len(unknown), tuple(doubts), confidence, words, told, alarms)


def known_kind_words(measures: Mapping[str, Any]) -> str:
    """Return how a run tells pictures of another kind, in sentences.

    Args:
        measures: What metrics.json holds of that: num_known, num_neighbours, threshold,
            num_validation, likely_false_alarms, false_alarms, num_test, grouped and
            test_called_unknown.

    Example:
        >>> known_kind_words({"num_known": 60, "num_neighbours": 1, "threshold": None,
        ...                   "num_validation": 9})[-64:]
        'called unknown: 9 validation images are too few for a threshold.'
    """
    nth = measures["num_neighbours"]
    ending = {1: "", 2: "2nd ", 3: "3rd "}.get(nth, f"{nth}th ")
    words = (
        "For every picture the model also gives its distance to what it was trained on: to the "
        f"{ending}nearest of {measures['num_known']:,} training images"
    )
    count = f"{measures['num_validation']:,} validation images"
    if measures["threshold"] is None:
        return f"{words}. Nothing is called unknown: {count} are too few for a threshold."
    asked = f"the {measures['num_test']:,} test images that were asked"
    return (
        f"{words}. Above {measures['threshold']:.3g} it is called unknown. As {count} have it, "
        f"that are on average at most {measures['false_alarms']:.0%} of images like these, and "
        f"with this threshold likely under {measures['likely_false_alarms']:.0%}; of {asked} "
        f"{percent(measures['test_called_unknown'])} are.{_GROUPED if measures['grouped'] else ''}"
    )


def _area(
    positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    groups: NDArray[Any] | None,
    *,
    seed: int,
) -> Estimate:
    """Return the area under the ROC curve with its bootstrap interval."""
    ranking = rank_rows(positive, scores)
    value = ranking_areas(ranking, np.ones((len(scores), 1)))[0][0]
    blocks = bootstrap_weights(len(scores), groups=groups, num_resamples=_RESAMPLES, seed=seed)
    resampled = np.concatenate([ranking_areas(ranking, weights)[0] for weights in blocks])
    units = 2 * min(positive.sum(), np.sum(~positive))
    estimate = percentile_estimate(float(value), resampled, units=float(units))
    assert estimate is not None  # there are both kinds
    return estimate


def _words(doubts: list[Doubt], confidence: float) -> str:
    """Return what the scores are worth, in sentences."""
    best = max(doubts, key=lambda one: one.auroc.value)
    worth = "hardly" if best.auroc.high < 0.7 else "well" if best.auroc.low > 0.9 else "in part"
    return (
        f"Pictures of something else are {worth} told from the classes: by the {best.name} "
        f"{best.found.value:.0%} of them are found where at most 5 % of the images of the classes "
        f"are called unknown too (AUROC {best.auroc.value:.3f}, {best.auroc.low:.3f} to "
        f"{best.auroc.high:.3f}). Its answers to them have a confidence of {confidence:.0%} in the "
        "mean."
    )
