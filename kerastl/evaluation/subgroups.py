"""For whom a model fails: its measures by group, and whether groups differ more than by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.evaluation.comparison import mean_difference
from kerastl.evaluation.intervals import Estimate, share

# Fewer images say nothing of a group: at 20 an interval of an accuracy is still 30 points wide.
LEAST_IMAGES = 20
# Of a class in a group.
_LEAST_OF_A_CLASS = LEAST_IMAGES // 2
_PERMUTATIONS = 1000


@dataclass(frozen=True)
class GroupRates:
    """How often a class is found and falsely said in one group.

    Attributes:
        class_name: The class.
        n: The group's images with the class.
        found: Share of the group's images with the class that are answered so (true positive
            rate); None without such images.
        false_alarms: Share of its other images that are (false positive rate); None without such.
    """

    class_name: str
    n: int
    found: Estimate | None
    false_alarms: Estimate | None


@dataclass(frozen=True)
class GroupMetrics:
    """How good a model is for one group of images.

    Attributes:
        name: Of the group.
        n: Images.
        judged: Whether there are enough to say anything.
        accuracy: Share of right answers.
        sureness: By how much answers are surer than right, -1..1: mean confidence less accuracy.
        rates: By class.
    """

    name: str
    n: int
    judged: bool
    accuracy: Estimate
    sureness: Estimate
    rates: tuple[GroupRates, ...]


@dataclass(frozen=True)
class Subgroups:
    """How good a model is for each group, and how far groups are apart.

    Attributes:
        column: What the groups are called together.
        groups: The worst first, groups that are not judged last.
        accuracy_gap: Of the best judged group over the worst; None with fewer than two.
        accuracy_p_value: How often groups drawn by chance are as far apart.
        odds_gap: Largest difference between judged groups in how often a class is found or falsely
            said (equalised odds: Hardt et al. 2016, https://arxiv.org/abs/1610.02413); None where
            no class has images in two groups.
        odds_p_value: How often groups drawn by chance within each class are as far apart.
        found_p_value: The same of how often classes are found alone.
        words: What that means, in sentences.
    """

    column: str
    groups: tuple[GroupMetrics, ...]
    accuracy_gap: float | None
    accuracy_p_value: float | None
    odds_gap: float | None
    odds_p_value: float | None
    found_p_value: float | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def subgroup_metrics(
    groups: NDArray[Any],
    *,
    truth: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    right: NDArray[np.bool_],
    confidence: NDArray[np.floating[Any]],
    class_names: Sequence[str],
    column: str,
    units: NDArray[Any] | None = None,
    seed: int = 0,
) -> Subgroups:
    """Measure a model group by group.

    The largest of many differences is large by chance alone, so each gap stands beside how often
    the same images, put into groups of the same sizes at random, are as far apart (a permutation
    test, Fisher 1935). How often classes are found and falsely said is compared within the images
    of each class: groups with other shares of the classes are no other groups for that.

    Args:
        groups: Of shape (n,): what each image is of: a camera, a place, a sex.
        truth: bool of shape (n, num_classes): which classes an image has.
        answered: bool of the same shape: which are answered.
        right: bool of shape (n,): whether the answer is right.
        confidence: Float of shape (n,): how sure it is, 0..1.
        class_names: One for each class.
        column: What the groups are called together.
        units: Of shape (n,): images of one unit are alike, as those of a patient; intervals are
            then over whole units, and whole units are put into groups at random. Where a unit is
            in several groups nothing is tested. None if images are independent.
        seed: Of resamples and permutations.

    Raises:
        DataError: There is no image, or not one group for each.

    Example:
        >>> groups = np.repeat(["day", "night"], 50)
        >>> truth = np.eye(2, dtype=bool)[np.arange(100) % 2]
        >>> answered = truth.copy()
        >>> answered[50:80] = answered[50:80, ::-1]
        >>> found = subgroup_metrics(
        ...     groups, truth=truth, answered=answered, right=(truth == answered).all(axis=1),
        ...     confidence=np.full(100, 0.9), class_names=["cat", "dog"], column="light")
        >>> found.groups[0].name, found.groups[0].accuracy.value, found.accuracy_gap
        ('night', 0.4, 0.6)
        >>> found.accuracy_p_value < 0.01
        True
    """
    groups = np.asarray(groups).astype(str)
    if groups.shape != (len(right),) or not len(right):
        raise DataError(
            f"`groups` must have one value for each of the {len(right)} images, and there must be "
            f"one; received the shape {groups.shape}."
        )
    names, member = np.unique(groups, return_inverse=True)
    found = [
        _measured(
            str(name),
            member == index,
            truth=truth,
            answered=answered,
            right=right,
            confidence=confidence,
            class_names=class_names,
            units=units,
            seed=seed,
        )
        for index, name in enumerate(names)
    ]
    judged = [index for index, one in enumerate(found) if one.judged]
    accuracy_gap = odds_gap = accuracy_p = odds_p = found_p = None
    if len(judged) > 1:
        rows = np.isin(member, judged)
        own = np.unique(member[rows], return_inverse=True)[1]
        columns = [right[rows, None], *_odds_columns(truth[rows], answered[rows])]
        gaps = _gaps(own, columns)
        chance = _chance_gaps(
            own, columns, truth[rows], units=None if units is None else units[rows], seed=seed
        )
        accuracy_gap = float(gaps[0])
        odds_gap = None if np.isnan(gaps[1:]).all() else float(np.nanmax(gaps[1:]))
        if chance is not None:
            accuracy_p = _p_value(gaps[0], chance[:, 0])
            if odds_gap is not None:
                odds_p = _p_value(odds_gap, np.fmax(chance[:, 1], chance[:, 2]))
            if not np.isnan(gaps[1]):
                found_p = _p_value(gaps[1], chance[:, 1])
    ordered = sorted(found, key=lambda one: (not one.judged, one.accuracy.value, one.name))
    return Subgroups(
        column,
        tuple(ordered),
        accuracy_gap,
        accuracy_p,
        odds_gap,
        odds_p,
        found_p,
        _words(ordered, accuracy_gap, accuracy_p, column=column) + _found_words(ordered, found_p),
    )


def _measured(
    name: str,
    rows: NDArray[np.bool_],
    *,
    truth: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    right: NDArray[np.bool_],
    confidence: NDArray[np.floating[Any]],
    class_names: Sequence[str],
    units: NDArray[Any] | None,
    seed: int,
) -> GroupMetrics:
    """Return the measures of one group."""
    count = int(rows.sum())

    def share_of(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Estimate | None:
        alike = None if units is None else units[among]
        return share(hits[among], groups=alike, seed=seed)

    accuracy = share_of(right, rows)
    assert accuracy is not None  # a group has an image
    sureness = mean_difference(
        right[rows].astype(np.float64),
        confidence[rows].astype(np.float64),
        groups=None if units is None else units[rows],
        seed=seed,
    )
    rates = []
    for index, class_name in enumerate(class_names):
        has, said = truth[:, index], answered[:, index]
        rates.append(
            GroupRates(
                str(class_name),
                int(np.sum(has & rows)),
                share_of(said, has & rows),
                share_of(said, ~has & rows),
            )
        )
    return GroupMetrics(name, count, count >= LEAST_IMAGES, accuracy, sureness, tuple(rates))


def _odds_columns(
    truth: NDArray[np.bool_], answered: NDArray[np.bool_]
) -> list[NDArray[np.float64]]:
    """Return what is answered to images with each class and without it, not a number elsewhere."""
    said = answered.astype(np.float64)
    return [np.where(truth, said, np.nan), np.where(truth, np.nan, said)]


def _gaps(member: NDArray[np.intp], columns: list[Any]) -> NDArray[np.float64]:
    """Return the largest difference between groups: accuracy, found, falsely said."""
    largest = []
    for values in columns:
        known = ~np.isnan(values)
        means = []
        for index in range(int(member.max()) + 1):
            rows = member == index
            count = known[rows].sum(axis=0)
            # Of a class of which a group has a handful of images nothing is known there.
            enough = count >= min(_LEAST_OF_A_CLASS, len(values))
            total = np.where(known[rows], values[rows], 0.0).sum(axis=0)
            means.append(np.where(enough, total / np.maximum(count, 1), np.nan))
        table = np.stack(means)
        both = np.sum(~np.isnan(table), axis=0) > 1
        ranges = [np.nanmax(one) - np.nanmin(one) for one in table.T[both]]
        largest.append(max(ranges, default=np.nan))
    return np.array(largest)


def _chance_gaps(
    member: NDArray[np.intp],
    columns: list[Any],
    truth: NDArray[np.bool_],
    *,
    units: NDArray[Any] | None,
    seed: int,
) -> NDArray[np.float64] | None:
    """Return the same of groups of the same sizes that were drawn at random.

    None where a unit is in several groups: then groups are no property of units to be drawn.
    """
    random = np.random.default_rng(seed)
    if units is not None:
        _, place = np.unique(units, return_inverse=True)
        of_unit = np.zeros(int(place.max()) + 1, member.dtype)
        of_unit[place] = member
        if np.any(of_unit[place] != member):
            return None
        return np.stack(
            [_gaps(random.permutation(of_unit)[place], columns) for _ in range(_PERMUTATIONS)]
        )
    _, kind = np.unique(truth, axis=0, return_inverse=True)
    same = [np.flatnonzero(kind == one) for one in range(int(kind.max()) + 1)]
    found = np.empty((_PERMUTATIONS, len(columns)))
    for row in found:
        row[0] = _gaps(random.permutation(member), columns[:1])[0]
        drawn = member.copy()
        for rows in same:
            drawn[rows] = random.permutation(member[rows])
        row[1:] = _gaps(drawn, columns[1:])
    return found


def _p_value(gap: float, chance: NDArray[np.float64]) -> float:
    """Return how often chance is as far apart, never 0 (Phipson and Smyth 2010)."""
    return float((1 + np.sum(chance >= gap - 1e-12)) / (1 + len(chance)))


def _words(
    ordered: Sequence[GroupMetrics], gap: float | None, p_value: float | None, *, column: str
) -> str:
    """Return what the groups say, in sentences."""
    judged = [one for one in ordered if one.judged]
    few = len(ordered) - len(judged)
    left = (
        f" {few} of {len(ordered)} have under {LEAST_IMAGES} images and are not judged."
        if few
        else ""
    )
    if gap is None:
        return f"Fewer than two groups by {column} have {LEAST_IMAGES} images or more.{left}"
    worst, best = judged[0], judged[-1]
    if worst.accuracy.value == best.accuracy.value and (p_value is None or p_value >= 0.05):
        return f"By {column} it is right as often everywhere ({best.accuracy.value:.1%}).{left}"
    said = (
        f"By {column} it is best for {best.name} ({best.accuracy.value:.1%}) and worst for "
        f"{worst.name} ({worst.accuracy.value:.1%})"
    )
    if p_value is None:
        return f"{said}; not tested, as what belongs together is in several of them.{left}"
    if p_value < 0.05:
        return f"{said}: more than chance makes of groups of these sizes (p {p_value:.1g}).{left}"
    return f"{said}; chance makes as much of groups of these sizes (p {p_value:.2f}).{left}"


def _found_words(ordered: Sequence[GroupMetrics], p_value: float | None) -> str:
    """Return for whom which class is found least, where that is more than chance makes; else "".

    Groups can be right equally often and be failed in different classes: who takes every cow on
    sand for a camel is right on most sand.
    """
    if p_value is None or p_value >= 0.05:
        return ""
    found: dict[str, list[tuple[float, str]]] = {}
    for group in ordered:
        for rates in group.rates:
            if group.judged and rates.found is not None and rates.n >= _LEAST_OF_A_CLASS:
                found.setdefault(rates.class_name, []).append((rates.found.value, group.name))
    if not found:
        return ""
    name, values = max(found.items(), key=lambda item: max(item[1])[0] - min(item[1])[0])
    (least, worst), (most, best) = min(values), max(values)
    if least == most:
        return ""
    return (
        f" {name} is found in {least:.1%} of its images for {worst} and in {most:.1%} for {best}: "
        f"more than chance makes (p {p_value:.1g})."
    )
