"""The folder of an index: which files it has, and how what they say changes at once.

    settings.json       what never changes: the network, the whitening, where the images are
    network.keras       the network itself: an index answers when its sources are gone
    features.rows       float32 (num_contents, num_features), of length 1; only grows
    facts.rows          digest, thumbnail and so on of each, see `kerastl.retrieval.facts`
    progress.json       how many rows of both are complete
    whitening.npz, vectors.rows     where vectors are whitened
    images-N.jsonl      name, row and label of each image, of the N-th building
    approximate-N.usearch           where there are many
    index.json          the one file that says which of these count; replaced when all are there
    build.lock          held by the process that builds

Rows belong to contents (bytes of files), not to names: what was renamed is not computed again.
float32 and not float16, which would take half the room and lose nothing: NumPy multiplies it in
171 ms where float32 takes 11 (100,000 x 1,280, 2 cores; `python benchmarks/search.py exact`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import ConfigError, DataError
from kerastl.features.locks import hold_alone
from kerastl.retrieval.row_file import RowFile

SETTINGS, STATE, PROGRESS = "settings.json", "index.json", "progress.json"
NETWORK, WHITENING, LOCK = "network.keras", "whitening.npz", "build.lock"
PARTIAL_NETWORK = f"partial.{NETWORK}"
FORMAT = 1

# What may lie in a folder before it has settings.
_BEFORE_SETTINGS = {NETWORK, PARTIAL_NETWORK, LOCK, f".{SETTINGS}.partial"}


@dataclass(frozen=True)
class Settings:
    """What is decided when an index is made, and stays.

    Attributes:
        data: Where its images are, as an absolute path or the name of a source.
        title: Of the network, for people.
        options: What made the network, for `kerastl.retrieval.embedder.backbone_embedder`; none
            where it is that of a run, which learnt from labels.
        digest: Of what the network computes.
        network_sha256: Of the file that it is in.
        num_features: That it gives.
        image_size: (height, width) in pixels.
        resize_mode: How images of other sizes are fitted.
        whiten: Dimensions after whitening; 0 for none.
    """

    data: str
    title: str
    options: dict[str, Any]
    digest: str
    network_sha256: str
    num_features: int
    image_size: tuple[int, int]
    resize_mode: str
    whiten: int

    @property
    def width(self) -> int:
        """Numbers in the vector of an image."""
        return self.whiten or self.num_features


@dataclass(frozen=True)
class Unknown:
    """When an image is unlike all that is indexed, see `kerastl.retrieval.unlikeness`.

    Attributes:
        num_neighbours: k: the distance to the k-th nearest image counts.
        threshold: Distance above which an image is called unknown; None where images were too few.
        num_held_out: Images that the threshold is from.
        num_known: Images that these were compared with.
        by_group: Whether these are of groups that none of the others is of.
    """

    num_neighbours: int
    threshold: float | None
    num_held_out: int
    num_known: int
    by_group: bool = False


@dataclass(frozen=True)
class Approximate:
    """A graph that finds neighbours without looking at all vectors.

    Attributes:
        file: Its name.
        num_contents: How many vectors are in it.
        recall_at_10: Part of the ten nearest that it finds, on average.
        low: Lower end of the interval of that.
        high: Upper end.
        num_asked: Vectors that were asked for to measure it.
    """

    file: str
    num_contents: int
    recall_at_10: float
    low: float
    high: float
    num_asked: int


@dataclass(frozen=True)
class State:
    """What an index holds since its last building.

    Attributes:
        generation: Which building that was, from 1.
        images: File with the images.
        num_images: How many there are.
        num_contents: Rows that count; several images, or none, may have the same.
        class_names: Of the labels; empty where there are none.
        multi_label: Whether an image can have several.
        unreadable: What could not be read and is not in the index, and why.
        unknown: When an image is unlike all of them.
        approximate: Where there are many images, and the library is installed.
    """

    generation: int
    images: str
    num_images: int
    num_contents: int
    class_names: tuple[str, ...]
    multi_label: bool
    unreadable: tuple[tuple[str, str], ...]
    unknown: Unknown
    approximate: Approximate | None


def features_file(path: Path, settings: Settings) -> RowFile:
    """Return the file of pooled features.

    Args:
        path: The index.
        settings: Of it.
    """
    return RowFile(path / "features.rows", np.dtype("<f4"), (settings.num_features,))


def vectors_file(path: Path, settings: Settings) -> RowFile:
    """Return the file of the vectors that are compared.

    Args:
        path: The index.
        settings: Of it.
    """
    if not settings.whiten:
        return features_file(path, settings)
    return RowFile(path / "vectors.rows", np.dtype("<f4"), (settings.whiten,))


def read_settings(path: Path) -> Settings | None:
    """Return what was decided when the index was made, or None where nothing was yet.

    Args:
        path: The folder; it need not exist.

    Raises:
        ConfigError: It is something else than an index, or damaged.
    """
    if not path.exists():
        return None
    if not path.is_dir():
        raise ConfigError(f"{str(path)!r} is a file, not the folder of an index. Choose another.")
    if not (path / SETTINGS).exists():
        others = sorted({one.name for one in path.iterdir()} - _BEFORE_SETTINGS)
        if not others:
            return None
        raise ConfigError(
            f"{str(path)!r} is not an index (it has no {SETTINGS}, but {others[0]!r}) and is left "
            "alone. Name a new folder, or one that kerastl.search build made."
        )
    return _parse(
        path / SETTINGS,
        lambda read: Settings(**{**_as_tuples(read), "options": _as_tuples(read["options"])}),
    )


def read_state(path: Path) -> State:
    """Return what an index holds.

    Args:
        path: The index.

    Raises:
        ConfigError: It was not completed, or is damaged.
    """
    if not (path / STATE).is_file():
        command = "python -m kerastl.search build DATA --out"
        if path.exists() and not (path / SETTINGS).is_file():
            what = f"(it has no {STATE})" if path.is_dir() else "but a file"
            raise ConfigError(
                f"{str(path)!r} is not an index {what}. Give a folder that was made with: "
                f"{command} FOLDER"
            )
        what = "was not completed yet" if path.exists() else "does not exist"
        raise ConfigError(
            f"The index {str(path)!r} {what}. Type: {command} {shlex.quote(str(path))}"
        )

    def made(read: dict[str, Any]) -> State:
        graph = read.pop("approximate")
        return State(
            **_as_tuples({**read, "unreadable": [tuple(one) for one in read["unreadable"]]})
            | {"unknown": Unknown(**read["unknown"])},
            approximate=None if graph is None else Approximate(**graph),
        )

    return _parse(path / STATE, made)


def write_settings(path: Path, settings: Settings) -> None:
    """Write what was decided, at once.

    Args:
        path: The index.
        settings: What.
    """
    replace_json(path / SETTINGS, {"format": FORMAT, **asdict(settings)})


def write_state(path: Path, state: State) -> None:
    """Make another state the one that counts, at once; files that neither it nor the last has go.

    Args:
        path: The index.
        state: All its files are there.
    """
    # Who has read the state before this one may be opening its files just now.
    known = [state, read_state(path)] if (path / STATE).exists() else [state]
    kept = {one.images for one in known}
    kept |= {one.approximate.file for one in known if one.approximate is not None}
    replace_json(path / STATE, {"format": FORMAT, **asdict(state)})
    for kind in ("images-*.jsonl", "approximate-*.usearch"):
        for file in path.glob(kind):
            if file.name not in kept:
                file.unlink(missing_ok=True)


def read_progress(path: Path) -> int:
    """Return how many rows are complete.

    Args:
        path: The index.
    """
    if not (path / PROGRESS).exists():
        return 0
    return _parse(path / PROGRESS, lambda read: int(read["num_contents"]))


def discard_empty(path: Path) -> None:
    """Leave nothing of an index for which nothing was computed.

    Args:
        path: The index, which the caller builds alone.
    """
    if read_progress(path) or (path / STATE).exists():
        return
    for name in (*_BEFORE_SETTINGS - {LOCK}, SETTINGS, PROGRESS, "features.rows", "facts.rows"):
        (path / name).unlink(missing_ok=True)
    if {one.name for one in path.iterdir()} == {LOCK}:
        # Nobody else can have it: who opened it is refused, who opens it now makes another one.
        (path / LOCK).unlink()
        with contextlib.suppress(OSError):
            path.rmdir()


def replace_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file that is either the old one or the new one, whatever happens meanwhile.

    Args:
        path: The file.
        value: Plain values.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    replace_text(path, text + "\n")


def replace_text(path: Path, text: str) -> None:
    """Do the same for any text.

    Args:
        path: The file.
        text: What it will hold.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextlib.contextmanager
