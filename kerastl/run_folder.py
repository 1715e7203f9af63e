"""The run folder: what a user keeps. Files only; written under another name until complete."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.errors import ConfigError, DataError

CONFIG = "config.yaml"
MODEL = "model.keras"
LABELS = "labels.json"
# What the model knows, to tell pictures of another kind: `kerastl.features.novelty`.
NOVELTY = "novelty.npz"
METRICS = "metrics.json"
SPLIT = "split.csv"
# Column of that: the first part of the SHA-256 of the pixels that the run saw, enough to tell
# images apart.
PIXELS, DIGEST_LENGTH = "pixels", 16
# What SPLIT calls test images that the model was not asked about.
UNASKED = "unasked"
# Another: for whom to measure apart.
SUBGROUP = "subgroup"
HISTORY = "history.csv"
PREDICTIONS = "test_predictions.csv"
QUARANTINE = "quarantine.csv"
# As Hugging Face calls the card of a model.
MODEL_CARD = "README.md"
LABEL_CANDIDATES = "label_candidates.csv"
ENVIRONMENT = "environment.json"
REPORT = "report.html"
HELD_OUT = "held_out"
CHECK = "check.json"
LEARNING_RATES = "learning_rates.csv"
CROSS_VALIDATION = "cross_validation.json"
OUT_OF_FOLD = "out_of_fold.csv"
TRIALS = "trials.csv"
RECIPE = "recipe.yaml"

# A temporary folder is written in seconds, at the end of the work: one this old was left by a
# process that was killed, be it on this machine or on another that shares the disk.
_LEFT_SECONDS = 24 * 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderKind:
    """What a command leaves behind.

    Attributes:
        title: For messages.
        parent: Where such folders are made when nobody says.
        marks: Files that only such a folder has: what lacks one of them is never replaced.
    """

    title: str
    parent: str
    marks: tuple[str, ...]


RUN_FOLDER = FolderKind("run folder", "runs", (CONFIG, MODEL))
FOLDS_FOLDER = FolderKind("folder of a cross-validation", "runs", (CROSS_VALIDATION, OUT_OF_FOLD))
RATE_FOLDER = FolderKind("folder of a sweep of learning rates", "runs", (LEARNING_RATES,))
TRIALS_FOLDER = FolderKind("folder of trials", "runs", (TRIALS, RECIPE))


def choose_run_folder(
    out: str | None, *, name: str, overwrite: bool, kind: FolderKind = RUN_FOLDER
) -> Path:
    """Return where the run folder will be, before any work is done.

    Args:
        out: What the user asked for; None for runs/NAME, runs/NAME-2 and so on.
        name: Of the data set, for the default.
        overwrite: Whether an existing run folder may be replaced.
        kind: Of the folder.

    Raises:
        ConfigError: `out` exists and may not be replaced, or is no run folder at all, or
            cannot be written.

    Example:
        >>> choose_run_folder(None, name="my photos", overwrite=False).name
        'my-photos'
    """
    if out is None:
        base = default_folder(name, kind=kind)
        path = base if overwrite else _free_name(base)
    else:
        path = Path(out)
        if path.exists() and not overwrite and _may_replace(path, kind):
            raise ConfigError(
                f"The {kind.title} {str(path)!r} exists already and is never overwritten by "
                "itself. Choose another --out, or add --overwrite to replace it."
            )
    if path.exists() and not _may_replace(path, kind):
        raise ConfigError(
            f"{str(path)!r} exists already and is not a {kind.title} (it has no "
            f"{' and '.join(kind.marks)}), so it is never replaced. Choose another --out."
        )
    _check_writable(path)
    return path


def default_folder(name: str, *, kind: FolderKind = RUN_FOLDER) -> Path:
    """Return the folder that is made when nobody says and nothing is there yet.

    Args:
        name: Of the data set.
        kind: Of the folder.

    Example:
        >>> default_folder("my photos").as_posix()
        'runs/my-photos'
    """
    return Path(kind.parent) / (re.sub(r"([^\w.]|\.{2,})+", "-", name).strip("-.") or "run")


def _free_name(base: Path) -> Path:
    """Return the first of NAME, NAME-2, NAME-3 and so on that does not exist."""
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def _may_replace(path: Path, kind: FolderKind) -> bool:
    """Whether a folder is one of ours, of this kind, or empty."""
    if not path.is_dir():
        return False
    return not any(path.iterdir()) or all((path / mark).is_file() for mark in kind.marks)


def _check_writable(path: Path) -> None:
    """Fail before the hours of work, not after."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{path.name}.{os.getpid()}.writable"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written in {str(path.parent)!r} ({error.strerror}). "
            "Choose another place with --out."
        ) from None


