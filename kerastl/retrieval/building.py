"""Making an index, and keeping it up to date: only what is new is computed, nothing is half done.

Contents are computed a segment at a time and are on the disk then: killed at any moment, the same
command goes on behind the last complete segment. Readers see the index as it was until all of the
new one is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.sources import ImageTable
from kerastl.data.wording import counted
from kerastl.errors import ConfigError, DataError, KerasTLError
from kerastl.features.store import Store
from kerastl.retrieval import approximate
from kerastl.retrieval.contents import SEGMENT_IMAGES, compute_contents, known_contents
from kerastl.retrieval.embedder import Embedder, load_network, save_network
from kerastl.retrieval.images import (
    IndexedImages,
    digest_contents,
    image_lines,
    names_of,
    parse_images,
)
from kerastl.retrieval.index_folder import (
    STATE,
    WHITENING,
    Approximate,
    Settings,
    State,
    building,
    discard_empty,
    features_file,
    read_progress,
    read_settings,
    read_state,
    replace_text,
    vectors_file,
    write_settings,
    write_state,
)
from kerastl.retrieval.unlikeness import calibrate
from kerastl.retrieval.whitening import fit_whitening, read_whitening, write_whitening

_ROWS_AT_ONCE = 8192

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What a building did.

    Attributes:
        path: The index.
        state: What it holds now.
        settings: Of it.
        num_computed: Contents whose vectors were computed now.
        num_found: Contents that an unfinished building had computed.
        num_removed: Images that were in the index and are not any more.
        num_moved: Images that were in it under another name.
        seconds: How long it took.
    """

    path: Path
    state: State
    settings: Settings
    num_computed: int
    num_found: int
    num_removed: int
    num_moved: int
    seconds: float


def build_index(
    table: ImageTable,
    path: Path,
    *,
    data: str,
    embedder: Embedder | None,
    whiten: int | None = None,
    moved: bool = False,
    store: Store,
    segment_images: int = SEGMENT_IMAGES,
    largest_exact: int = approximate.LARGEST_EXACT,
) -> Built:
    """Make an index, go on with one that was not completed, or bring one up to date.

    Args:
        table: All images that it shall hold; what it holds beside them is taken out.
        path: Its folder, new or an index.
        data: One name for where the images are.
        embedder: The network; that of the index when not given.
        whiten: Dimensions after whitening, 0 for none; that of the index when not given.
        moved: Whether the images are those of the index although they are elsewhere now.
        store: Where features are kept for others; `kerastl.features.shelf.NO_STORE` for nowhere.
        segment_images: Contents that are computed between two writings.
        largest_exact: Up to so many contents there is no graph.

    Raises:
        ConfigError: The index was made of something else, or another process builds it.
        DataError: No image can be read, or nothing can be written.
    """
    started = time.monotonic()
    read_settings(path)  # before a lock is put into a folder of somebody else's
    with building(path), _nothing_empty(path):
        settings, embedder = _settled(
            path, data=data, embedder=embedder, whiten=whiten, moved=moved
        )
        old = read_state(path) if (path / STATE).exists() else None
        digests, faults = digest_contents(table)
        had = None if old is None else parse_images(path / old.images, multi_label=old.multi_label)
        if had is not None and data != settings.data:
            _refuse_other_images(path, had, digests, data=data)
        settings = dataclasses.replace(settings, data=data)
        write_settings(path, settings)
        known = known_contents(path, settings)
        found = len(known)
        # Of images with equal bytes the first.
        first = {digest: row for row, digest in reversed(list(enumerate(digests))) if digest}
        new = sorted(row for digest, row in first.items() if digest not in known)
        refused = compute_contents(
            table,
            new,
            digests,
            path=path,
            settings=settings,
            embedder=embedder,
            store=store,
            segment_images=segment_images,
        )
        known = known_contents(path, settings)
        reasons = {digests[row]: reason for row, reason in refused.items()}
        faults |= {row: reasons[one] for row, one in enumerate(digests) if one in reasons}
        rows = {row: known[one] for row, one in enumerate(digests) if one in known}
        _check_any(table, rows, faults)
        removed, moved_images = _gone_and_moved(had, table, rows, digests)
        state = _publish(
            path,
            settings,
            table,
            rows,
            digests=digests,
            faults=faults,
            old=old,
            largest_exact=largest_exact,
        )
    return Built(
        path=path,
        state=state,
        settings=settings,
        num_computed=len(known) - found,
        num_found=found - (old.num_contents if old else 0),
        num_removed=removed,
        num_moved=moved_images,
        seconds=time.monotonic() - started,
    )


