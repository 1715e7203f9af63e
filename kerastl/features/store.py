"""What the frozen part computed, kept on the disk for later runs.

    <directory>/CACHEDIR.TAG, store.lock
    <directory>/rows/<key of content, layout and version>/use.lock, fill.lock, journal, rows.bin

Nothing in it is needed: any of it may be deleted at any time, and is computed again.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kerastl.errors import ConfigError
from kerastl.features.digests import content_key
from kerastl.features.entry import Make, kept_rows, made_rows
from kerastl.features.journal import VERSION, Layout
from kerastl.features.locks import alone
from kerastl.features.room import NotKeptError, disk_room, make_room, room_for, size_text
from kerastl.progress import track

logger = logging.getLogger(__name__)

# Written and checked at once, lost at most when a run is killed.
_BLOCK_BYTES = 8 * 2**20
_MOST_BLOCK_ROWS = 1024

# Backup programs leave out folders that begin with this: https://bford.info/cachedir/
_TAG_NAME = "CACHEDIR.TAG"
_CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Made by kerastl. May be deleted.\n"


@dataclass(frozen=True)
class Store:
    """Arrays by the key of all that they depend on. Made by `open_store`.

    Attributes:
        directory: Where they are; None if nothing is kept.
        largest_bytes: Of all of them together.
    """

    directory: Path | None
    largest_bytes: int

    @property
    def room_bytes(self) -> int:
        """What new arrays may take: the bound, or what the disk has room for if that is less."""
        if self.directory is None:
            return 0
        try:
            return min(self.largest_bytes, disk_room(self.directory))
        except OSError:  # deleted meanwhile
            return 0

    def rows(
        self,
        key: str,
        *,
        count: int,
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        make: Make,
        block_rows: int | None = None,
        description: str = "Extracting features",
        while_waiting: Callable[[], None] = lambda: None,
    ) -> NDArray[Any]:
        """Return rows that were computed by an earlier run, or compute and keep them.

        What cannot be kept is computed for this run alone, and one line of the log says why.

        Args:
            key: From `content_key`: everything that the rows depend on.
            count: Number of rows.
            row_shape: Of each.
            dtype: Of the numbers, such as float32 or `ml_dtypes.bfloat16`.
            make: From a slice of rows to an array of shape (rows in the slice, *row_shape).
                Called in order for the blocks that are not stored; what it raises goes on to
                the caller, and the blocks before are kept.
            block_rows: Rows that are made, written and checked at once; about 8 MiB, at most
                1,024 rows, when not given. Rows that are stored keep the number they began with.
            description: For the progress bar.
            while_waiting: Called again and again while another process computes the same rows;
                what it raises goes on to the caller.

        Returns:
            Read-only, of shape (count, *row_shape). Mapped from the store, where it stays as
            long as the array or anything sliced from it lives.

        Raises:
            DataError: Neither the store nor memory nor the disk has room.

        Example:
            >>> import tempfile
            >>> def make(rows):
            ...     print("computing", rows.start, rows.stop)
            ...     return np.full((rows.stop - rows.start, 2), 7, np.float32)
            >>> key = content_key(images="digest", border=3)
            >>> what = dict(count=3, row_shape=(2,), dtype=np.float32, make=make)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     first = open_store(folder, largest_bytes=2**20).rows(key, **what)
            ...     second = open_store(folder, largest_bytes=2**20).rows(key, **what)
            computing 0 3
            >>> second.shape
            (3, 2)
        """
        kind = np.dtype(dtype).newbyteorder("=")
        row_bytes = int(np.prod(row_shape)) * kind.itemsize
        if block_rows is None:
            block_rows = min(_BLOCK_BYTES // max(row_bytes, 1), _MOST_BLOCK_ROWS)
        layout = Layout(count, tuple(row_shape), kind, max(block_rows, 1))
        if self.directory is not None and layout.total_bytes:
            name = content_key(
                key=key,
                version=VERSION,
                count=count,
                row_shape=layout.row_shape,
                dtype=kind.name,
                byte_order=sys.byteorder,
            )
            reserve = functools.partial(_reserve, self.directory, self.largest_bytes)
            try:
                if layout.total_bytes > self.largest_bytes:  # and then no file is made at all
                    raise NotKeptError(f"it may take {size_text(self.largest_bytes)} in all")
                entry = self.directory / "rows" / name
                return kept_rows(
                    entry,
                    layout,
                    make,
                    reserve=reserve,
                    description=description,
                    while_waiting=while_waiting,
                )
            except NotKeptError as error:
                logger.warning(
                    "%s: %s are not kept for later runs in %s: %s.",
                    description,
                    size_text(layout.total_bytes),
                    self.directory,
                    error,
                )
        return self._unkept(layout, make, description)

    def _unkept(self, layout: Layout, make: Make, description: str) -> NDArray[Any]:
        """Return the rows, computed for this process alone."""
        rows = room_for(layout, () if self.directory is None else (self.directory,))
        with track(description, total=layout.count) as advance:
            for block in range(layout.num_blocks):
                chosen = layout.rows_of(block)
                rows[chosen] = made_rows(make, layout, chosen)
                advance(chosen.stop - chosen.start)
        rows.flags.writeable = False
        return rows


def open_store(directory: str | os.PathLike[str] | None, *, largest_bytes: int) -> Store:
    """Open the store in a folder, which is made if missing and readable for its owner only.

    Args:
        directory: The folder, such as `default_directory()`; None to keep nothing. If it
            cannot be written to, one line of the log says so and nothing is kept either.
        largest_bytes: What all arrays together may take on the disk. The ones that were used
            least recently are dropped to stay below, but never one that a process is using.

    Raises:
        ConfigError: The folder holds something that kerastl did not make.

    Example:
        >>> open_store(None, largest_bytes=0).rows(
        ...     "key", count=2, row_shape=(), dtype=int, make=lambda rows: np.zeros(2, int)
        ... )
        array([0, 0])
    """
    if directory is None:
        return Store(None, largest_bytes)
    folder = Path(directory).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _take_possession(folder)
        (folder / "rows").mkdir(mode=0o700, exist_ok=True)
        _reserve(folder, largest_bytes, 0)
    except OSError as error:
        logger.warning(
            "Nothing is kept for later runs: %s cannot be used (%s).",
            folder,
            error.strerror or error,
        )
        return Store(None, largest_bytes)
    return Store(folder, largest_bytes)


def _take_possession(folder: Path) -> None:
    """Mark an empty folder as ours; refuse one that holds anything of somebody else's."""
    tag = folder / _TAG_NAME
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith(_TAG_NAME))
    # Asked after that: another process makes the tag before anything else.
    if tag.exists() and tag.read_bytes().startswith(_CACHE_TAG):
        return
    if tag.exists() or foreign:
        raise ConfigError(
            f"The folder of the feature cache must be new or empty, because what is in it gets "
            f"deleted; received {str(folder)!r}, which holds {(foreign or [_TAG_NAME])[0]!r}. Name "
            "another one, such as --feature-cache ~/features, or --feature-cache none."
        )
    partial = folder / f"{_TAG_NAME}.{os.getpid()}"
    partial.write_bytes(_CACHE_TAG)
    partial.rename(tag)


