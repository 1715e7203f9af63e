"""`python -m kerastl.predict MODEL PATHS…`: label images with a run folder or an export."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.answer_rows import AnswerRows, write_answers
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError

_HELP = """Label images with a run folder or an export.

A table on a terminal, JSON lines in a pipe, which say too how far an image is from what the model
was trained on (unknown_score) and whether that is too far (is_unknown). Where an image can have
several labels, all that reach their thresholds come first, joined by "|". Files that cannot be read
are named on standard error, skipped, and make the exit code 1."""
_EXAMPLES = (
    "python -m kerastl.predict runs/photos new/ --top 3",
    'python -m kerastl.predict saved_models/photos "new/*.jpg" --format csv > labels.csv',
)

EXIT_SOME_UNREADABLE = 1


def predict(
    model: Path,
    /,
    *paths: Annotated[str, Parameter(required=True)],
    top: int = 1,
    output_format: Annotated[
        Literal["auto", "table", "jsonl", "csv"], Parameter(name="--format")
    ] = "auto",
) -> int:
    """Print the labels of images.

    Args:
        model: A run folder or an export: saved_models/NAME, saved_models/NAME/onnx, or a version.
        paths: Images, folders (searched to the bottom) and glob patterns.
        top: How many labels for each image, best first.
        output_format: auto is a table on a terminal and JSON lines in a pipe.
    """
    if top < 1:
        raise ConfigError(f"`top` must be 1 or more; received top={top}.")
    files = find_images(paths)
    terminal.import_tensorflow_quietly()
    from kerastl.deploy.predictor import open_predictor

    rows = AnswerRows(open_predictor(model), files, top=top)
    write_answers(rows, output_format=output_format)
    return EXIT_SOME_UNREADABLE if rows.num_unreadable else 0


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "predict", help_text=_HELP, usage="MODEL PATHS… [OPTIONS]", examples=_EXAMPLES
    )
    app.default(predict)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
