"""CSV, TSV and JSONL files with one image path and its label per row.

Labels are text: "01" stays "01" and "NA" is a label, which is why the csv module reads them
and nothing guesses types.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.given_splits import SPLIT_SYNONYMS
from kerastl.data.image_kinds import IMAGE_SUFFIXES
from kerastl.data.table import ImageTable, encode_name_sets, encode_names, natural_order
from kerastl.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

LABEL_FILE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")

# Usual column names, likeliest first; case, spaces and underscores do not matter.
_USUAL_COLUMNS = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile"),
    "label": ("label", "class", "category", "target", "labels", "classname"),
    "split": ("split",),
    "group": ("group",),
}


@dataclass(frozen=True)
class _Row:
    """One line of the file, after checks.

    Attributes:
        line: Its number in the file, from 1.
        path: Of the image, resolved.
        labels: One label, or any number where several are allowed.
        split: "train", "val", "test" or "".
        group: Text; "" where there is none.
    """

    line: int
    path: str
    labels: tuple[str, ...]
    split: str
    group: str


def table_from_label_file(
    file: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
) -> ImageTable:
    r"""Return the table that a CSV, TSV or JSONL file describes.

    Columns that are not named are found by their usual names (path, file, filename, image;
    label, class, category, target; split; group). The same image twice with the same label is
    kept once.

    Args:
        file: UTF-8 text. The first line of a CSV or TSV names the columns; a CSV may have
            commas, semicolons or tabs. Each line of a JSONL is an object; a list of labels
            makes the task multi-label.
        data_dir: Where relative paths start; the folder of the file when not given.
        path_column: Column with the image paths.
        label_column: Column with the labels.
        label_separator: What stands between several labels of one image, such as "|"; alone
            in a cell it says that the image has none of them.
        split_column: Column with train, val or test; empty cells are free.
        group_column: Column with what a split must not tear apart.

    Raises:
        ConfigError: A named column does not exist.
        DataError: A label or image is missing, or rows contradict each other.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "a.png").write_bytes(b"")
        ...     _ = pathlib.Path(folder, "b.png").write_bytes(b"")
        ...     file = pathlib.Path(folder, "labels.csv")
        ...     _ = file.write_text("path,label\na.png,01\nb.png,NA\n")
        ...     table_from_label_file(file).class_names
        ('01', 'NA')
    """
    file = Path(file)
    start = file.parent if data_dir is None else Path(data_dir)
    named = {
        "path": path_column,
        "label": label_column,
        "split": split_column,
        "group": group_column,
    }
    records = _read(file)
    columns = _find_columns(records, named, file)
    several = label_separator is not None or any(
        isinstance(record.get(columns["label"]), list) for _, record in records
    )
    rows = [
        _row(line, record, columns, start=start, separator=label_separator, file=file)
        for line, record in records
    ]
    _refuse_empty_cells(records, rows, columns, file, separator=label_separator)
    _refuse_missing_files(rows, start=start, file=file)
    rows = _without_repetitions(rows, file)
    name_sets = [row.labels for row in rows]
    class_names = natural_order(name for names in name_sets for name in names)
    splits = np.array([row.split for row in rows])
    return ImageTable(
        name=file.stem,
        ids=tuple(row.path for row in rows),
        labels=encode_name_sets(name_sets, class_names)
        if several
        else encode_names([names[0] for names in name_sets], class_names),
        class_names=class_names,
        groups=np.array([row.group for row in rows]) if "group" in columns else None,
        splits=splits if (splits != "").any() else None,
    )


def _read(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, cells by column name) for each row."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        read = _read_json_lines if file.suffix.lower() in (".jsonl", ".ndjson") else _read_cells
        records = list(read(text, file))
    except UnicodeDecodeError:
        raise DataError(
            f"The file {str(file)!r} is not UTF-8 text. Save it as 'CSV UTF-8' and run again."
        ) from None
    except OSError as error:
        raise DataError(f"The file {str(file)!r} cannot be read ({error.strerror}).") from None
    if not records:
        raise DataError(
            f"The file {str(file)!r} has no rows. Expected the columns path and label, then one "
            "row per image."
        )
    return records


def _read_cells(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV or TSV."""
    lines = text.splitlines(keepends=True)
    first = lines[0] if lines else ""
    # Spreadsheets of half the world write semicolons into a CSV.
    candidates = "\t" if file.suffix.lower() == ".tsv" else ",;\t"
    delimiter = max(candidates, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        repeated = [name for name in header if name and header.count(name) > 1]
        if repeated:
            raise DataError(
                f"The file {str(file)!r} has more than one column {repeated[0]!r}. Rename one."
            )
        if header and header[0].lower().endswith(IMAGE_SUFFIXES):
            raise DataError(
                f"The first line of {str(file)!r} must name the columns; received {header!r}. "
                "Put the line path,label above it."
            )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise DataError(
                    f"Line {reader.line_num} of {str(file)!r} has {len(cells)} cells, but there "
                    f"are {len(header)} columns. Put cells with {delimiter!r} in quotes."
                )
            padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
            yield reader.line_num, dict(zip(header, padded, strict=True))
    except csv.Error as error:
        raise DataError(
            f"Line {reader.line_num} of {str(file)!r} cannot be read as a table: {error}. "
            "Expected text with the columns path and label."
        ) from None


def _read_json_lines(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"Line {number} of {str(file)!r} is not JSON: {error.msg}. Expected one object "
                'per line, such as {"path": "a.jpg", "label": "cat"}.'
            ) from None
        if not isinstance(record, dict):
            raise DataError(
                f"Line {number} of {str(file)!r} must be a JSON object such as "
                f'{{"path": "a.jpg", "label": "cat"}}; received {line.strip()[:60]!r}.'
            )
        yield number, record


def _find_columns(
    records: Sequence[tuple[int, dict[str, Any]]], named: dict[str, str | None], file: Path
) -> dict[str, str]:
    """Return the column of each role: the named one, or one with a usual name."""
    header = list(dict.fromkeys(name for _, record in records for name in record))
    by_key = {_key(name): name for name in reversed(header)}
    columns: dict[str, str] = {}
    for role, name in named.items():
        usual = [by_key[key] for key in _USUAL_COLUMNS[role] if key in by_key]
        if name is not None and name not in header:
            raise ConfigError(
                f"`{role}_column` must be a column of {str(file)!r}; received "
                f"{role}_column={name!r}.{did_you_mean(name, header)} "
                f"Its columns are {_listed(header)}."
            )
        if name is not None or usual:
            columns[role] = usual[0] if name is None else name
        elif role in ("path", "label"):
            raise DataError(
                f"The file {str(file)!r} has no column for the {role}; its columns are "
                f"{_listed(header)}.{did_you_mean(role, header)} Say which with "
                f"--{role}-column, or rename it to {role!r}."
            )
    if named["split"] is None and "split" in columns and not _is_split(columns["split"], records):
        logger.warning(
            "The column %r of %s does not hold train, val and test and is ignored.",
            columns.pop("split"),
            file,
        )
    for role in ("split", "group"):
        if named[role] is None and role in columns:
            logger.info("The column %r of %s is respected as the %s.", columns[role], file, role)
    return columns


def _is_split(column: str, records: Sequence[tuple[int, dict[str, Any]]]) -> bool:
    """Whether a column holds names of splits, or nothing."""
    return all(
        _text(record.get(column)).casefold() in {*SPLIT_SYNONYMS, ""} for _, record in records
    )


def _row(
    line: int,
    record: dict[str, Any],
    columns: dict[str, str],
    *,
    start: Path,
    separator: str | None,
    file: Path,
) -> _Row:
    """Return the row with its values as text."""
    label = record.get(columns["label"])
    if isinstance(label, list):
        labels = [_text(one) for one in label]
    else:
        labels = _text(label).split(separator) if separator else [_text(label)]
    path = _text(record.get(columns["path"]))
    split = _text(record.get(columns["split"])) if "split" in columns else ""
    if split and split.casefold() not in SPLIT_SYNONYMS:
        raise DataError(
            f"Line {line} of {str(file)!r} has the split {split!r}; expected train, val, test or "
            f"nothing.{did_you_mean(split, SPLIT_SYNONYMS)}"
        )
    return _Row(
        line=line,
        path=os.path.normpath(start / path) if path else "",
        labels=tuple(sorted({one.strip() for one in labels} - {""})),
        split=SPLIT_SYNONYMS[split.casefold()] if split else "",
        group=_text(record.get(columns["group"])) if "group" in columns else "",
    )


def _refuse_empty_cells(
    records: Sequence[tuple[int, dict[str, Any]]],
    rows: Sequence[_Row],
    columns: dict[str, str],
    file: Path,
    *,
    separator: str | None,
) -> None:
    """Refuse rows without a path, a label or (if there are groups) a group."""
    # Said on purpose: this image has none of several labels.
    none_at_all = [[], separator.strip()] if separator and separator.strip() else [[]]
    empty = {
        "path": [row.line for row in rows if not row.path],
        "label": [
            row.line
            for row, (_, record) in zip(rows, records, strict=True)
            if not row.labels and record.get(columns["label"]) not in none_at_all
        ],
        "group": [row.line for row in rows if "group" in columns and not row.group],
    }
    advice = {
        "path": "Fill them in or delete these lines.",
        "label": "Fill them in or delete these lines (an image with none of several labels has "
        "the --label-separator alone in its cell, or an empty list in a JSONL).",
        "group": "Fill them in; an image that belongs to no group gets a name of its own.",
    }
    for role, lines in empty.items():
        if lines:
            raise DataError(
                f"The {role} is missing in {len(lines)} of {len(rows)} rows of {str(file)!r} "
                f"(column {columns[role]!r}, {_lines(lines)}). {advice[role]}"
            )


def _refuse_missing_files(rows: Sequence[_Row], *, start: Path, file: Path) -> None:
    """Refuse paths that are no files."""
    missing = [row for row in rows if not os.path.isfile(row.path)]
    if missing:
        shown = ", ".join(f"{row.path!r} (line {row.line})" for row in missing[:3])
        raise DataError(
            f"{len(missing)} of {len(rows)} images of {str(file)!r} do not exist, such as {shown}. "
            f"Relative paths start at {str(start)!r}; say where they start with --data-dir, or "
            "delete these lines."
        )


def _without_repetitions(rows: Sequence[_Row], file: Path) -> list[_Row]:
    """Return each image once; refuse rows of one image that contradict each other."""
    first: dict[str, _Row] = {}
    for row in rows:
        kept = first.setdefault(os.path.abspath(row.path), row)
        for role in ("labels", "split", "group"):
            one, other = getattr(kept, role), getattr(row, role)
            if one == other:
                continue
            if role == "labels":
                one, other = "|".join(one), "|".join(other)
            raise DataError(
                f"The image {row.path!r} has two different {role.rstrip('s')}s in {str(file)!r}: "
                f"{one!r} in line {kept.line} and {other!r} in line {row.line}. Delete one line"
                + (
                    "; several labels of one image go into one cell, with --label-separator."
                    if role == "labels"
                    else "."
                )
            )
    if len(first) < len(rows):
        logger.warning("%d repeated rows of %s were left out.", len(rows) - len(first), file)
    return list(first.values())


def _text(value: Any) -> str:
    """Return a JSON value or a cell as text; nothing as an empty text."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    """Return a column name without case, spaces and punctuation."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _listed(names: Sequence[str]) -> str:
    """Return column names for a message."""
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")


def _lines(lines: Sequence[int]) -> str:
    """Return line numbers for a message."""
    return (
        "line " * (len(lines) == 1)
        + "lines " * (len(lines) > 1)
        + ", ".join(map(str, lines[:5]))
        + (", ..." if len(lines) > 5 else "")
    )