def _reserve(
    directory: Path, largest_bytes: int, needed_bytes: int, take: Callable[[], None] | None = None
) -> None:
    """Make room and take it while no other process does the same."""
    with alone(directory / "store.lock"):
        dropped = make_room(
            directory / "rows", needed_bytes=needed_bytes, largest_bytes=largest_bytes
        )
        if take is not None:
            take()
    if dropped:
        logger.info("Dropped %d of the arrays in %s to make room.", len(dropped), directory)


def find_store(choice: str, *, largest_bytes: int) -> Store:
    """Return the store that a user chose.

    Args:
        choice: A folder; "auto" for `default_directory()`, "none" to keep nothing.
        largest_bytes: See `open_store`; 0 to keep nothing, and leave alone what there is.

    Raises:
        ConfigError: The folder that was named cannot be used.

    Example:
        >>> find_store("none", largest_bytes=2**30).directory is None
        True
    """
    if choice == "none" or not largest_bytes:
        return open_store(None, largest_bytes=0)
    try:
        directory = default_directory() if choice == "auto" else Path(choice).expanduser()
    except RuntimeError as error:  # no home directory, as in many containers
        if choice != "auto":
            raise ConfigError(f"`feature_cache` {choice!r} cannot be used: {error}") from None
        logger.warning("Nothing is kept for later runs: %s", error)
        return open_store(None, largest_bytes=0)
    store = open_store(directory, largest_bytes=largest_bytes)
    if store.directory is None and choice != "auto":
        raise ConfigError(
            f"`feature_cache` must name a folder that can be written to, auto or none; received "
            f"{choice!r}."
        )
    return store


def default_directory() -> Path:
    """Return where kerastl keeps what it can compute again.

    `$KERASTL_CACHE`, else `$XDG_CACHE_HOME/kerastl`, else `~/.cache/kerastl`, as the XDG Base
    Directory Specification 0.8 says: a relative `$XDG_CACHE_HOME` does not count.
    """
    own = os.environ.get("KERASTL_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "kerastl"
