"""The whole benchmark: `measure(options)` joins images, stages, limits, estimate and growth."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from kerastl.benchmarking.growth import measure_growth
from kerastl.benchmarking.job_estimate import estimate_job
from kerastl.benchmarking.limits import machine_limits
from kerastl.benchmarking.machine import describe_machine
from kerastl.benchmarking.options import BenchmarkOptions
from kerastl.benchmarking.photos import PHOTO_SIZE, write_photos
from kerastl.benchmarking.result import BenchmarkResult
from kerastl.benchmarking.stages import Setting, build_stages, prepare
from kerastl.benchmarking.timing import measure_in_rounds
from kerastl.data.sources import load_table
from kerastl.models.hardware import bfloat16_is_fast

_JOB_IMAGES = 1000


def measure(options: BenchmarkOptions) -> BenchmarkResult:
    """Measure each stage of a fit on this machine, and how whole jobs grow if that is wanted.

    Files that are needed meanwhile are in a temporary folder, which is removed.

    Args:
        options: What is measured.

    Raises:
        KerasTLError: Images, network or weights cannot be had, or a job failed.
    """
    started = time.monotonic()
    # First: its processes need what TensorFlow holds of a GPU as soon as this one uses it.
    growth = measure_growth(options)
    with tempfile.TemporaryDirectory(prefix="kerastl-benchmark-") as place:
        folder = Path(place)
        data = options.data
        if data is None:
            data = str(folder / "photos")
            write_photos(
                folder / "photos",
                count=options.images,
                num_classes=options.classes,
                seed=options.seed,
            )
        table = load_table(data)
        setting = prepare(options, table)
        fast = bfloat16_is_fast()
        stages = build_stages(setting, folder=folder, bfloat16=fast)
        limits = machine_limits(("float32", "bfloat16") if fast else ("float32",))
        timings, limit_timings = measure_in_rounds(stages, limits, rounds=options.rounds)
    images = options.job_images
    if images is None:
        images = _JOB_IMAGES if options.data is None else len(table.ids)
    height, width = setting.network.image_size
    return BenchmarkResult(
        options=options,
        image_size=setting.network.image_size,
        num_images=len(setting.images),
        num_classes=setting.classifier.output_shape[-1],
        files_words=_files_words(options),
        network_words=_network_words(setting),
        machine=describe_machine(),
        timings=timings,
        limits=limit_timings,
        job=estimate_job(
            timings,
            options.fit_config(),
            images=images,
            border=setting.network.border is not None,
            square=height == width,
        ),
        growth=growth,
        seconds=time.monotonic() - started,
    )


def _files_words(options: BenchmarkOptions) -> str:
    """Return what images were read."""
    width, height = PHOTO_SIZE
    made = f"made JPEGs of {width} \N{MULTIPLICATION SIGN} {height}"
    return made if options.data is None else options.data


def _network_words(setting: Setting) -> str:
    """Return which part of the network is trained."""
    network = setting.network
    if not network.unfreeze_blocks:
        return "nothing of it is trained"
    if network.border is None:
        return "all of it is trained"
    return f"the top {network.unfreeze_blocks} of {network.num_blocks} blocks are trained"
