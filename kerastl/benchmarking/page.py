"""A finished benchmark as files: the page, JSON, CSV, and pictures."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from kerastl.benchmarking.figures import growth_figure, job_figure, stages_figure
from kerastl.benchmarking.result import BenchmarkResult, growth_rows, result_values, stage_rows
from kerastl.benchmarking.words import (
    HEADER,
    job_text,
    limit_text,
    noise_text,
    number_text,
    seconds_text,
    slope_text,
    stage_cells,
    verdict_text,
)
from kerastl.evaluation.figures import figure_data_uri, save_figure
from kerastl.evaluation.report import Picture
from kerastl.evaluation.template import dateline, render_template
from kerastl.run_folder import FolderKind, write_json, write_rows

VALUES = "benchmark.json"
PAGE = "benchmark.html"
STAGES = "stages.csv"
GROWTH = "growth.csv"

# Not "benchmarks": a clone of this repository has a folder of that name.
BENCHMARK_FOLDER = FolderKind("benchmark folder", "timings", (VALUES, PAGE))


def write_benchmark(folder: Path, result: BenchmarkResult, *, command: str) -> None:
    """Write every file of a benchmark folder.

    Args:
        folder: Where to write; it exists and is empty.
        result: What was measured.
        command: What to type for the same measurement.
    """
    finished = datetime.datetime.now(datetime.UTC)
    values = result_values(result, command=command, finished=finished.isoformat(timespec="seconds"))
    write_json(folder / VALUES, values)
    write_rows(folder / STAGES, stage_rows(result.timings))
    if result.growth:
        write_rows(folder / GROWTH, growth_rows(result.growth))
    pictures = []
    for name, figure, picture in _pictures(result):
        save_figure(figure, folder / name)
        pictures.append(picture)
    page = make_benchmark_page(result, command=command, finished=finished, pictures=pictures)
    (folder / PAGE).write_text(page, encoding="utf-8")


def make_benchmark_page(
    result: BenchmarkResult,
    *,
    command: str,
    finished: datetime.datetime,
    pictures: list[Picture],
) -> str:
    """Return the page of a benchmark as HTML that needs no other file.

    Args:
        result: What was measured.
        command: What to type for the same measurement.
        finished: When.
        pictures: Of the stages, of the job, and one for each thing that grew, in this order.
    """
    machine = result.machine
    facts = {
        "Processor": f"{machine.processor}, {machine.num_processors} processors for this process",
        "Instructions": ", ".join(machine.instructions),
        "Memory": f"{machine.memory_bytes / 2**30:.1f} GiB",
        "GPU": ", ".join(machine.gpus) or "none",
        "System": machine.platform,
        "Versions": ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        "Limit": limit_text(result.limits),
        "bfloat16": "" if _has_bfloat16(result) else "not faster than float32 here: not measured",
    }
    growth = [
        {
            "what": one.what,
            "same": one.fixed_words,
            "time": slope_text(one.seconds, one.unit, memory=False),
            "time_verdict": verdict_text(one.seconds),
            "memory": slope_text(one.bytes, one.unit, memory=True),
            "memory_verdict": verdict_text(one.bytes),
            "picture": picture,
        }
        for one, picture in zip(result.growth, pictures[2:], strict=True)
    ]
    return render_template(
        "benchmark.html",
        result=result,
        created=dateline(finished),
        finished=finished,
        version=machine.versions["kerastl"],
        command=command,
        header=HEADER,
        rows=[stage_cells(one) for one in result.timings],
        headline=_headline(result),
        job=job_text(result.job),
        noise=noise_text(result.timings),
        job_seconds=seconds_text(result.job.seconds),
        stages_picture=pictures[0],
        job_picture=pictures[1],
        growth=growth,
        facts={name: text for name, text in facts.items() if text},
        took=seconds_text(result.seconds),
    )


def _has_bfloat16(result: BenchmarkResult) -> bool:
    """Tell whether the machine is fast in bfloat16, so that it was measured."""
    return any(one.precision == "bfloat16" for one in result.limits)


def _headline(result: BenchmarkResult) -> list[tuple[str, str, str]]:
    """Return the numbers at the top of the page: what, images per second, and beside them."""
    titles = {
        "extract": "Extract features",
        "train": "Train on kept views",
        "train_live": "Train live",
        "predict": "Predict",
    }
    by_name = {one.name: one for one in result.timings}
    shown = [name for name in titles if name in by_name]
    if "train" in shown:
        shown.remove("train_live")
    return [
        (
            titles[name],
            number_text(by_name[name].images_per_second),
            f"images/s, {100 * (by_name[name].limit_fraction or 0):.0f} % of the limit",
        )
        for name in shown
    ]


def _pictures(result: BenchmarkResult) -> Iterator[tuple[str, Figure, Picture]]:
    """Yield for each picture the name of its files, the figure, and what the page says of it."""
    figure = stages_figure(result.timings)
    yield (
        "stages",
        figure,
        Picture(
            "Each stage",
            figure_data_uri(figure),
            alt="Images per second of each stage, and the part of the machine's limit.",
            caption="Left: a dot for each round, the line is their median; logarithmic axis. "
            "Right: operations per second as a part of what a large matrix product or convolution "
            "reached in the same round, whichever was faster.",
        ),
    )
    figure = job_figure(result.job)
    yield (
        "job",
        figure,
        Picture(
            "Where the time goes",
            figure_data_uri(figure),
            alt="Seconds of each part of a fit.",
            caption="Added up from the stages, not measured as a whole.",
        ),
    )
    for one in result.growth:
        figure = growth_figure(one)
        yield (
            f"growth_{one.what}",
            figure,
            Picture(
                f"Growth with {one.what}",
                figure_data_uri(figure),
                alt=f"Time and peak memory of whole jobs over {one.what}.",
                caption=f"{one.fixed_words}. Both axes are logarithmic: the slope of a line is the "
                "exponent, and the dashed one is proportional.",
            ),
        )
