"""The vectors of contents that an index does not have yet, a segment at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.augment import AS_IT_IS
from kerastl.data.nearest import unit_rows
from kerastl.data.scan import scan_images
from kerastl.data.sources import ImageTable, subset
from kerastl.data.stream import ImageStream
from kerastl.errors import DataError
from kerastl.features.shelf import Shelf, shelf_of
from kerastl.features.store import Store
from kerastl.progress import listen, track
from kerastl.retrieval.embedder import Embedder
from kerastl.retrieval.facts import facts_file, pack_facts
from kerastl.retrieval.index_folder import (
    PROGRESS,
    Settings,
    features_file,
    read_progress,
    replace_json,
)

# Contents that are computed between two writings, which is what a kill loses; fewer large ones.
SEGMENT_IMAGES = 512
_SEGMENT_BYTES = 2**28
_BATCH_IMAGES = 32


def known_contents(path: Path, settings: Settings) -> dict[str, int]:
    """Return the row of each content that is complete, and drop what is not; in place.

    Args:
        path: The index, which the caller builds alone.
        settings: Of it.
    """
    complete = read_progress(path)
    facts = facts_file(path)
    for file in (features_file(path, settings), facts):
        file.cut(complete)
    return {digest.decode(): place for place, digest in enumerate(facts.mapped(complete)["digest"])}


def compute_contents(
    table: ImageTable,
    rows: Sequence[int],
    digests: Sequence[str],
    *,
    path: Path,
    settings: Settings,
    embedder: Embedder,
    store: Store,
    segment_images: int,
) -> dict[int, str]:
    """Append vectors and facts of images, in their order.

    Args:
        table: The images.
        rows: Which of them: one of each content.
        digests: Of the contents of all images.
        path: The index, which the caller builds alone.
        settings: Of it.
        embedder: Its network.
        store: Where features are kept for others.
        segment_images: Contents that are computed between two writings.

    Returns:
        Why images cannot be read, by row; these have no vector.

    Raises:
        DataError: A file has changed meanwhile.
    """
    faults: dict[int, str] = {}
    if not rows:
        return faults
    complete = read_progress(path)
    compute = _computer(table, embedder, store)
    height, width = settings.image_size
    size = max(1, min(segment_images, _SEGMENT_BYTES // (3 * height * width)))
    with track("Computing features", total=len(rows)) as advance:
        for start in range(0, len(rows), size):
            segment = np.array(rows[start : start + size], np.int64)
            with listen(None):  # a step of what is tracked here
                facts = scan_images(subset(table, segment))
                places = np.flatnonzero(facts.readable)
                vectors = compute(segment[places]) if len(places) else None
            faults.update((int(segment[one.row]), one.reason) for one in facts.unreadable)
            if vectors is not None:
                features_file(path, settings).append(vectors)
                seen = [digests[row] for row in segment[places].tolist()]
                facts_file(path).append(pack_facts(facts, places, seen))
                complete += len(places)
                # Last: what is behind this number when a process is killed is dropped.
                replace_json(path / PROGRESS, {"num_contents": complete})
            advance(len(segment))
    return faults


def _computer(
    table: ImageTable, embedder: Embedder, store: Store
) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Return the function from rows of a table to unit vectors, kept in the store by content."""
    size, mode = embedder.image_size, embedder.resize_mode
    shelf: Shelf | None = None

    def compute(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal shelf
        # Read once: its digest, the proof and the network all look at it.
        pixels = ImageStream(table, image_size=size, resize_mode=mode)[rows]
        if shelf is None:
            embedder.prove(pixels)
            shelf = shelf_of(embedder.model, pixels, store)
        kept = dataclasses.replace(shelf, images=pixels).rows(
            np.arange(len(rows)),
            # As `kerastl.features.stored_features` has them: a fit of the same network shares them.
            {"kind": "features", "view": AS_IT_IS},
            make=embedder.features,
            row_shape=(embedder.num_features,),
            dtype=np.float32,
            batch_size=_BATCH_IMAGES,
            description="A segment",
        )
        features = np.asarray(kept[:])
        if not np.isfinite(features).all():
            raise DataError(f"The network {embedder.title!r} gives no finite features.")
        return unit_rows(features)

    return compute
