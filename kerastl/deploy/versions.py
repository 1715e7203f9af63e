"""Numbered versions of a model in a folder, as TF Serving reads them: complete or not there."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from kerastl.data.decode import decode_error_reason
from kerastl.deploy.export_formats import versions_in
from kerastl.errors import ExportError


@contextlib.contextmanager
def writing_version(directory: Path) -> Iterator[None]:
    """Turn what file systems say into one error.

    Args:
        directory: Of the versions, for the message.

    Raises:
        ExportError: The block could not write.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        is_system_error = isinstance(error, OSError)
        reason = (error.strerror or str(error)) if is_system_error else decode_error_reason(error)
        raise ExportError(
            f"The export could not be written in {str(directory)!r}: {reason}. "
            "Make room there or choose another folder with --export-dir; nothing was left "
            "under its name."
        ) from error


@contextlib.contextmanager
def partial_version(directory: Path) -> Iterator[Path]:
    """Give a folder that TF Serving ignores (its name is no number) and that is gone afterwards.

    Args:
        directory: Of the versions; it is made, and with the folders above it gone again where
            nothing came of it.

    Raises:
        ExportError: Nothing can be made there.
    """
    partial = directory / f".partial-{uuid.uuid4().hex[:12]}"
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        with writing_version(directory):
            partial.mkdir(parents=True)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()  # succeeds only where the first export of a model failed


def publish_version(partial: Path, directory: Path) -> int:
    """Give the folder the next version as its name; if someone was faster, the one after.

    Args:
        partial: The complete folder, from `partial_version`.
        directory: Of the versions.

    Returns:
        The version.
    """
    version = max(versions_in(directory), default=0) + 1
    while True:
        try:
            partial.rename(directory / str(version))
            return version
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            version += 1
