"""What the frozen part gives for which images, looked up in the store before it is computed."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike, NDArray

from kerastl.data.stream import Images
from kerastl.features.digests import content_key, digest_images
from kerastl.features.network_digest import digest_network
from kerastl.features.store import Store, open_store

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
    _known: dict[bytes, str] = field(default_factory=dict, repr=False)

    def rows(
        self,
        rows: NDArray[np.int64],
        parts: Mapping[str, object],
        *,
        make: Callable[[NDArray[np.uint8], slice], NDArray[Any]],
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        batch_size: int,
        description: str,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> NDArray[Any]:
        """Return what the network gives for some images, from the store if it is there.

        Args:
            rows: int64: which images.
            parts: All that the result depends on beside images and network, see
                `kerastl.features.digests.content_key`.
            make: From a batch of images, and the slice of `rows` that it is, to what the network
                gives for them. Only called for what is not kept yet.
            row_shape: Of what it gives for one image.
            dtype: Of that.
            batch_size: Images per batch; a batch is what is lost when a run is killed.
            description: For the progress bar.
            while_waiting: Called again and again while another process computes the same.

        Returns:
            Of shape (number of rows, *row_shape), read-only.
        """
        with reading_ahead(self.images, rows) as read:
            return self.store.rows(
                self._key(rows, parts),
                count=len(rows),
                row_shape=row_shape,
                dtype=dtype,
                make=lambda chosen: make(read(chosen), chosen),
                block_rows=batch_size,
                description=description,
                while_waiting=while_waiting,
            )

    def _key(self, rows: NDArray[np.int64], parts: Mapping[str, object]) -> str:
        """Return the key of all that decides the result."""
        if not self.network:
            return ""
        name = np.asarray(rows, np.int64).tobytes()
        if name not in self._known:
            self._known[name] = digest_images(self.images, rows)
        return content_key(
            code=_code_digest(),
            keras=keras.__version__,
            tensorflow=tf.__version__,
            network=self.network,
            images=self._known[name],
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
        >>> def make(pixels, _rows):
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
    images: Images, rows: NDArray[np.int64]
) -> Iterator[Callable[[slice], NDArray[np.uint8]]]:
    """Give a function that reads slices of rows; while its caller works, the next one is read.

    Args:
        images: uint8 of shape (n, height, width, 3).
        rows: int64: which of them the slices count in.

    Example:
        >>> with reading_ahead(np.zeros((5, 2, 2, 3), np.uint8), np.arange(5)) as read:
        ...     [len(read(slice(start, start + 2))) for start in (0, 2, 4)]
        [2, 2, 1]
    """
    ahead: dict[tuple[int, int], Future[NDArray[np.uint8]]] = {}
    with ThreadPoolExecutor(1) as reader:

        def submit(start: int, stop: int) -> Future[NDArray[np.uint8]]:
            return reader.submit(images.__getitem__, rows[start:stop])

        def read(chosen: slice) -> NDArray[np.uint8]:
            start, stop, _ = chosen.indices(len(rows))
            future = ahead.pop((start, stop), None) or submit(start, stop)
            ahead.clear()
            following = stop, min(2 * stop - start, len(rows))
            if following[0] < following[1]:
                ahead[following] = submit(*following)
            return future.result()

        yield read