def _settled(
    path: Path, *, data: str, embedder: Embedder | None, whiten: int | None, moved: bool
) -> tuple[Settings, Embedder]:
    """Return what was decided for this index, or decide it now; refuse what contradicts it."""
    settings = read_settings(path)
    if settings is None:
        if embedder is None:
            raise ConfigError(f"There is no index {str(path)!r} yet, so a network must be named.")
        _require_features(embedder, whiten)
        sha256 = save_network(path, embedder)
        settings = Settings(
            data=data,
            title=embedder.title,
            options=embedder.options,
            digest=embedder.digest,
            network_sha256=sha256,
            num_features=embedder.num_features,
            image_size=embedder.image_size,
            resize_mode=embedder.resize_mode,
            whiten=whiten or 0,
        )
        return settings, embedder
    _refuse_change(path, settings, data=data, embedder=embedder, whiten=whiten, moved=moved)
    network = load_network(path, settings)
    if whiten is not None and not (path / STATE).exists():
        _require_features(network, whiten)
        settings = dataclasses.replace(settings, whiten=whiten)  # nothing is whitened yet
    return settings, network


def _require_features(embedder: Embedder, whiten: int | None) -> None:
    """Refuse more dimensions than there are."""
    if whiten is not None and whiten > embedder.num_features:
        raise ConfigError(
            f"`whiten` must be at most {embedder.num_features}, the features of {embedder.title}; "
            f"received whiten={whiten}."
        )


@contextlib.contextmanager
def _nothing_empty(path: Path) -> Iterator[None]:
    """Where the block fails before anything was computed, leave no beginning of an index."""
    try:
        yield
    except (KerasTLError, KeyboardInterrupt):
        discard_empty(path)
        raise


def _refuse_other_images(path: Path, had: IndexedImages, digests: list[str], *, data: str) -> None:
    """Raise where images that are said to have been moved are others."""
    there = set(digests)
    found = sum(digest in there for digest in had.digests)
    if 2 * found < len(had.digests):
        raise ConfigError(
            f"Of the {counted(len(had.digests))} of the index {str(path)!r} {found:,} are in "
            f"{data!r}: these are not the same images at another place, and --moved would take the "
            "others out. Name another --out."
        )


def _refuse_change(
    path: Path,
    settings: Settings,
    *,
    data: str,
    embedder: Embedder | None,
    whiten: int | None,
    moved: bool,
) -> None:
    """Raise where an index is asked to become another one."""
    way_out = "Leave these options out, or make another index with another --out."
    if embedder is not None and (embedder.digest, embedder.image_size, embedder.resize_mode) != (
        settings.digest,
        settings.image_size,
        settings.resize_mode,
    ):
        raise ConfigError(
            f"The index {str(path)!r} was made with {settings.title}; received {embedder.title}. "
            + way_out
        )
    if whiten not in (None, settings.whiten) and (path / STATE).exists():
        raise ConfigError(
            f"The index {str(path)!r} was made with whiten={settings.whiten}; received "
            f"whiten={whiten}. {way_out}"
        )
    if settings.data != data and not moved and (path / STATE).exists():
        raise ConfigError(
            f"The index {str(path)!r} is of {settings.data!r}; received {data!r}, and what is not "
            "there would be taken out. Name another --out, or add --moved if these are the same "
            "images at another place."
        )


def _check_any(table: ImageTable, rows: dict[int, int], faults: dict[int, str]) -> None:
    """Name unreadable images; refuse an index of nothing else."""
    if not rows:
        first = next(iter(faults))
        raise DataError(
            f"None of {counted(len(table.ids))} can be read; the first is {table.ids[first]!r}: "
            f"{faults[first]}. Give images that can be."
        )
    for row, reason in sorted(faults.items()):
        logger.warning("Left out %s: %s", table.ids[row], reason)