@contextlib.contextmanager
def new_run_folder(path: Path, *, kind: FolderKind = RUN_FOLDER) -> Iterator[Path]:
    """Give a temporary folder beside `path`, for `publish` to move there at the end of the block.

    What was not published when the block ends (an error, Ctrl-C) is removed, and an existing
    folder at `path` stays as it was. What a killed process left a day ago and more is removed too.

    Args:
        path: From `choose_run_folder`.
        kind: Of the folder.

    Raises:
        DataError: The disk is full, or writing failed otherwise.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _remove_leftovers(path)
    try:
        with writing(path, kind=kind):
            partial.mkdir(parents=True)
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary folders of this name that nobody writes any more."""
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.partial")
    with contextlib.suppress(OSError):
        for folder in path.parent.iterdir():
            if name.fullmatch(folder.name) and folder.stat().st_mtime < time.time() - _LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path, *, kind: FolderKind) -> Iterator[None]:
    """Say what cannot be written if something cannot be inside the block.

    Args:
        path: The name that the folder shall have.
        kind: Of the folder.

    Raises:
        DataError: The disk is full, or writing failed otherwise.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of our progress has gone: no fault of the folder
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise DataError(
            f"The {kind.title} {str(path)!r} could not be written: {error.strerror or error}. "
            "Make room or choose another --out; nothing was left under its name."
        ) from error


def publish(partial: Path, path: Path, *, overwrite: bool, kind: FolderKind = RUN_FOLDER) -> Path:
    """Give a complete folder its name; an old one is kept until that has worked.

    Args:
        partial: From `new_run_folder`.
        path: The name it shall have.
        overwrite: Whether a run folder of that name may be replaced. If not, and another
            run took the name meanwhile, the next free one is taken.
        kind: Of the folder.

    Returns:
        Where it is now.

    Raises:
        ConfigError: What stands there now is no run folder.
    """
    if path.exists() and not overwrite:
        taken, path = path, _free_name(path)
        logger.warning("%s was made by another run meanwhile; this one is %s.", taken, path)
    if not path.exists():
        partial.rename(path)
        return path
    if not _may_replace(path, kind):
        raise ConfigError(
            f"{str(path)!r} has become something else than a {kind.title}; it was not replaced. "
            "Choose another --out."
        )
    old = path.parent / f".{path.name}.{os.getpid()}.replaced"
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return path


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON that people can read.

    Args:
        path: File to make.
        value: Plain values.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], *, columns: list[str] | None = None
) -> None:
    """Write rows of one kind as CSV, with a header.

    Args:
        path: File to make.
        rows: Column names to values; all with the same names.
        columns: These names, needed where there may be no rows.
    """
    import pandas as pd

    pd.DataFrame(list(rows), columns=columns).to_csv(path, index=False)


def read_labels(path: Path) -> dict[str, Any]:
    """Return class names, image size and resize mode of a run folder.

    Args:
        path: The run folder.

    Raises:
        ConfigError: It is not a finished run folder.
    """
    try:
        labels = json.loads((path / LABELS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{str(path)!r} is not a finished run folder (it has no readable {LABELS}). "
            "Give a folder that kerastl.fit made."
        ) from None
    if not isinstance(labels, dict):
        raise ConfigError(f"{str(path / LABELS)!r} must hold a JSON object.")
    return labels