def building(path: Path) -> Iterator[None]:
    """Hold an index alone inside the block; its folder is made if missing.

    Args:
        path: The index.

    Raises:
        ConfigError: Another process builds it just now.
        DataError: The disk is full, or writing failed otherwise.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = hold_alone(path / LOCK)
    except OSError as error:
        raise ConfigError(
            f"Nothing can be written in {str(path)!r} ({error.strerror}). Choose another --out."
        ) from None
    if lock is None:
        raise ConfigError(
            f"Another process builds the index {str(path)!r} just now. Wait for its end; an index "
            "that was complete before answers meanwhile as it was."
        )
    try:
        yield
    except KeyboardInterrupt:
        words = "what was computed is kept: the same command goes on from there."
        raise KeyboardInterrupt(words if path.exists() else "") from None
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        raise DataError(
            f"The index {str(path)!r} could not be written: {error.strerror or error}. What was "
            "complete is kept. Make room and type the same command again."
        ) from error
    finally:
        os.close(lock)


def _as_tuples(read: dict[str, Any]) -> dict[str, Any]:
    """Return the values with lists as tuples, which frozen values have."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in read.items()
    }


def _parse(path: Path, make: Any) -> Any:
    """Return what a file of ours says, or a clear word when it is damaged."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read.pop("format", FORMAT) != FORMAT:
            raise ValueError("it is of another version of kerastl")
        return make(read)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{str(path)!r} is damaged ({error}). Remove the index and make it again."
        ) from None
