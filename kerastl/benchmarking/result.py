"""All that a benchmark found, and the same as rows and plain values for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kerastl.benchmarking.growth import Growth
from kerastl.benchmarking.job_estimate import JobEstimate
from kerastl.benchmarking.machine import Machine
from kerastl.benchmarking.options import BenchmarkOptions
from kerastl.benchmarking.slope import Slope
from kerastl.benchmarking.timing import LimitTiming, Timing


@dataclass(frozen=True)
class BenchmarkResult:
    """What was measured on which machine.

    Attributes:
        options: What was asked for.
        image_size: (height, width) in pixels that images were brought to.
        num_images: That the stages worked on.
        num_classes: Of these.
        files_words: What images were read, in a few words.
        network_words: Which part of the network is trained, in a few words.
        machine: What it ran on.
        timings: One for each stage.
        limits: One for each way to measure the machine's limit.
        job: How long a fit takes.
        growth: How whole jobs grow; empty if nobody asked.
        seconds: That the benchmark took.
    """

    options: BenchmarkOptions
    image_size: tuple[int, int]
    num_images: int
    num_classes: int
    files_words: str
    network_words: str
    machine: Machine
    timings: tuple[Timing, ...]
    limits: tuple[LimitTiming, ...]
    job: JobEstimate
    growth: tuple[Growth, ...]
    seconds: float

    @property
    def title(self) -> str:
        """Backbone and image size."""
        height, width = self.image_size
        return f"{self.options.backbone} at {height} \N{MULTIPLICATION SIGN} {width}"


def stage_rows(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Return one row for each stage.

    Args:
        timings: What was measured.
    """
    return [
        {
            "stage": one.name,
            "images": one.images,
            "seconds": round(one.median_seconds, 6),
            "images_per_second": round(one.images_per_second, 3),
            "best_images_per_second": round(one.best_images_per_second, 3),
            "spread": round(one.spread, 4),
            "gflop_per_image": None if one.operations is None else round(one.operations / 1e9, 4),
            "precision": one.precision if one.operations else None,
            "limit_fraction": None if one.limit_fraction is None else round(one.limit_fraction, 4),
            "rounds": len(one.seconds),
        }
        for one in timings
    ]


def growth_rows(growth: Sequence[Growth]) -> list[dict[str, Any]]:
    """Return one row for each run of each job.

    Args:
        growth: What was measured.
    """
    return [
        {
            "grows": one.what,
            "images": job.images,
            "classes": job.classes,
            "height": job.image_size[0],
            "width": job.image_size[1],
            "seconds": round(seconds, 3),
            "peak_bytes": peak,
        }
        for one in growth
        for job in one.jobs
        for seconds, peak in zip(job.seconds, job.peak_bytes, strict=True)
    ]


def result_values(result: BenchmarkResult, *, command: str, finished: str) -> dict[str, Any]:
    """Return what benchmark.json holds, every round included.

    Args:
        result: What was measured.
        command: What to type for the same measurement.
        finished: When, in ISO 8601.
    """
    rows = stage_rows(result.timings)
    return {
        "title": result.title,
        "command": command,
        "finished": finished,
        "seconds": round(result.seconds, 1),
        "options": dataclasses.asdict(result.options),
        "image_size": list(result.image_size),
        "num_images": result.num_images,
        "num_classes": result.num_classes,
        "images_are": result.files_words,
        "network": result.network_words,
        "machine": dataclasses.asdict(result.machine),
        "limits": [
            {
                "kind": one.kind,
                "precision": one.precision,
                "gflop_per_second": round(one.median / 1e9, 2),
                "by_round": [round(speed / 1e9, 2) for speed in one.operations_per_second],
            }
            for one in result.limits
        ],
        "stages": [
            {
                **row,
                "title": one.title,
                "seconds_by_round": [round(value, 6) for value in one.seconds],
                "limit_fraction_by_round": [round(value, 4) for value in one.limit_fractions],
            }
            for row, one in zip(rows, result.timings, strict=True)
        ],
        "job": {
            **dataclasses.asdict(result.job),
            "seconds": round(result.job.seconds, 2),
        },
        "growth": [
            {
                "grows": one.what,
                "unit": one.unit,
                "same": one.fixed_words,
                "sizes": list(one.sizes),
                "seconds": _slope_values(one.seconds),
                "bytes": _slope_values(one.bytes),
                "jobs": growth_rows([one]),
            }
            for one in result.growth
        ],
    }


def _slope_values(slope: Slope) -> dict[str, float]:
    """Return a slope with a few digits."""
    return {name: float(f"{value:.4g}") for name, value in dataclasses.asdict(slope).items()}
