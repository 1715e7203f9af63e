"""Near duplicates in an index: what `kerastl.check` finds in the same images, by the same code."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.cropped_copies import CLOSE_SIDE
from kerastl.data.duplicates import Duplicates, find_duplicates
from kerastl.data.nearest import Neighbours
from kerastl.data.thumbnails import grey_square
from kerastl.errors import UnreadableImageError
from kerastl.features.neighbours import nearest_neighbours
from kerastl.retrieval.index import Index

# As many as a check asks for.
_NUM_NEIGHBOURS = 20


def find_copies(index: Index) -> Duplicates:
    """Return the images of an index that show one picture.

    Thumbnails and vectors are in the index; images are read where these cannot tell, see
    `kerastl.data.cropped_copies`, and those that are gone are passed over. Candidates by vectors
    are those of `kerastl.check` where the index is of the same network, at its own size and not
    whitened.

    Args:
        index: The index.
    """

    def read(image: int) -> NDArray[np.uint8] | None:
        content = index.content(image)
        with suppress(UnreadableImageError):
            return None if content is None else grey_square(content, side=CLOSE_SIDE)
        return None

    return find_duplicates(index.facts, neighbours=_neighbours(index), read=read)


def copies_table(index: Index, duplicates: Duplicates) -> dict[str, Any]:
    """Return all copies as plain values that `json.dumps` takes.

    Args:
        index: The index.
        duplicates: Of its images.
    """
    ids = index.images.ids
    return {
        "exact": [[ids[image] for image in group] for group in duplicates.exact],
        "near": [
            {
                "images": [ids[one], ids[other]],
                "labels": [index.label_of(one), index.label_of(other)],
                "correlation": float(correlation),
                "mirrored": bool(mirrored),
            }
            for (one, other), correlation, mirrored in zip(
                duplicates.near.tolist(), duplicates.correlations, duplicates.mirrored, strict=True
            )
        ],
        "threshold": duplicates.threshold,
    }


def _neighbours(index: Index) -> Neighbours:
    """Return the nearest images of each image, never itself; by the graph where there is one."""
    vectors = np.asarray(index.vectors[index.images.rows])
    if index.graph is None:
        return nearest_neighbours(vectors, num_neighbours=_NUM_NEIGHBOURS)
    found = index.nearest(vectors, num_neighbours=_NUM_NEIGHBOURS + 1)
    return _without_itself(found.rows, found.cosines)


def _without_itself(rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> Neighbours:
    """Return neighbours less the image that asked, or the last where it was not found."""
    itself = rows == np.arange(len(rows))[:, np.newaxis]
    itself[~itself.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return Neighbours(rows[~itself].reshape(shape), cosines[~itself].reshape(shape))
