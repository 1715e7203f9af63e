"""Which of several networks is better, as far as the images tell, and which is worth its time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kerastl.answered import comparisons_with_the_first
from kerastl.comparing.result import TIME_UP, CandidateResult, Verdict
from kerastl.errors import DataError
from kerastl.evaluation.comparison import PairedComparison

# Of one of them being as good as the best, corrected for how many are compared.
_SIGNIFICANT = 0.05
# Times as fast: what is less may be the scatter of timings, and is worth little.
_MUCH_FASTER = 1.25


def judge_candidates(results: Sequence[CandidateResult], *, seed: int) -> Verdict:
    """Rank networks by the accuracy of their probes, ties by LogME.

    Advised is the first of them that no other tied one beats in both accuracy and speed: nobody is
    sent to what is slower and was right less often.

    Tied are those that a paired test on the same images does not show to be worse than the most
    accurate one: McNemar's exact test, p-values corrected by Holm's method; over groups the
    bootstrap interval of each difference at 95 %, which is not corrected for their number.

    Args:
        results: Of all candidates; those that were refused do not count.
        seed: Of the resamples over groups.

    Raises:
        DataError: None was measured.
    """
    measured = {one.candidate.name: one for one in results if one.answers is not None}
    if not measured:
        raise DataError(
            "No candidate could be measured: "
            + " ".join(f"{one.candidate.name}: {one.refused}" for one in results)
            + f" {_advice(results)}"
        )
    best = max(measured, key=lambda name: (_accuracy(measured[name]), _evidence(measured[name])))
    answers = {
        name: measured[name].answers
        for name in (best, *(name for name in measured if name != best))
    }
    against = comparisons_with_the_first(
        {name: found for name, found in answers.items() if found is not None}, seed=seed
    )
    tied = [best, *(name for name, one in against.items() if not is_worse(one))]
    tied.sort(key=lambda name: (-_evidence(measured[name]), -_accuracy(measured[name])))
    advised = next(
        name for name in tied if not any(_beats(measured[other], measured[name]) for other in tied)
    )
    rest = [name for name in measured if name not in tied]
    rest.sort(key=lambda name: (-_accuracy(measured[name]), -_evidence(measured[name])))
    swift = min(tied, key=lambda name: _latency(measured[name]))
    gain = _latency(measured[advised]) / _latency(measured[swift])
    return Verdict(
        ranked=(*tied, *rest),
        tied=tuple(tied),
        advised=advised,
        against_best=against,
        efficient=tuple(
            name
            for name in (*tied, *rest)
            if not any(_dominates(measured[other], measured[name]) for other in measured)
        ),
        swift=swift if gain >= _MUCH_FASTER else None,
    )


def is_worse(one: PairedComparison) -> bool:
    """Tell whether a network is shown to be right less often than the most accurate one.

    Args:
        one: It against that one, the p-value corrected for how many there are.
    """
    if one.p_value is not None:
        return one.accuracy.value < 0 and one.p_value < _SIGNIFICANT
    return one.accuracy.high < 0


def _dominates(other: CandidateResult, one: CandidateResult) -> bool:
    """Whether another network is at least as accurate and as fast, and one of both more so."""
    ours = np.array([_accuracy(one), -_latency(one)])
    theirs = np.array([_accuracy(other), -_latency(other)])
    return bool(np.all(theirs >= ours) and np.any(theirs > ours))


def _beats(other: CandidateResult, one: CandidateResult) -> bool:
    """Whether another network was right as often, and is much faster."""
    as_accurate = _accuracy(other) >= _accuracy(one)
    return as_accurate and _MUCH_FASTER * _latency(other) <= _latency(one) < float("inf")


def _advice(results: Sequence[CandidateResult]) -> str:
    """Return what to type where none could be measured."""
    timed = [one.speed.latency_ms for one in results if one.speed is not None]
    if timed:
        least = math.ceil(min(timed) * _MUCH_FASTER)  # it will not be as fast to the digit
        return f"Type --max-latency-ms {least} or more, or name faster networks with --backbones."
    if any(TIME_UP in one.refused for one in results):
        return (
            "Give more --max-minutes, or name fewer networks with --backbones; what was computed "
            "is kept."
        )
    return (
        "EfficientNetLite0 needs no download; other networks take a file of weights that you have: "
        "--backbones ResNet50=FILE."
    )


def _accuracy(one: CandidateResult) -> float:
    return -1.0 if one.accuracy is None else one.accuracy.value


def _evidence(one: CandidateResult) -> float:
    return float("-inf") if one.log_evidence is None else one.log_evidence


def _latency(one: CandidateResult) -> float:
    return float("inf") if one.speed is None else one.speed.latency_ms