def _gone_and_moved(
    had: IndexedImages | None, table: ImageTable, rows: dict[int, int], digests: list[str]
) -> tuple[int, int]:
    """Return how many images the index had that it will not have, or under another name."""
    if had is None:
        return 0, 0
    names, before = names_of(table), set(had.ids)
    kept = {names[row] for row in rows}
    missing = Counter(
        digest for id_, digest in zip(had.ids, had.digests, strict=True) if id_ not in kept
    )
    arrived = Counter(digests[row] for row in rows if names[row] not in before)
    num_moved = (missing & arrived).total()
    return missing.total() - num_moved, num_moved


def _publish(
    path: Path,
    settings: Settings,
    table: ImageTable,
    rows: dict[int, int],
    *,
    digests: list[str],
    faults: dict[int, str],
    old: State | None,
    largest_exact: int,
) -> State:
    """Write what goes with the vectors, then make it count."""
    num_contents = read_progress(path)
    if settings.whiten:
        _whiten(path, settings, rows, num_contents, old)
    vectors = vectors_file(path, settings).mapped(num_contents)
    live = np.unique(np.array(list(rows.values()), np.int64))
    generation = 1 if old is None else old.generation + 1
    graph = None
    if num_contents > largest_exact:
        graph = _graph(path, vectors, live, old=old, generation=generation)
    names = names_of(table)
    images = f"images-{generation}.jsonl"
    replace_text(path / images, image_lines(table, rows.items(), digests))
    state = State(
        generation=generation,
        images=images,
        num_images=len(rows),
        num_contents=num_contents,
        class_names=table.class_names,
        multi_label=table.multi_label,
        unreadable=tuple((names[row], reason) for row, reason in sorted(faults.items())),
        unknown=calibrate(
            vectors,
            live,
            _class_counts(table, list(rows)),
            groups=_groups_of(live, table, rows),
        ),
        approximate=graph,
    )
    write_state(path, state)
    return state


def _whiten(
    path: Path, settings: Settings, rows: dict[int, int], num_contents: int, old: State | None
) -> None:
    """Bring the file of whitened vectors up to the features; the first building learns how."""
    features = features_file(path, settings).mapped(num_contents)
    if old is None:
        live = np.unique(np.array(list(rows.values()), np.int64))
        approximate.forget_partial(path)
        whitening = fit_whitening(features, live, dimensions=settings.whiten)
        write_whitening(path / WHITENING, whitening)
    else:
        whitening = read_whitening(path / WHITENING)
    vectors = vectors_file(path, settings)
    done = old.num_contents if old else 0
    vectors.cut(done)
    for start in range(done, num_contents, _ROWS_AT_ONCE):
        vectors.append(whitening.apply(features[start : min(start + _ROWS_AT_ONCE, num_contents)]))


def _graph(
    path: Path,
    vectors: NDArray[np.float32],
    live: NDArray[np.int64],
    *,
    old: State | None,
    generation: int,
) -> Approximate | None:
    """Return the graph of so many vectors; None, and a word, without its library."""
    if not approximate.is_installed():
        logger.warning(
            "%s vectors are searched one by one: for an approximate index, type pip install "
            "'kerastl[search]' and build again.",
            f"{len(vectors):,}",
        )
        return None
    before = old.approximate if old is not None else None
    return approximate.grow_graph(path, vectors, old=before, generation=generation, rows=live)


def _groups_of(
    live: NDArray[np.int64], table: ImageTable, rows: dict[int, int]
) -> NDArray[np.str_] | None:
    """Return the group of each content: that of the first image that has it."""
    if table.groups is None:
        return None
    group_of = {place: str(table.groups[row]) for row, place in sorted(rows.items(), reverse=True)}
    return np.array([group_of[place] for place in live.tolist()], np.str_)


def _class_counts(table: ImageTable, rows: list[int]) -> NDArray[np.int64]:
    """Return how many images each class has; all are one class where there are no labels."""
    if not table.class_names:
        return np.array([len(rows)])
    labels = table.labels[rows]
    counts = np.bincount(labels) if labels.ndim == 1 else labels.sum(axis=0)
    return np.asarray(counts, np.int64)
