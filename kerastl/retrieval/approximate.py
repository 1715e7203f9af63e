"""A graph of neighbours for very many vectors (HNSW, by the library usearch).

Malkov and Yashunin, TPAMI 2020, https://arxiv.org/abs/1603.09320. What it misses is measured when
it is made, never guessed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.nearest import nearest_to
from kerastl.errors import ConfigError
from kerastl.evaluation.intervals import bootstrap_weights, percentile_estimate
from kerastl.progress import track
from kerastl.retrieval.index_folder import Approximate

# Up to here all vectors are looked at, which takes 11 to 45 ms (`benchmarks/search.py`).
LARGEST_EXACT = 100_000

# As usearch and hnswlib advise, but that the search looks further: recall is what counts here.
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 128, 256
_ROWS_AT_ONCE = 10_000
# Vectors that are added between two writings, which is what a kill loses.
_ROWS_PER_SAVE = 200_000
_NUM_ASKED, _DEPTH = 200, 10
_PARTIAL = "approximate.partial"


def is_installed() -> bool:
    """Whether the library is there."""
    return importlib.util.find_spec("usearch") is not None


def grow_graph(
    path: Path,
    vectors: NDArray[np.float32],
    *,
    old: Approximate | None,
    generation: int,
    rows: NDArray[np.int64],
) -> Approximate:
    """Write a graph of all vectors, made of the last one and what is new; and measure it.

    Killed, it goes on with the next call where it last wrote what it had.

    Args:
        path: The index.
        vectors: float32 of shape (n, width), of length 1.
        old: The graph of the last building, if any.
        generation: Of this building.
        rows: int64: rows that images have; neighbours among these are measured.
    """
    if old is not None and old.num_contents == len(vectors):
        return old
    from usearch.index import Index

    partial = path / _PARTIAL

    def empty() -> Any:
        return Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f16",  # half the room; what is found is measured anew in float32
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )

    graph = empty()
    begun = partial if partial.exists() else path / old.file if old is not None else None
    if begun is not None and begun.exists():
        graph.load(str(begun))
    if graph.ndim != vectors.shape[1] or len(graph) > len(vectors):
        graph = empty()  # of vectors that were whitened otherwise
    with track("Making the graph", total=len(vectors)) as advance:
        advance(len(graph))
        for start in range(len(graph), len(vectors), _ROWS_AT_ONCE):
            some = np.asarray(vectors[start : start + _ROWS_AT_ONCE])
            graph.add(np.arange(start, start + len(some)), some)
            advance(len(some))
            if (start // _ROWS_AT_ONCE + 1) % (_ROWS_PER_SAVE // _ROWS_AT_ONCE) == 0:
                _save(graph, partial)
    _save(graph, partial)
    name = f"approximate-{generation}.usearch"
    os.replace(partial, path / name)
    return _measured(path / name, vectors, rows)


def forget_partial(path: Path) -> None:
    """Remove what an unfinished building has of a graph, where its vectors are made anew.

    Args:
        path: The index.
    """
    (path / _PARTIAL).unlink(missing_ok=True)


def open_graph(path: Path, *, width: int) -> Any:
    """Map a graph from its file.

    Args:
        path: The file.
        width: Numbers in a vector.

    Raises:
        ConfigError: It is damaged.
        FileNotFoundError: It is gone.
    """
    from usearch.index import Index

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        graph = Index.restore(str(path), view=True)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _damaged(path, error) from None
    if graph is None or graph.ndim != width:
        raise _damaged(path, "it is of other vectors")
    graph.expansion_search = _EXPANSION_SEARCH
    return graph


def rows_near(graph: Any, queries: NDArray[np.float32], *, count: int) -> list[NDArray[np.int64]]:
    """Return for each query which rows the graph finds near.

    Args:
        graph: From `open_graph`.
        queries: float32 of shape (q, width), of length 1.
        count: How many are asked for; it may find fewer.
    """
    found = graph.search(queries, count)
    if len(queries) == 1:
        return [np.asarray(found.keys, np.int64).reshape(-1)]
    return [np.asarray(found[row].keys, np.int64) for row in range(len(queries))]


def _measured(file: Path, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> Approximate:
    """Return the graph with the part of the ten nearest that it finds."""
    random = np.random.default_rng(0)
    asked = np.sort(random.choice(rows, min(_NUM_ASKED, len(rows)), replace=False))
    queries = np.asarray(vectors[asked])
    depth = min(_DEPTH + 1, len(vectors))  # the nearest of all is the vector itself
    exact = nearest_to(queries, vectors, num_neighbours=depth).rows
    graph = open_graph(file, width=vectors.shape[1])
    near = rows_near(graph, queries, count=depth)
    shares = np.array(
        [
            len((set(true.tolist()) & set(told.tolist())) - {own}) / max(len(set(true) - {own}), 1)
            for own, true, told in zip(asked.tolist(), exact, near, strict=True)
        ]
    )
    blocks = bootstrap_weights(len(shares), num_resamples=1000, seed=0)
    resampled = np.concatenate([shares @ weights / len(shares) for weights in blocks])
    recall = percentile_estimate(float(shares.mean()), resampled, units=len(shares))
    assert recall is not None  # something was asked
    return Approximate(file.name, len(vectors), recall.value, recall.low, recall.high, len(shares))


def _save(graph: Any, path: Path) -> None:
    """Write a graph under its name when it is complete."""
    beside = path.with_name(f".{path.name}")
    graph.save(str(beside))
    os.replace(beside, path)


def _damaged(path: Path, reason: object) -> ConfigError:
    return ConfigError(f"{str(path)!r} is damaged ({reason}). Remove the index and make it again.")
