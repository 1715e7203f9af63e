"""`--folds` that is interrupted: what is done stays, under a name that `--resume` finds again."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerastl.config import FitConfig
from kerastl.errors import ConfigError
from kerastl.features.locks import hold_alone
from kerastl.run_folder import FOLDS_FOLDER, publish, write_json, writing
from kerastl.training.checkpoint import refuse_another

logger = logging.getLogger(__name__)

_IDENTITY, _LOCK = ".identity.json", ".lock"


@contextmanager
def unfinished_folds(
    folder: Path, identity: Mapping[str, Any], config: FitConfig
) -> Iterator[Path]:
    """Give a folder for the folds, for `publish_folds` to move to `folder` at the end of the block.

    In it the folder of a fold appears when that is done. What was not published when the block
    ends (an error, Ctrl-C, kill -9) stays if there is something to go on with.

    Args:
        folder: The name that it shall have.
        identity: Which cross-validation it is.
        config: All options.

    Raises:
        ConfigError: What was interrupted was another one, or may still be wanted.
        DataError: The disk is full, or writing failed otherwise.
    """
    partial = folder.with_name(f".{folder.name}.folds")
    now = json.loads(json.dumps(dict(identity)))  # as it comes back from the file
    with writing(folder, kind=FOLDS_FOLDER):
        partial.mkdir(parents=True, exist_ok=True)
        lock = hold_alone(partial / _LOCK)
        if lock is None:
            raise ConfigError(
                f"Another cross-validation is at work for {str(folder)!r}. Wait for it, or choose "
                "another --out."
            )
        try:
            _begin(partial, folder, now, config)
            try:
                yield partial
            finally:
                _end(partial)
        finally:
            os.close(lock)


def publish_folds(partial: Path, folder: Path, *, overwrite: bool) -> Path:
    """Give the complete folder its name.

    Args:
        partial: From `unfinished_folds`.
        folder: The name it shall have.
        overwrite: See `kerastl.run_folder.publish`.

    Returns:
        Where it is now.
    """
    folder = publish(partial, folder, overwrite=overwrite, kind=FOLDS_FOLDER)
    for name in (_IDENTITY, _LOCK):
        (folder / name).unlink(missing_ok=True)
    return folder


def _begin(partial: Path, folder: Path, now: Mapping[str, Any], config: FitConfig) -> None:
    """Go on with what is there, or empty it and begin anew."""
    _drop_pieces(partial)
    then = _identity_in(partial)
    done = _num_done(partial)
    if then is not None and (done or _checkpoints(partial)):
        if config.resume:
            refuse_another(partial, then, now)
            logger.info("%d of %d folds are done already.", done, now["folds"])
            return
        if not config.overwrite:
            raise ConfigError(
                f"A cross-validation for {str(folder)!r} was interrupted; {done} of "
                f"{then['folds']} folds are done. Add --resume to go on with it, or --overwrite "
                "to begin anew, or choose another --out."
            )
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    write_json(partial / _IDENTITY, now)


def _end(partial: Path) -> None:
    """Keep what can be gone on with, and say so; remove the rest. Not there if all went well."""
    if not partial.exists():
        return
    _drop_pieces(partial)
    if done := _num_done(partial):
        logger.warning(
            "The folds that are done (%d) are kept: the same command with --resume goes on.", done
        )
    elif not _checkpoints(partial):
        shutil.rmtree(partial, ignore_errors=True)


def _drop_pieces(partial: Path) -> None:
    """Remove what a fold had written when it was killed."""
    for path in partial.glob(".fold-*.partial"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _identity_in(partial: Path) -> dict[str, Any] | None:
    """Return which cross-validation was interrupted; None if none was."""
    try:
        found = json.loads((partial / _IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "folds" in found else None


def _num_done(partial: Path) -> int:
    return len(list(partial.glob("fold-*")))


def _checkpoints(partial: Path) -> list[Path]:
    return list(partial.glob(".fold-*.checkpoint.npz"))
