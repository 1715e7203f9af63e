"""What the frozen part gives for which images, looked up in the store before it is computed."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike, NDArray

from kerastl.data.stream import Images
from kerastl.features.completion import Make
from kerastl.features.digests import content_key
from kerastl.features.network_digest import digest_network
from kerastl.features.store import Store, open_store
from kerastl.features.stored_rows import StoredRows

logger = logging.getLogger(__name__)

# Nothing is kept for later runs.
NO_STORE = open_store(None, largest_bytes=0)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The rows of a store that belong to one network and one set of images.

    Made by `shelf_of`.

    Attributes:
        images: uint8 of shape (n, height, width, 3).
        store: Where rows are kept.
        network: Digest of the network; empty if nothing is kept.
    """

    images: Images
    store: Store
    network: str

    def rows(
        self,
        rows: NDArray[np.int64],
        parts: Mapping[str, object],
        *,
        make: Callable[[NDArray[np.uint8]], NDArray[Any]],
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        batch_size: int,
        description: str,
    ) -> StoredRows:
        """Return what the network gives for some images, from the store where it is there.

        Args:
            rows: int64: which images.
            parts: All that the result depends on beside images and network, see
                `kerastl.features.digests.content_key`.
            make: From some of the images to what the network gives for them: for each what it
                would give for it alone, but for rounding. Called for what is not kept yet.
            row_shape: Of what it gives for one image.
            dtype: Of that.
            batch_size: Images per batch; a batch is what is lost when a run is killed.
            description: For the progress bar.

        Returns:
            Of shape (number of rows, *row_shape), read-only.
        """
        with reading_ahead(self.images) as read:
            return self.rows_by_place(
                rows,
                parts,
                make=lambda places, following: make(read(rows[places], rows[following])),
                row_shape=row_shape,
                dtype=dtype,
                batch_size=batch_size,
                description=description,
            )

    def rows_by_place(
        self,
        rows: NDArray[np.int64],
        parts: Mapping[str, object],
        *,
        make: Make,
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        batch_size: int,
        description: str,
    ) -> StoredRows:
        """Return the same for who needs no pixels to make it.

        Args:
            rows: See `rows`, like all others but `make`.
            parts: See there.
            make: From places in `rows`, and those that will probably be asked for next, to what
                the network gives for these images.
            row_shape: See there.
            dtype: See there.
            batch_size: See there.
            description: See there.
        """
        kept = bool(self.network)
        return self.store.rows(
            self._key(parts) if kept else "",
            self.store.image_digests.of(self.images, rows) if kept else len(rows),
            row_shape=row_shape,
            dtype=dtype,
            make=make,
            batch_rows=batch_size,
            description=description,
        )

    def _key(self, parts: Mapping[str, object]) -> str:
        """Return the key of all that decides the result beside the image."""
        return content_key(
            code=_code_digest(),
            keras=keras.__version__,
            tensorflow=tf.__version__,
            network=self.network,
            **parts,
        )


def shelf_of(network: keras.Model, images: Images, store: Store) -> Shelf:
    """Return where the outputs of a network for some images are kept.

    Args:
        network: In inference mode; its weights must not change while the shelf is used.
        images: uint8 of shape (n, height, width, 3).
        store: `NO_STORE` to keep nothing. A network that cannot be described keeps nothing
            either, and one line of the log says why.

    Example:
        >>> pixels = keras.Input((2, 2, 3))
        >>> network = keras.Model(pixels, keras.layers.Flatten()(pixels))
        >>> shelf = shelf_of(network, np.ones((5, 2, 2, 3), np.uint8), NO_STORE)
        >>> def make(pixels):
        ...     return network(pixels).numpy()
        >>> shelf.rows(
        ...     np.arange(3), {"kind": "flat"}, make=make, row_shape=(12,), dtype="float32",
        ...     batch_size=2, description="Flattening",
        ... ).shape
        (3, 12)
    """
    if store.directory is None:
        return Shelf(images, store, "")
    try:
        return Shelf(images, store, digest_network(network))
    except TypeError as error:
        logger.info("Nothing is kept for later runs: %s", error)
        return Shelf(images, NO_STORE, "")


@functools.cache
def _code_digest() -> str:
    """Return a digest of this package's code: what another version computed may differ."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def reading_ahead(
    images: Images,
) -> Iterator[Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint8]]]:
    """Give a function that reads rows; while its caller works on them, others are read.

    It takes the rows that are wanted, and those that will probably be wanted next.

    Args:
        images: uint8 of shape (n, height, width, 3).

    Example:
        >>> with reading_ahead(np.zeros((5, 2, 2, 3), np.uint8)) as read:
        ...     [len(read(np.arange(2), np.arange(2, 5))), len(read(np.arange(2, 5), np.arange(0)))]
        [2, 3]
    """
    ahead: dict[bytes, Future[NDArray[np.uint8]]] = {}
    with ThreadPoolExecutor(1) as reader:

        def read(rows: NDArray[np.int64], following: NDArray[np.int64]) -> NDArray[np.uint8]:
            future = ahead.pop(rows.tobytes(), None) or reader.submit(images.__getitem__, rows)
            ahead.clear()
            if len(following):
                ahead[following.tobytes()] = reader.submit(images.__getitem__, following)
            return future.result()

        yield read
