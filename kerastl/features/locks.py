"""Locks between processes that end with the process, however it ends.

`flock` and not a file that exists or not: the kernel gives the lock back when a process is
killed, so nothing is left behind that blocks later ones. It can be shared, too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Each further one needs another process that drops the entry just then.
_MOST_ATTEMPTS = 100


def hold_shared(path: Path) -> int:
    """Make the file if it is missing, and share its lock with others.

    Args:
        path: The lock file. Its whole folder may be dropped by a process that holds the lock
            alone.

    Returns:
        A descriptor that holds the lock until it is closed.

    Raises:
        FileNotFoundError: The folder is not there, or was dropped just now.
        OSError: The file cannot be made or locked.
    """
    for _ in range(_MOST_ATTEMPTS):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(f"{str(path)!r} was dropped again and again")


def hold_alone(path: Path) -> int | None:
    """Take the lock of a file, which is made if missing, without waiting.

    Args:
        path: The lock file.

    Returns:
        A descriptor that holds the lock until it is closed; None if others hold it.

    Raises:
        OSError: The file cannot be made or locked.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if missing, inside the `with` block.

    Args:
        path: The lock file. Others may hold its lock; the wait is as long as their work.

    Raises:
        OSError: The file cannot be made or locked.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
