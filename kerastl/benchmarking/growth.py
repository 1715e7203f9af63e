"""How time and memory of a whole job grow: fresh processes, one for each size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import kerastl
from kerastl.benchmarking import growth_job
from kerastl.benchmarking.options import BenchmarkOptions
from kerastl.benchmarking.photos import write_photos
from kerastl.benchmarking.slope import Slope, fit_slope
from kerastl.data.resize import compile_resizing
from kerastl.errors import KerasTLError
from kerastl.models.backbones import find_backbone
from kerastl.progress import track

# A short fine-tuning: its epochs are what a job has most of, but they are all alike.
_EPOCHS = 2
_FACTORS = (1, 4, 16)
_CLASSES = (2, 8, 32)
_FEWEST_PER_CLASS = 8


@dataclass(frozen=True)
class Job:
    """One size of a job.

    Attributes:
        images: In all splits.
        classes: That they belong to.
        image_size: (height, width) in pixels.
        seconds: Of each run, from the start of the process to its end.
        peak_bytes: The most memory that each run took.
    """

    images: int
    classes: int
    image_size: tuple[int, int]
    seconds: tuple[float, ...] = ()
    peak_bytes: tuple[int, ...] = ()

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.image_size[0] * self.image_size[1]


@dataclass(frozen=True)
class Growth:
    """How a job grows with one thing.

    Attributes:
        what: "images", "classes" or "size".
        unit: What `Slope.each` counts, such as "image".
        fixed_words: What was the same in all of these jobs.
        sizes: Of each job, in that unit.
        jobs: From small to large.
        seconds: Slope of the time.
        bytes: Slope of the memory.
    """

    what: str
    unit: str
    fixed_words: str
    sizes: tuple[float, ...]
    jobs: tuple[Job, ...] = field(repr=False)
    seconds: Slope
    bytes: Slope


def measure_growth(options: BenchmarkOptions) -> tuple[Growth, ...]:
    """Run whole jobs of several sizes, each in a fresh process, and fit how they grow.

    Args:
        options: What grows, and from where; network and training are those of the stages, with 2
            epochs of fine-tuning.

    Raises:
        KerasTLError: A job failed; the message is its own.
    """
    if not options.growth:
        return ()
    wanted = {what: plan_jobs(options, what) for what in options.growth}
    jobs = list(dict.fromkeys(job for planned in wanted.values() for job in planned))
    done = {job: job for job in jobs}
    with tempfile.TemporaryDirectory(prefix="kerastl-growth-") as place:
        for job in jobs:
            _write_images(job, Path(place), seed=options.seed)
        # Once on every machine, and the first process reads all of TensorFlow from the disk:
        # neither belongs to the job that happens to come first.
        compile_resizing()
        with track("Running a job that does not count", total=1):
            _run(jobs[0], options, Path(place))
        with track("Running whole jobs", total=len(jobs) * options.growth_rounds) as advance:
            for _ in range(options.growth_rounds):
                for job in jobs:
                    seconds, peak = _run(job, options, Path(place))
                    before = done[job]
                    done[job] = replace(
                        before,
                        seconds=(*before.seconds, seconds),
                        peak_bytes=(*before.peak_bytes, peak),
                    )
                    advance(1)
    return tuple(
        growth_of(what, [done[job] for job in planned]) for what, planned in wanted.items()
    )


def plan_jobs(options: BenchmarkOptions, what: str) -> list[Job]:
    """Return the jobs that show how something grows, from small to large.

    Args:
        options: From where.
        what: "images", "classes" or "size".

    Example:
        >>> [job.images for job in plan_jobs(BenchmarkOptions(), "images")]
        [64, 256, 1024]
    """
    row = find_backbone(options.backbone)
    size = options.fit_config().image_size or row.native_size
    middle = max(_FACTORS[1] * options.growth_images, _FEWEST_PER_CLASS * _CLASSES[-1])
    if what == "images":
        return [Job(factor * options.growth_images, 2, size) for factor in _FACTORS]
    if what == "classes":
        return [Job(middle, classes, size) for classes in _CLASSES]
    half = max(size[0] // 2, row.smallest_size[0]), max(size[1] // 2, row.smallest_size[1])
    sizes = dict.fromkeys([half, size, (2 * size[0], 2 * size[1])])
    return [Job(middle, 2, one) for one in sizes]


def growth_of(what: str, jobs: Sequence[Job]) -> Growth:
    """Return how measured jobs grow.

    Args:
        what: "images", "classes" or "size".
        jobs: With their seconds and bytes.
    """
    first = jobs[0]
    height, width = first.image_size
    side = f"{height} \N{MULTIPLICATION SIGN} {width} pixels"
    sizes: list[float]
    if what == "images":
        unit, fixed_words = "image", f"{first.classes} classes, {side}"
        sizes = [job.images for job in jobs]
    elif what == "classes":
        unit, fixed_words = "class", f"{first.images:,} images, {side}"
        sizes = [job.classes for job in jobs]
    else:
        unit = "10,000 pixels of image size"
        fixed_words = f"{first.images:,} images, {first.classes} classes"
        sizes = [job.pixels / 10_000 for job in jobs]
    repeated = [size for size, job in zip(sizes, jobs, strict=True) for _ in job.seconds]
    return Growth(
        what=what,
        unit=unit,
        fixed_words=fixed_words,
        sizes=tuple(float(size) for size in sizes),
        jobs=tuple(jobs),
        seconds=fit_slope(repeated, [value for job in jobs for value in job.seconds]),
        bytes=fit_slope(repeated, [value for job in jobs for value in job.peak_bytes]),
    )


def _write_images(job: Job, place: Path, *, seed: int) -> Path:
    """Return the folder of a job's images, which are made if they are not there yet."""
    folder = place / f"{job.images}-{job.classes}"
    if not folder.exists():
        write_photos(folder, count=job.images, num_classes=job.classes, seed=seed)
    return folder


def _run(job: Job, options: BenchmarkOptions, place: Path) -> tuple[float, int]:
    """Run one job; return its seconds from start to end, and the most memory that it took."""
    folder = _write_images(job, place, seed=options.seed)
    config = options.fit_config()
    values = {
        "data": str(folder),
        "backbone": options.backbone,
        "weights": options.weights,
        "image_size": list(job.image_size),
        "unfreeze_blocks": config.unfreeze_blocks,
        "augment": options.augment,
        "batch_size": options.batch_size,
        "fine_tune_epochs": _EPOCHS,
        "patience_epochs": _EPOCHS,
        "seed": options.seed,
        "feature_cache": "none",
        "out": str(place / "run"),
        "overwrite": True,
    }
    # This very package, wherever it was imported from.
    path = os.pathsep.join(
        filter(None, [str(Path(kerastl.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", growth_job.__name__, json.dumps(values)],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise KerasTLError(
            f"A job of {job.images:,} images, {job.classes} classes and {job.image_size} pixels "
            f"failed (exit code {process.returncode}): {last[:500]}"
        )
    answer = json.loads(process.stdout.strip().splitlines()[-1])
    return seconds, int(answer["peak_bytes"])
