"""What was found of each candidate, and the same as rows and plain values for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastl.answered import AnsweredImages
from kerastl.benchmarking.machine import Machine
from kerastl.comparing.candidates import Candidate
from kerastl.comparing.options import CompareOptions
from kerastl.evaluation.comparison import PairedComparison
from kerastl.evaluation.intervals import Estimate

# Begins why a candidate was not measured where time ended first.
TIME_UP = "The time ("


@dataclass(frozen=True)
class Speed:
    """How fast one network is on this machine, pixels in and probabilities out.

    Attributes:
        latency_ms: Milliseconds of one image by itself, median over rounds.
        latency_spread: Slowest round less the fastest, as a part of the median.
        batch_ms: Milliseconds of one image of a batch, median over rounds.
    """

    latency_ms: float
    latency_spread: float
    batch_ms: float


@dataclass(frozen=True, eq=False)
class CandidateResult:
    """What was found of one candidate.

    Attributes:
        candidate: Which.
        refused: Why it was not measured to the end, in a sentence; "" where it was.
        num_parameters: Of the network without its head; None where it could not be built.
        num_features: That its probe is on.
        speed: On this machine; None where it was not measured.
        accuracy: Of the probe on held-out folds, with its interval; of several labels per image,
            the share of images with all of them right.
        log_loss: Of the same answers, in nats per image.
        log_evidence: LogME of the features, see `kerastl.features.log_evidence`.
        answers: To each image, by the probe that did not see it.
        seconds: That all of this took.
    """

    candidate: Candidate
    refused: str = ""
    num_parameters: int | None = None
    num_features: int | None = None
    speed: Speed | None = None
    accuracy: Estimate | None = None
    log_loss: float | None = None
    log_evidence: float | None = None
    answers: AnsweredImages | None = field(default=None, repr=False)
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """Which candidates are better than which, as far as these images tell.

    Attributes:
        ranked: Names of those that were measured, best first.
        tied: Those that are not shown to be worse than the most accurate one, itself included.
        advised: Name of the one to take: the first that is tied and that no other tied one beats in
            both accuracy and speed.
        against_best: By name each of the others against the most accurate one; p-values are
            corrected for their number.
        efficient: Names that no other is both as accurate and as fast as: the Pareto front.
        swift: Name of the fastest that is tied, if it is much faster than the advised one; else
            None.
    """

    ranked: tuple[str, ...]
    tied: tuple[str, ...]
    advised: str
    against_best: Mapping[str, PairedComparison] = field(repr=False)
    efficient: tuple[str, ...]
    swift: str | None


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found.

    Attributes:
        options: What was asked for.
        name: Of the data set.
        num_images: That candidates were compared on; none of them is a test image.
        num_held_back: Test images that were not looked at.
        unreadable: Files that were left out, and why.
        num_classes: Of the images.
        num_groups: Of the images; None where nothing was said of groups.
        results: One for each candidate, in the order they were measured.
        verdict: What they say together.
        machine: What they were measured on.
        seconds: That all of it took.
    """

    options: CompareOptions
    name: str
    num_images: int
    num_held_back: int
    unreadable: tuple[tuple[str, str], ...] = field(repr=False)
    num_classes: int
    num_groups: int | None
    results: tuple[CandidateResult, ...]
    verdict: Verdict
    machine: Machine
    seconds: float

    def result(self, name: str) -> CandidateResult:
        """Return what was found of one candidate.

        Args:
            name: Of it.
        """
        return next(one for one in self.results if one.candidate.name == name)

    @property
    def first(self) -> CandidateResult:
        """The one that ranks first."""
        return self.result(self.verdict.ranked[0])

    @property
    def advised(self) -> CandidateResult:
        """The one to take."""
        return self.result(self.verdict.advised)

    @property
    def ranked_results(self) -> tuple[CandidateResult, ...]:
        """Those that were measured, best first."""
        return tuple(self.result(name) for name in self.verdict.ranked)

    @property
    def refused_results(self) -> tuple[CandidateResult, ...]:
        """Those that were not."""
        return tuple(one for one in self.results if one.refused)


def candidate_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row for each candidate, those that were measured first and best first.

    Args:
        comparison: What was found.
    """
    rows = []
    for one in (*comparison.ranked_results, *comparison.refused_results):
        name, speed, accuracy = one.candidate.name, one.speed, one.accuracy
        against = comparison.verdict.against_best.get(name)
        measured = name in comparison.verdict.ranked
        rows.append(
            {
                "candidate": name,
                "rank": comparison.verdict.ranked.index(name) + 1 if measured else None,
                "accuracy": accuracy and round(accuracy.value, 6),
                "accuracy_low": accuracy and round(accuracy.low, 6),
                "accuracy_high": accuracy and round(accuracy.high, 6),
                "log_loss": _rounded(one.log_loss),
                "log_evidence": _rounded(one.log_evidence),
                "tied_with_best": name in comparison.verdict.tied if measured else None,
                "p_value": None if against is None else _rounded(against.p_value),
                "efficient": name in comparison.verdict.efficient if measured else None,
                "latency_ms": speed and round(speed.latency_ms, 3),
                "latency_spread": speed and round(speed.latency_spread, 3),
                "batch_ms": speed and round(speed.batch_ms, 3),
                "parameters": one.num_parameters,
                "features": one.num_features,
                "seconds": round(one.seconds, 1),
                "refused": one.refused,
                "fit": comparison.options.fit_command(one.candidate),
            }
        )
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def comparison_values(comparison: Comparison, *, finished: str) -> dict[str, Any]:
    """Return what comparison.json holds.

    Args:
        comparison: What was found.
        finished: When, in ISO 8601.
    """
    verdict = comparison.verdict
    return {
        "name": comparison.name,
        "command": comparison.options.command,
        "finished": finished,
        "seconds": round(comparison.seconds, 1),
        "options": dataclasses.asdict(comparison.options),
        "num_images": comparison.num_images,
        "num_test_images_held_back": comparison.num_held_back,
        "unreadable": [{"path": path, "reason": why} for path, why in comparison.unreadable],
        "num_classes": comparison.num_classes,
        "num_groups": comparison.num_groups,
        "ranked": list(verdict.ranked),
        "tied": list(verdict.tied),
        "advised": verdict.advised,
        "efficient": list(verdict.efficient),
        "swift": verdict.swift,
        "candidates": candidate_rows(comparison),
        "against_best": {
            name: dataclasses.asdict(one) for name, one in verdict.against_best.items()
        },
        "machine": dataclasses.asdict(comparison.machine),
    }
