"""What the frozen part computed, kept on the disk for later runs.

    <directory>/CACHEDIR.TAG, store.lock
    <directory>/rows/<key of all but the image>-<digits>/use.lock, fill.lock, records, rows.bin

Nothing in it is needed: any of it may be deleted at any time, and is computed again.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from kerastl.errors import ConfigError
from kerastl.features.collection import Collection
from kerastl.features.completion import Completion, Make
from kerastl.features.digests import KnownDigests, content_key
from kerastl.features.locks import alone
from kerastl.features.records import VERSION
from kerastl.features.room import Take, disk_room, entries_bytes, make_room
from kerastl.features.stored_rows import StoredRows

logger = logging.getLogger(__name__)

# Backup programs leave out folders that begin with this: https://bford.info/cachedir/
_TAG_NAME = "CACHEDIR.TAG"
_CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Made by kerastl. May be deleted.\n"


@dataclass(frozen=True)
class Store:
    """Arrays by the key of all that they depend on. Made by `open_store`.

    Attributes:
        directory: Where they are; None if nothing is kept.
        largest_bytes: Of all of them together.
        image_digests: Of images that were looked up before. They must not change while the store
            is in use.
    """

    directory: Path | None
    largest_bytes: int
    image_digests: KnownDigests = field(default_factory=KnownDigests, repr=False)

    @property
    def room_bytes(self) -> int:
        """What new arrays may take: the bound, or what the disk has room for if that is less."""
        if self.directory is None:
            return 0
        try:
            # What is there already need not be dropped, nor taken again by the same rows.
            held = entries_bytes(self.directory / "rows")
            return min(self.largest_bytes, disk_room(self.directory) + held)
        except OSError:  # deleted meanwhile
            return 0

    def rows(
        self,
        key: str,
        names: Sequence[bytes] | int,
        *,
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        make: Make,
        batch_rows: int = 32,
        description: str = "Extracting features",
    ) -> StoredRows:
        """Return rows that were computed by earlier runs, or compute and keep them.

        Each row is kept by itself: what is asked for together and in which order does not
        count. Several processes that want the same rows share the work.

        What cannot be kept is computed for this run alone, and one line of the log says why.

        Args:
            key: From `content_key`: all that the rows depend on beside their names.
            names: 32 bytes for each row, that stand for what it alone depends on, see
                `kerastl.features.digests.digest_images`. Rows of one name are computed once. The
                number of rows where nothing can be kept anyway.
            row_shape: Of each.
            dtype: Of the numbers, such as float32 or `ml_dtypes.bfloat16`.
            make: From places in `names`, and those that will probably be asked for next, each
                int64 of shape (m,), to an array of shape (m, *row_shape). Called for what is not
                there; what it raises goes on to the caller, and the rows before are kept.
            batch_rows: Rows that are made and kept at once; what is lost by a kill.
            description: For the progress bar.

        Returns:
            Read-only, of shape (number of names, *row_shape). Mapped from the store, where it
            stays as long as this or anything sliced from it lives.

        Raises:
            DataError: Neither the store nor memory nor the disk has room.

        Example:
            >>> import tempfile
            >>> from hashlib import sha256
            >>> def make(places, _following):
            ...     print("computing", places)
            ...     return np.full((len(places), 2), 7, np.float32)
            >>> names = [sha256(image).digest() for image in (b"first", b"second", b"third")]
            >>> what = dict(row_shape=(2,), dtype=np.float32, make=make)
            >>> key = content_key(border=3)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     first = open_store(folder, largest_bytes=2**20).rows(key, names[:2], **what)
            ...     second = open_store(folder, largest_bytes=2**20).rows(key, names, **what)
            computing [0 1]
            computing [2]
            >>> second.shape
            (3, 2)
        """
        kind = np.dtype(dtype).newbyteorder("=")
        row_bytes = int(np.prod(row_shape)) * kind.itemsize
        with ExitStack() as stack:
            collection = None
            if self.directory is not None and not isinstance(names, int) and names and row_bytes:
                name = content_key(
                    key=key,
                    version=VERSION,
                    row_shape=tuple(row_shape),
                    dtype=kind.name,
                    byte_order=sys.byteorder,
                )
                collection = Collection(self.directory / "rows", name, row_bytes=row_bytes)
                stack.callback(collection.close)
            return Completion(
                range(names) if isinstance(names, int) else names,
                row_shape=tuple(row_shape),
                dtype=kind,
                collection=collection,
                directories=() if self.directory is None else (self.directory,),
                description=description,
            ).run(make, batch_rows=max(batch_rows, 1), reserve=self._reserve)

    def _reserve(self, needed_bytes: int, take: Take) -> None:
        """Make room and take it while no other process does the same."""
        assert self.directory is not None
        _make_room(self.directory, self.largest_bytes, needed_bytes, take)


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
        ...     "key", 2, row_shape=(1,), dtype=int, make=lambda _places, _: np.zeros((2, 1), int)
        ... ).shape
        (2, 1)
    """
    if directory is None:
        return Store(None, largest_bytes)
    folder = Path(directory).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _take_possession(folder)
        (folder / "rows").mkdir(mode=0o700, exist_ok=True)
        _make_room(folder, largest_bytes, 0)
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


def _make_room(
    directory: Path, largest_bytes: int, needed_bytes: int, take: Take | None = None
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
