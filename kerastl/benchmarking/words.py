"""What was measured, in words and lines for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from kerastl.benchmarking.growth import Growth
from kerastl.benchmarking.job_estimate import JobEstimate
from kerastl.benchmarking.result import BenchmarkResult
from kerastl.benchmarking.slope import Slope
from kerastl.benchmarking.timing import LimitTiming, Timing

HEADER = ("", "images/s", "best", "spread", "GFLOP/image", "of limit")

# Above this spread, in the median over stages, something else was running.
_NOISY = 0.25
# Noise of single runs on a shared machine moves a slope by so much.
_NEAR = 0.1


def stage_cells(timing: Timing) -> tuple[str, ...]:
    """Return what a table shows of a stage, one text for each column of `HEADER`.

    Args:
        timing: What was measured.
    """
    spread = f"{100 * timing.spread:.0f} %"
    if timing.images == 1:  # an export has seconds, no images
        best = min(timing.seconds)
        return timing.title, f"{timing.median_seconds:.1f} s", f"{best:.1f} s", spread, "", ""
    fraction = timing.limit_fraction
    return (
        timing.title,
        number_text(timing.images_per_second),
        number_text(timing.best_images_per_second),
        spread,
        "" if timing.operations is None else f"{timing.operations / 1e9:.2f}",
        "" if fraction is None else f"{100 * fraction:.0f} %",
    )


def number_text(value: float) -> str:
    """Return a number with three digits that count.

    Args:
        value: Not below 0.

    Example:
        >>> number_text(12345.6), number_text(87.654), number_text(1.2345)
        ('12,346', '87.7', '1.23')
    """
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def seconds_text(seconds: float) -> str:
    """Return a time as people say it.

    Args:
        seconds: Not below 0.

    Example:
        >>> seconds_text(3.21), seconds_text(95), seconds_text(4000)
        ('3.2 s', '1 min 35 s', '1 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def limit_text(limits: Sequence[LimitTiming]) -> str:
    """Return the machine's limit in each precision, in a sentence.

    Args:
        limits: What was measured.
    """
    best: dict[str, LimitTiming] = {}
    for one in limits:
        if one.precision not in best or one.median > best[one.precision].median:
            best[one.precision] = one
    return ", ".join(
        f"{number_text(one.median / 1e9)} GFLOP/s in {precision} ({one.kind})"
        for precision, one in best.items()
    )


def job_text(job: JobEstimate) -> str:
    """Return how long a fit takes, in a sentence.

    Args:
        job: The estimate.
    """
    longest = sorted(job.parts, key=lambda part: part.seconds, reverse=True)[:3]
    shares = ", ".join(
        f"{part.title[0].lower()}{part.title[1:]} {100 * part.seconds / job.seconds:.0f} %"
        for part in longest
    )
    return (
        f"A fit of {job.images:,} images with --export would take about "
        f"{seconds_text(job.seconds)}, and what every run takes to start, check and report. Most "
        f"of it: {shares}."
    )


def noise_text(timings: Sequence[Timing]) -> str:
    """Return a warning in a sentence where rounds differ much; else nothing.

    Args:
        timings: What was measured.
    """
    if not timings:
        return ""
    spread = statistics.median(one.spread for one in timings)
    if spread < _NOISY:
        return ""
    return (
        f"The rounds differ by {100 * spread:.0f} % (median over stages), so something else was "
        "running: the best rounds are nearer to what this machine can do."
    )


def slope_text(slope: Slope, unit: str, *, memory: bool) -> str:
    """Return how something grows, in a sentence.

    Args:
        slope: Of seconds or bytes.
        unit: What is counted.
        memory: Whether these are bytes.
    """
    if memory:
        fixed, each = f"{slope.fixed / 2**20:,.0f} MiB", f"{slope.each / 2**20:.3g} MiB"
    else:
        fixed = seconds_text(slope.fixed)
        each = f"{1000 * slope.each:.3g} ms" if slope.each < 1 else f"{slope.each:.3g} s"
    return f"slope {slope.overall:.2f} ({slope.last:.2f} at the end); {fixed} + {each} per {unit}"


def verdict_text(slope: Slope) -> str:
    """Return what a slope means, in a sentence that promises no more than it shows.

    Args:
        slope: Of seconds or bytes.

    Example:
        >>> verdict_text(Slope(overall=0.6, last=0.9, fixed=5.0, each=0.1))
        'Near linear at the end: twice as much costs 1.9 times as much there.'
    """
    times = f"twice as much costs {2**slope.last:.1f} times as much there"
    if slope.last > 1 + _NEAR:
        return f"More than linear at the end: {times}."
    if slope.last >= 1 - 2 * _NEAR:
        return f"Near linear at the end: {times}."
    if slope.last >= _NEAR:
        return (
            f"Less than linear, because much of it is fixed: {times}. Larger jobs than these "
            "should come nearer to linear."
        )
    return f"Hardly any growth in this range: {times}."


def table_lines(timings: Sequence[Timing]) -> list[str]:
    """Return the stages as a table of plain text.

    Args:
        timings: What was measured.
    """
    rows = [HEADER, *(stage_cells(one) for one in timings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def growth_lines(growth: Sequence[Growth]) -> list[str]:
    """Return how time and memory grow, four lines for each thing that grew.

    Args:
        growth: What was measured.
    """
    lines = []
    for one in growth:
        runs = ", ".join(
            f"{size:,.4g}: {min(job.seconds):.0f} s {max(job.peak_bytes) / 2**30:.2f} GiB"
            for size, job in zip(one.sizes, one.jobs, strict=True)
        )
        lines += [
            f"Growth with {one.what} ({one.fixed_words}), by {one.unit}: {runs}",
            f"  time    {slope_text(one.seconds, one.unit, memory=False)}",
            f"          {verdict_text(one.seconds)}",
            f"  memory  {slope_text(one.bytes, one.unit, memory=True)}",
        ]
    return lines


def summary_lines(result: BenchmarkResult, page: Path) -> list[str]:
    """Return what a terminal shows.

    Args:
        result: What was measured.
        page: Where the page is.
    """
    return [
        f"{result.title}, {result.network_words}",
        f"{result.num_images:,} images ({result.files_words}), {result.num_classes} classes, "
        f"batches of {result.options.batch_size}, {result.options.rounds} rounds",
        result.machine.words,
        f"TensorFlow {result.machine.versions['tensorflow']}, Keras "
        f"{result.machine.versions['keras']}; measured limit {limit_text(result.limits)}",
        "",
        *table_lines(result.timings),
        *([noise] if (noise := noise_text(result.timings)) else []),
        "",
        job_text(result.job),
        *growth_lines(result.growth),
        f"Took {seconds_text(result.seconds)}. Open {page}",
    ]
