"""An index that is asked: mapped vectors, the images that have them, the network of queries."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import Neighbours, nearest_to, unit_rows
from kerastl.data.preparation import prepare_pixels
from kerastl.data.scan import ImageFacts
from kerastl.data.table import label_words
from kerastl.errors import ConfigError
from kerastl.retrieval.approximate import is_installed, open_graph, rows_near
from kerastl.retrieval.embedder import Embedder, load_network
from kerastl.retrieval.facts import facts_file, unpack_facts
from kerastl.retrieval.images import IndexedImages, parse_images
from kerastl.retrieval.index_folder import (
    WHITENING,
    Settings,
    State,
    read_settings,
    read_state,
    vectors_file,
)
from kerastl.retrieval.whitening import Whitening, read_whitening

# Another building may replace what a state names between the reading of both.
_MOST_ATTEMPTS = 10


@dataclass(frozen=True, eq=False)
class Index:
    """What is indexed, as it was when it was opened.

    Attributes:
        path: The folder.
        settings: What was decided when it was made.
        state: What it holds.
        images: Name, label and vector row of each image.
        vectors: float32 of shape (num_contents, width), of length 1, mapped from a file.
        graph: What finds neighbours approximately; None where all are looked at.
    """

    path: Path
    settings: Settings
    state: State
    images: IndexedImages = field(repr=False)
    vectors: NDArray[np.float32] = field(repr=False)
    graph: Any = field(repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images.ids)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The network of the index."""
        return load_network(self.path, self.settings)

    @functools.cached_property
    def whitening(self) -> Whitening | None:
        """What its vectors are whitened by."""
        return read_whitening(self.path / WHITENING) if self.settings.whiten else None

    @functools.cached_property
    def facts(self) -> ImageFacts:
        """Thumbnails, digests and so on of its images."""
        rows = facts_file(self.path).mapped(self.state.num_contents)
        return unpack_facts(rows[self.images.rows])

    def thumbnail(self, image: int) -> NDArray[np.uint8]:
        """Return the grey thumbnail of one image, uint8 of shape (32, 32).

        Args:
            image: Its number.
        """
        rows = facts_file(self.path).mapped(self.state.num_contents)
        return np.asarray(rows[self.images.rows[image]]["thumbnail"])

    def content(self, image: int) -> bytes | None:
        """Return the file of one image; None where it is gone or is another one now.

        Args:
            image: Its number.
        """
        try:
            content = Path(self.images.ids[image]).read_bytes()
        except OSError:
            return None
        same = hashlib.sha256(content).hexdigest() == self.images.digests[image]
        return content if same else None

    @property
    def labelled(self) -> bool:
        """Whether its images have labels."""
        return self.images.labels is not None

    def label_of(self, image: int) -> str:
        """Return the label of an image in words, "" where there are none.

        Args:
            image: Its number.
        """
        if self.images.labels is None:
            return ""
        return label_words(self.images.labels[image], self.state.class_names)

    def embed(self, contents: list[bytes]) -> NDArray[np.float32]:
        """Return the vectors of encoded images, as the index has them of its own.

        Args:
            contents: Of files.

        Returns:
            float32 of shape (n, width), of length 1.

        Raises:
            UnreadableImageError: One cannot be read.
        """
        size, mode = self.settings.image_size, self.settings.resize_mode
        pixels = np.stack(
            [prepare_pixels(content, image_size=size, resize_mode=mode) for content in contents]
        )
        units = unit_rows(self.embedder.features(pixels))
        return units if self.whitening is None else self.whitening.apply(units)

    def nearest(
        self, queries: NDArray[np.float32], *, num_neighbours: int, exact: bool = False
    ) -> Neighbours:
        """Return the images with the largest cosine to vectors from outside.

        Args:
            queries: float32 of shape (q, width), of length 1.
            num_neighbours: k, 1 or more.
            exact: Whether to look at all vectors even where there is a graph.

        Returns:
            Numbers of images, and cosines, of shape (q, k); -1 where there are fewer.
        """
        if self.graph is None or exact:
            return nearest_to(
                queries, self.vectors, num_neighbours=num_neighbours, candidates=self.images.rows
            )
        shape = (len(queries), num_neighbours)
        numbers, cosines = np.full(shape, -1, np.int64), np.full(shape, -1, np.float32)
        for place, query in enumerate(queries):
            found = self._near(query, num_neighbours)
            # What the graph found is measured in float32 and put in order as an exact search does.
            nearest = nearest_to(
                query[np.newaxis],
                np.asarray(self.vectors[self.images.rows[found]]),
                num_neighbours=num_neighbours,
            )
            known = nearest.rows[0] >= 0
            numbers[place, known] = found[nearest.rows[0, known]]
            cosines[place] = nearest.cosines[0]
        return Neighbours(numbers, cosines)

    def _near(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return numbers of images that the graph finds near, in their order: count or more."""
        order, starts = self._images_of_rows
        asked = count
        while True:
            (rows,) = rows_near(self.graph, query[np.newaxis], count=min(asked, len(self.vectors)))
            # Of a row that no image has any more there is none; of copies there are several.
            found = [order[starts[row] : starts[row + 1]] for row in rows.tolist()]
            numbers = np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
            if len(numbers) >= min(count, len(self)) or asked >= len(self.vectors):
                return numbers
            asked *= 2

    @functools.cached_property
    def _images_of_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images by vector row: their numbers, and where those of each row begin."""
        order = np.argsort(self.images.rows, kind="stable")
        edges = np.arange(self.state.num_contents + 1)
        return order, np.searchsorted(self.images.rows[order], edges)


def open_index(path: str | Path) -> Index:
    """Open an index for asking; a building that goes on meanwhile does not disturb it.

    Args:
        path: The folder.

    Raises:
        ConfigError: It is no index, was not completed, or is damaged.
    """
    path = Path(path)
    for _ in range(_MOST_ATTEMPTS):
        state = read_state(path)
        settings = read_settings(path)
        if settings is None:
            break
        try:
            images = parse_images(path / state.images, multi_label=state.multi_label)
            graph = None
            if state.approximate is not None and is_installed():
                graph = open_graph(path / state.approximate.file, width=settings.width)
        except FileNotFoundError:
            continue
        if len(images.rows) and images.rows.max() >= state.num_contents:
            break
        vectors = vectors_file(path, settings).mapped(state.num_contents)
        return Index(path, settings, state, images, vectors, graph)
    raise ConfigError(
        f"The index {str(path)!r} is damaged: its files do not fit each other. Build it again."
    )
