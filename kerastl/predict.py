"""`python -m kerastl.predict MODEL PATHS…`: label images with a run folder or an export."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError

if TYPE_CHECKING:
    from kerastl.deploy.predictor import Answer, Predictor

_HELP = """Label images with a run folder or an export.

A table on a terminal, JSON lines in a pipe, which say too how far an image is from what the model
was trained on (unknown_score) and whether that is too far (is_unknown). Where an image can have
several labels, all that reach their thresholds come first, joined by "|". Files that cannot be read
are named on standard error, skipped, and make the exit code 1."""
_EXAMPLES = (
    "python -m kerastl.predict runs/photos new/ --top 3",
    'python -m kerastl.predict saved_models/photos "new/*.jpg" --format csv > labels.csv',
)

_BATCH_SIZE = 32
EXIT_SOME_UNREADABLE = 1


def predict(
    model: Path,
    paths: Annotated[list[str], Parameter(negative="")],
    /,
    *,
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

    predictor = open_predictor(model)
    if output_format == "auto":
        output_format = "table" if sys.stdout.isatty() else "jsonl"
    rows = _Rows(predictor, files, top=top)
    if output_format == "table":
        _print_table(rows, top)
    else:
        _WRITERS[output_format](rows, top)
    return EXIT_SOME_UNREADABLE if rows.num_unreadable else 0


class _Rows:
    """The answers, file by file, a batch at a time; unreadable files go to standard error."""

    def __init__(self, predictor: Predictor, files: Sequence[Path], *, top: int) -> None:
        self.num_unreadable = 0
        self.several = predictor.multi_label
        self.tells_unknown = predictor.tells_unknown
        self._predictor = predictor
        self._files = files
        self._top = top

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self._files), _BATCH_SIZE):
            files = self._files[start : start + _BATCH_SIZE]
            contents: list[bytes] = []
            readable: list[Path] = []
            for path in files:
                try:
                    contents.append(path.read_bytes())
                    readable.append(path)
                except OSError as error:
                    self._complain(path, error.strerror or str(error))
            answers = self._predictor.predict(contents) if contents else []
            for path, answer in zip(readable, answers, strict=True):
                if answer.error is not None:
                    self._complain(path, answer.error)
                    continue
                yield {
                    "path": str(path),
                    "label": "|".join(self._predictor.answered(answer)),
                    "score": answer.scores[0],
                    **_novelty(answer),
                    "top": [
                        {"label": label, "score": score}
                        for label, score in zip(answer.classes, answer.scores, strict=True)
                    ][: self._top],
                }

    def _complain(self, path: Path, reason: str) -> None:
        self.num_unreadable += 1
        sys.stderr.write(f"{path}: {reason}\n")


def _novelty(answer: Answer) -> dict[str, Any]:
    """Return how far an image is from what was trained on; nothing where the model cannot tell."""
    if answer.unknown_score is None:
        return {}
    return dict(zip(_NOVELTY, (answer.unknown_score, answer.is_unknown), strict=True))


def _print_table(rows: _Rows, top: int) -> None:
    """Print a table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="fold")
    if rows.several:
        table.add_column("labels", overflow="fold")
    for rank in range(1, top + 1):
        table.add_column("label" if rank == 1 else f"label {rank}", overflow="fold")
        table.add_column("score", justify="right")
    for row in rows:
        cells = [cell for hit in row["top"] for cell in (hit["label"], f"{hit['score']:.3f}")]
        if row.get("is_unknown"):
            cells[0] += " (unknown kind?)"
        table.add_row(row["path"], *([row["label"]] if rows.several else []), *cells)
    Console(markup=False, highlight=False).print(table)


def _write_jsonl(rows: _Rows, top: int) -> None:
    """Write one JSON object for each image."""
    for row in rows:
        shown = {key: value for key, value in row.items() if key != "top" or top > 1}
        sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _write_csv(rows: _Rows, top: int) -> None:
    """Write a header and one line for each image."""
    names = [f"{what}{'' if rank == 1 else rank}" for rank in range(1, top + 1) for what in _PAIR]
    novelty = list(_NOVELTY) if rows.tells_unknown else []
    labels = ["labels"] if rows.several else []
    sys.stdout.write(_csv_line(["path", *labels, *names, *novelty]))
    for row in rows:
        values = [value for hit in row["top"] for value in (hit["label"], hit["score"])]
        answered = [row["label"]] if rows.several else []
        told = [row[name] for name in novelty]
        sys.stdout.write(_csv_line([row["path"], *answered, *values, *told]))
        sys.stdout.flush()


_PAIR = ("label", "score")
_NOVELTY = ("unknown_score", "is_unknown")
_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv}


def _csv_line(values: Sequence[Any]) -> str:
    """Return one line, quoted where it must be."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


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
