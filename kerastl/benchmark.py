"""`python -m kerastl.benchmark`: how fast is it here, and where does the time go?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.benchmarking.options import BenchmarkOptions, command_of
from kerastl.run_folder import choose_run_folder, new_run_folder, publish

_HELP = """Measure how fast kerastl is on this machine, stage by stage.

Decoding, augmentation, extraction, probe, training, export and prediction: images per second, as a
part of what the machine reaches in a large matrix product or convolution, and how long a fit
takes. Images are made, or your own. 2 to 5 minutes on 2 CPU cores."""
_EXAMPLES = (
    "python -m kerastl.benchmark",
    "python -m kerastl.benchmark photos/ --backbone ResNet50 --image-size 300",
    "python -m kerastl.benchmark --growth all --growth-rounds 3",
)

_OUTPUT = Group("Output", sort_key=4)


def benchmark(
    options: BenchmarkOptions | None = None,
    *,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    json_output: Annotated[bool, Parameter(name="--json", group=_OUTPUT, negative="")] = False,
) -> None:
    """Measure this machine.

    Args:
        options: What is measured, and how often.
        out: Folder to make. Default: timings/BACKBONE-SIZE, then timings/BACKBONE-SIZE-2 and so on.
        overwrite: Replace an existing benchmark folder, once the new one is complete.
        json_output: Print the numbers as JSON, and nothing else, to standard output.
    """
    options = options or BenchmarkOptions()
    terminal.import_tensorflow_quietly()
    from kerastl.benchmarking.measurement import measure
    from kerastl.benchmarking.page import BENCHMARK_FOLDER, PAGE, VALUES, write_benchmark
    from kerastl.benchmarking.words import summary_lines
    from kerastl.models.backbones import find_backbone

    height, width = options.fit_config().image_size or find_backbone(options.backbone).native_size
    side = str(height) if height == width else f"{height}x{width}"
    folder = choose_run_folder(
        out, name=f"{options.backbone}-{side}", overwrite=overwrite, kind=BENCHMARK_FOLDER
    )
    with (
        terminal.progress_on_stderr(),
        new_run_folder(folder, kind=BENCHMARK_FOLDER) as partial,
    ):
        result = measure(options)
        write_benchmark(partial, result, command=command_of(options))
        folder = publish(partial, folder, overwrite=overwrite, kind=BENCHMARK_FOLDER)
    lines = summary_lines(result, folder / PAGE)
    if json_output:
        sys.stdout.write((folder / VALUES).read_text(encoding="utf-8"))
        sys.stderr.write(f"{lines[-1]}\n")
    else:
        terminal.print_lines(lines)


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "benchmark", help_text=_HELP, usage="[DATA] [OPTIONS]", examples=_EXAMPLES
    )
    app.default(benchmark)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
