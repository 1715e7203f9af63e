"""What a comparison found, in sentences and lines for a terminal."""

from __future__ import annotations

from pathlib import Path

from kerastl.comparing.result import CandidateResult, Comparison
from kerastl.data.wording import counted
from kerastl.evaluation.intervals import Estimate

HEADER = ("", "accuracy", "95 %", "log-loss", "LogME", "1 image", "of 32", "weights")
_DASH = "\N{EN DASH}"


def candidate_cells(result: CandidateResult) -> tuple[str, ...]:
    """Return what a table shows of a network, one text for each column of `HEADER`.

    Args:
        result: Of one that was measured.
    """
    accuracy, speed = result.accuracy, result.speed
    return (
        result.candidate.name,
        "" if accuracy is None else f"{100 * accuracy.value:.1f} %",
        "" if accuracy is None else interval_text(accuracy),
        "" if result.log_loss is None else f"{result.log_loss:.3f}",
        "" if result.log_evidence is None else f"{result.log_evidence:.3f}",
        "" if speed is None else f"{milliseconds_text(speed.latency_ms)} ms",
        "" if speed is None else f"{milliseconds_text(speed.batch_ms)} ms",
        "" if result.num_parameters is None else millions_text(result.num_parameters),
    )


def interval_text(estimate: Estimate) -> str:
    """Return an interval of a share in percent.

    Args:
        estimate: 0..1.

    Example:
        >>> interval_text(Estimate(0.5, 0.404, 0.596))
        '40.4–59.6'
    """
    return f"{100 * estimate.low:.1f}{_DASH}{100 * estimate.high:.1f}"


def milliseconds_text(value: float) -> str:
    """Return milliseconds with two digits that count.

    Args:
        value: Not below 0.

    Example:
        >>> milliseconds_text(0.123), milliseconds_text(4.56), milliseconds_text(78.9)
        ('0.12', '4.6', '79')
    """
    return f"{value:,.{0 if value >= 10 else 1 if value >= 1 else 2}f}"


def millions_text(count: int) -> str:
    """Return a number of weights in millions.

    Args:
        count: Not below 0.

    Example:
        >>> millions_text(3_413_024)
        '3.4 M'
    """
    return f"{count / 1e6:,.1f} M"


def answer_sentences(comparison: Comparison) -> list[str]:
    """Return what to take and why, what ties with it, and how far this goes.

    Args:
        comparison: What was found.
    """
    verdict, taken = comparison.verdict, comparison.advised
    sentences = [_first_sentence(comparison)]
    if len(verdict.tied) > 1:
        sentences.append(_why_it(comparison))
        sentences += _ahead_by_chance(comparison)
    if verdict.swift is not None:
        swift = comparison.result(verdict.swift)
        if taken.speed is not None and swift.speed is not None:
            times = taken.speed.latency_ms / swift.speed.latency_ms
            sentences.append(f"{verdict.swift} is {times:.1f} times as fast as it.")
    if len(verdict.tied) < len(verdict.ranked):
        count = len(verdict.ranked) - len(verdict.tied)
        by_test = comparison.num_groups is None
        how = (
            "p < 0.05" if by_test else "the 95 % interval of each difference over groups is below 0"
        )
        sentences.append(f"{counted(count, 'other')} shown to be worse ({how}).")
    return sentences


def _first_sentence(comparison: Comparison) -> str:
    """Return which to take, and what it has right."""
    first = comparison.advised
    accuracy = first.accuracy
    found = "" if accuracy is None else f"{100 * accuracy.value:.1f} % ({interval_text(accuracy)})"
    if len(comparison.verdict.ranked) == 1:
        return f"{first.candidate.name} alone was measured: {found} of the images are right."
    if len(comparison.verdict.tied) > 1:
        return (
            f"These images cannot tell {_named(list(comparison.verdict.tied))} apart. Take "
            f"{first.candidate.name}: {found} right."
        )
    return f"{first.candidate.name} suits these images best: {found} right."


def _why_it(comparison: Comparison) -> str:
    """Return why it is this one of those that are tied."""
    first, taken = comparison.first, comparison.advised
    if taken is first or taken.speed is None or first.speed is None:
        return "Its features fit the labels best (LogME)."
    times = first.speed.latency_ms / taken.speed.latency_ms
    return (
        f"The features of {first.candidate.name} fit the labels best (LogME), but "
        f"{taken.candidate.name} was right as often and is {times:.1f} times as fast."
    )


def _ahead_by_chance(comparison: Comparison) -> list[str]:
    """Return that another had more images right, if one had."""
    right = {
        name: found.accuracy.value
        for name in comparison.verdict.tied
        if (found := comparison.result(name)).accuracy is not None
    }
    first = comparison.verdict.advised
    best = max(right, key=right.__getitem__)
    points = 100 * (right[best] - right[first])
    if points <= 0:
        return []
    return [f"{best} had {points:.1f} points more right, which is within chance."]


def _named(names: list[str]) -> str:
    """Return names as one part of a sentence."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} others"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def images_words(comparison: Comparison) -> str:
    """Return what networks were compared on.

    Args:
        comparison: What was found.
    """
    groups = comparison.num_groups
    grouped = "" if groups is None else f" in {counted(groups, 'group')}, whole groups held out,"
    return (
        f"{counted(comparison.num_images)} of "
        f"{counted(comparison.num_classes, 'class', 'classes')}{grouped} in 5 folds; "
        f"{counted(comparison.num_held_back, 'test image')} not looked at"
    )


def summary_lines(comparison: Comparison, page: Path) -> list[str]:
    """Return what a terminal shows below the table.

    Args:
        comparison: What was found.
        page: Where the page is.
    """
    lines = [f"{comparison.name}: {images_words(comparison)}."]
    if comparison.unreadable:
        (path, why), *others = comparison.unreadable
        more = f" And {len(others)} more, all on the page." if others else ""
        lines.append(f"Left out: {path}: {why}{more}")
    lines += [
        f"{name} was named twice; it is measured once." for name in comparison.options.repeated
    ]
    lines += [
        f"Not measured: {one.candidate.name}: {one.refused}" for one in comparison.refused_results
    ]
    lines += answer_sentences(comparison)
    lines.append(f"Type: {comparison.options.fit_command(comparison.advised.candidate)}")
    lines.append(f"Took {comparison.seconds:.0f} s. Open {page}")
    return lines
