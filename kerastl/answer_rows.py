"""Answers to images as commands print them: a table, JSON lines or CSV, a row for each image."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerastl.deploy.predictor import Answer, Predictor

_BATCH_SIZE = 32
_PAIR = ("label", "score")
_NOVELTY = ("unknown_score", "is_unknown")


class AnswerRows:
    """The answers, file by file, a batch at a time; unreadable files go to standard error.

    Args:
        predictor: Who answers.
        files: The images.
        top: How many labels for each image, best first.
        also: What each row of JSON and CSV says besides, by name.
    """

    def __init__(
        self,
        predictor: Predictor,
        files: Sequence[Path],
        *,
        top: int,
        also: Mapping[str, str] | None = None,
    ) -> None:
        self.num_unreadable = 0
        self.several = predictor.multi_label
        self.tells_unknown = predictor.tells_unknown
        self.top = top
        self.also = dict(also or {})
        self._predictor = predictor
        self._files = files

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
                    **self.also,
                    "top": [
                        {"label": label, "score": score}
                        for label, score in zip(answer.classes, answer.scores, strict=True)
                    ][: self.top],
                }

    def _complain(self, path: Path, reason: str) -> None:
        self.num_unreadable += 1
        sys.stderr.write(f"{path}: {reason}\n")


def _novelty(answer: Answer) -> dict[str, Any]:
    """Return how far an image is from what was trained on; nothing where the model cannot tell."""
    if answer.unknown_score is None:
        return {}
    return dict(zip(_NOVELTY, (answer.unknown_score, answer.is_unknown), strict=True))


def write_answers(rows: AnswerRows, *, output_format: str) -> None:
    """Write answers to standard output.

    Args:
        rows: The answers.
        output_format: "table", "jsonl", "csv" or "auto": a table on a terminal, else JSON lines.
    """
    if output_format == "auto":
        output_format = "table" if sys.stdout.isatty() else "jsonl"
    {"table": _print_table, "jsonl": _write_jsonl, "csv": _write_csv}[output_format](rows)


def _print_table(rows: AnswerRows) -> None:
    """Print a table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="fold")
    if rows.several:
        table.add_column("labels", overflow="fold")
    for rank in range(1, rows.top + 1):
        table.add_column("label" if rank == 1 else f"label {rank}", overflow="fold")
        table.add_column("score", justify="right")
    for row in rows:
        cells = [cell for hit in row["top"] for cell in (hit["label"], f"{hit['score']:.3f}")]
        if row.get("is_unknown"):
            cells[0] += " (unknown kind?)"
        table.add_row(row["path"], *([row["label"]] if rows.several else []), *cells)
    Console(markup=False, highlight=False).print(table)


def _write_jsonl(rows: AnswerRows) -> None:
    """Write one JSON object for each image."""
    for row in rows:
        shown = {key: value for key, value in row.items() if key != "top" or rows.top > 1}
        sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _write_csv(rows: AnswerRows) -> None:
    """Write a header and one line for each image."""
    ranks = range(1, rows.top + 1)
    names = [f"{what}{'' if rank == 1 else rank}" for rank in ranks for what in _PAIR]
    others = [*(_NOVELTY if rows.tells_unknown else ()), *rows.also]
    labels = ["labels"] if rows.several else []
    sys.stdout.write(_csv_line(["path", *labels, *names, *others]))
    for row in rows:
        values = [value for hit in row["top"] for value in (hit["label"], hit["score"])]
        values += [""] * (len(names) - len(values))  # fewer labels than were asked for
        answered = [row["label"]] if rows.several else []
        told = [row[name] for name in others]
        sys.stdout.write(_csv_line([row["path"], *answered, *values, *told]))
        sys.stdout.flush()


def _csv_line(values: Sequence[Any]) -> str:
    """Return one line, quoted where it must be."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
