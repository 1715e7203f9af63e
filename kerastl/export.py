"""`python -m kerastl.export RUN`: files for others to use, proven to answer like the run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.deploy.export_formats import SAVEDMODEL, parse_formats, require_packages
from kerastl.errors import ConfigError
from kerastl.option_values import WHOLE

if TYPE_CHECKING:
    from kerastl.exports import Exports

_HELP = """Write the model of a run folder for others to use, and prove that it answers alike.

Formats: savedmodel (for TF Serving; takes image files), litert, litert-float16, litert-dynamic and
litert-int8 (phones), onnx, openvino and openvino-bfloat16; these take pixels. Several with commas
between them, or all.

Each is asked about the run's test images in a fresh process, by its own runtime. What does not
answer like the model is not published, and makes the exit code 1."""
_EXAMPLES = (
    "python -m kerastl.export runs/photos",
    "python -m kerastl.export runs/photos --format onnx,litert-int8 --min-agreement 0.98",
)
EXIT_REFUSED = 1


def export(
    run: Path,
    /,
    *,
    formats: Annotated[str, Parameter(name="--format")] = SAVEDMODEL,
    export_dir: Path = Path("saved_models"),
    name: str | None = None,
    fold: bool = True,
    min_agreement: float | None = None,
    min_accuracy: float | None = None,
    most_images: Annotated[int, WHOLE] = 1000,
) -> int:
    """Export one run folder.

    Args:
        run: The run folder.
        formats: Which, with commas between them, or all.
        export_dir: EXPORT_DIR/NAME/1, then 2 and so on; formats other than savedmodel go to
            EXPORT_DIR/NAME/FORMAT/1.
        name: Name that TF Serving knows the model by. Default: that of the run folder.
        fold: Fold BatchNorm into the convolutions: the same answers but for rounding, faster.
        min_agreement: Share of the test images, 0 to 1, that must get the model's answer. Default:
            0.95 for formats of fewer than 32 bits; others must give its probabilities.
        min_accuracy: Accuracy on the test images, 0 to 1, that each format must have.
        most_images: Test images at most to measure on. 0: only those that the run keeps.
    """
    for option, value in {"min_agreement": min_agreement, "min_accuracy": min_accuracy}.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"`{option}` must lie between 0 and 1; received {option}={value}.")
    if most_images < 0:
        raise ConfigError(f"`most_images` must be 0 or more; received {most_images}.")
    wanted = parse_formats(formats)
    require_packages(wanted)
    terminal.import_tensorflow_quietly()
    from kerastl.exports import export_formats

    with terminal.progress_on_stderr():
        exports = export_formats(
            run,
            wanted,
            export_dir=export_dir,
            name=name,
            fold=fold,
            min_agreement=min_agreement,
            min_accuracy=min_accuracy,
            most_images=most_images,
        )
    _print_table(exports)
    terminal.print_lines(summary_lines(exports))
    return EXIT_REFUSED if any(result.refused for result in exports.results) else 0


def _print_table(exports: Exports) -> None:
    """Print one line for each format."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("format")
    for title in ("same answer", "largest difference", "accuracy", "MB", "1 image", "32 images"):
        table.add_column(title, justify="right")
    for one in exports.results:
        table.add_row(
            one.format,
            "" if one.agreement is None else f"{100 * one.agreement:.1f} %",
            "" if one.largest_difference is None else f"{one.largest_difference:.1g}",
            "" if one.accuracy is None else f"{100 * one.accuracy:.1f} %",
            "" if one.size_bytes is None else f"{one.size_bytes / 1e6:.1f}",
            *(f"{one.milliseconds[size]:.1f} ms" if one.milliseconds else "" for size in (1, 32)),
        )
    width = None if sys.stdout.isatty() else 100
    Console(markup=False, highlight=False, width=width).print(table)


def summary_lines(exports: Exports) -> list[str]:
    """Return what the table leaves unsaid.

    Args:
        exports: What was exported.
    """
    from kerastl.data.wording import counted

    images = counted(exports.num_images)
    lines = [f"Compared with the model on {images} that the run kept; the others were not read."]
    if (estimate := exports.accuracy) is not None:
        value, low, high = (100 * one for one in (estimate.value, estimate.low, estimate.high))
        lines = [
            f"Compared with the model on {images} of the test split, where its accuracy is "
            f"{value:.1f} % ({low:.1f} to {high:.1f})."
        ]
    lines.append("Times are of the network alone, decoding not included.")
    for one in exports.results:
        if one.path is None:
            lines.append(f"{one.format}: NOT EXPORTED. {one.refused}")
            continue
        lines.append(f"{one.format}: {one.path}")
        if one.format == SAVEDMODEL:
            place = shlex.quote(str(one.path.parent))
            lines.append(f"To serve it with TF Serving: cd {place} && docker compose up")
    return lines


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "export",
        help_text=_HELP,
        usage="RUN [OPTIONS]",
        examples=_EXAMPLES,
    )
    app.default(export)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
