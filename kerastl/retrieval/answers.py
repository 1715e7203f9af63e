"""What an index answers to an image: the nearest ones, and whether it is unlike all of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from typing import Any

from kerastl.retrieval.index import Index


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        image: Its number in the index.
        id: Its path or name.
        label: In words; "" where there are none.
        cosine: -1..1.
        same_bytes: Whether it is the very file that was asked for.
    """

    image: int
    id: str
    label: str
    cosine: float
    same_bytes: bool


@dataclass(frozen=True)
class Answer:
    """What was found for one image.

    Attributes:
        query: What it is called.
        hits: Nearest first.
        exact: Whether all images were looked at.
        search_seconds: Of the search alone, without reading the image and the network.
        unknown_score: One less the cosine to the k-th nearest image that is not the very file;
            see `kerastl.features.novelty`.
        is_unknown: Whether that is above the threshold of the index; None where it has none.
    """

    query: str
    hits: tuple[Hit, ...]
    exact: bool
    search_seconds: float
    unknown_score: float
    is_unknown: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return asdict(self)


def ask(
    index: Index, content: bytes, *, query: str, num_hits: int = 12, exact: bool = False
) -> Answer:
    """Return the images of an index that are most like one.

    Args:
        index: The index.
        content: Of one file.
        query: What to call it.
        num_hits: How many; fewer where the index has fewer.
        exact: Whether to look at all images even where there is a graph.

    Raises:
        UnreadableImageError: It cannot be read.
    """
    vector = index.embed([content])
    unknown = index.state.unknown
    digest = hashlib.sha256(content).hexdigest()
    own = sum(one == digest for one in index.images.digests)
    # Itself is no news: where it is indexed, as many more are looked at.
    count = max(num_hits, unknown.num_neighbours + own)
    started = time.perf_counter()
    nearest = index.nearest(vector, num_neighbours=count, exact=exact)
    seconds = time.perf_counter() - started
    hits = [
        Hit(
            image,
            index.images.ids[image],
            index.label_of(image),
            cosine,
            index.images.digests[image] == digest,
        )
        for image, cosine in zip(nearest.rows[0].tolist(), nearest.cosines[0].tolist(), strict=True)
        if image >= 0
    ]
    others = [hit.cosine for hit in hits if not hit.same_bytes]
    # The last where the index has fewer than were to be asked for: an index of a few copies.
    score = 1 - others[: unknown.num_neighbours][-1] if others else 0.0
    return Answer(
        query=query,
        hits=tuple(hits[:num_hits]),
        exact=exact or index.graph is None,
        search_seconds=seconds,
        unknown_score=score,
        is_unknown=None if unknown.threshold is None else score > unknown.threshold,
    )
