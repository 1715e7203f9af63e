"""What a finished run answered to its own test images, from the files of its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages
from kerastl.errors import ConfigError, DataError
from kerastl.run_folder import (
    DIGEST_LENGTH,
    LABELS,
    METRICS,
    PIXELS,
    PREDICTIONS,
    SPLIT,
    UNASKED,
    read_labels,
)


@dataclass(frozen=True)
class Involved:
    """Which images a run knows already, by their names and by their pixels.

    Attributes:
        names: Of the images that it was trained on or chosen by, as they were typed and in full.
        digests: Of their pixels, the first part; none of runs that did not write them down.
    """

    names: frozenset[str] = field(repr=False)
    digests: frozenset[str] = field(repr=False)

    def knows(self, id_: str, digest: str = "") -> bool:
        """Tell whether an image is one of them, or has the same pixels.

        Args:
            id_: Its name.
            digest: Of its pixels at the run's size; "" where that is not known.
        """
        names = (id_, os.path.abspath(id_))
        return any(name in self.names for name in names) or digest[:DIGEST_LENGTH] in self.digests


def is_run_folder(path: Path) -> bool:
    """Whether a path is a finished run folder.

    Args:
        path: Anything.
    """
    return (path / LABELS).is_file() and (path / METRICS).is_file()


def recorded_answers(path: Path) -> AnsweredImages:
    """Return the test images of a run and what its kept model answered to them.

    Args:
        path: The run folder.

    Raises:
        ConfigError: It is no finished run folder, or its files do not fit each other.
    """
    labels = read_labels(path)
    names, several = tuple(labels["class_names"]), bool(labels["multi_label"])
    answers, splits = _table(path / PREDICTIONS), _table(path / SPLIT)
    wanted = [f"p({name})" for name in names]
    missing = [column for column in ["path", "label", *wanted] if column not in answers]
    if missing:
        raise ConfigError(
            f"{str(path / PREDICTIONS)!r} has no column {missing[0]!r}. Make the run again with: "
            f"python -m kerastl.fit --config {path / 'config.yaml'}"
        )
    groups = None
    if "group" in splits:
        group_of = dict(zip(splits["path"], splits["group"], strict=True))
        groups = np.array([group_of[id_] for id_ in answers["path"]], str)
    thresholds = labels.get("thresholds")
    return AnsweredImages(
        ids=tuple(answers["path"]),
        labels=_encoded(answers["label"].tolist(), names, several=several),
        class_names=names,
        probabilities=answers[wanted].to_numpy(np.float32),
        groups=groups,
        thresholds=None if thresholds is None else tuple(map(float, thresholds)),
    )


def involved_images(path: Path) -> Involved:
    """Return the images that a run was trained on or chosen by.

    Args:
        path: The run folder.

    Raises:
        ConfigError: Its list of images cannot be read.
    """
    splits = _table(path / SPLIT)
    known = splits[~splits["split"].isin(["test", UNASKED])]
    names, digests = known["path"], known.get(PIXELS, ())
    return Involved(frozenset([*names, *map(os.path.abspath, names)]), frozenset(digests))


@dataclass(frozen=True)
class RecordedSplit:
    """The images of one split of a run.

    Attributes:
        names: Their paths, as they were given.
        labels: Of each in words; several are joined with "|".
        digests: Of each the first part of the digest of its pixels, "" where the run did not write
            that down.
        groups: Of each; None where there are no groups.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    digests: tuple[str, ...] = field(repr=False)
    groups: tuple[str, ...] | None


def recorded_split(path: Path, split: str) -> RecordedSplit:
    """Return the images of one split of a run.

    Args:
        path: The run folder.
        split: "train", "val" or "test".

    Raises:
        ConfigError: Its list of images cannot be read.
    """
    splits = _table(path / SPLIT)
    chosen = splits[splits["split"] == split]
    return RecordedSplit(
        names=tuple(chosen["path"]),
        labels=tuple(chosen["label"]),
        digests=tuple(chosen[PIXELS]) if PIXELS in chosen else ("",) * len(chosen),
        groups=tuple(chosen["group"]) if "group" in chosen else None,
    )


def common_images(answered: dict[str, AnsweredImages]) -> dict[str, AnsweredImages]:
    """Return what several models answer to the images that all of them were tested on.

    Args:
        answered: By model: its test images.

    Raises:
        DataError: They have no such image, other classes, or other labels.
    """
    (first_name, first), *others = answered.items()
    common = set(first.ids)
    for name, other in others:
        require_same_classes(first_name, first, name, other)
        common &= set(other.ids)
    if not common:
        raise DataError(
            f"No image is in the test split of all of {', '.join(answered)}. Give runs with the "
            "same data, --seed and fractions, or name images after them that are new to all."
        )
    wanted = [id_ for id_ in first.ids if id_ in common]
    found = {name: _chosen(one, wanted, first.class_names) for name, one in answered.items()}
    for name, one in found.items():
        if not np.array_equal(one.labels, found[first_name].labels):
            row = int(np.flatnonzero(_differ(one.labels, found[first_name].labels))[0])
            raise DataError(
                f"{first_name} and {name} have other labels: {wanted[row]!r} is "
                f"{found[first_name].label(row)!r} in the one and {one.label(row)!r} in the other. "
                "Give runs with the same labels."
            )
    return found


def require_same_classes(
    name: str, answered: AnsweredImages, other_name: str, other: AnsweredImages
) -> None:
    """Refuse two models that do not answer with the same classes, in whatever order.

    Args:
        name: Of the one.
        answered: What it answers.
        other_name: Of the other.
        other: What that answers.

    Raises:
        DataError: They have other classes.
    """
    same = set(answered.class_names) == set(other.class_names)
    if not same or answered.multi_label != other.multi_label:
        raise DataError(
            f"{name} and {other_name} answer with other classes "
            f"({', '.join(answered.class_names[:5])} and {', '.join(other.class_names[:5])}), so "
            "they cannot be compared. Give models of the same classes."
        )


def _differ(labels: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return in which rows two columns of labels differ."""
    different = np.asarray(labels != other).reshape(len(labels), -1)
    return np.asarray(different.any(axis=1))


def _chosen(
    answered: AnsweredImages, ids: list[str], class_names: tuple[str, ...]
) -> AnsweredImages:
    """Return some images in an order, with the classes in an order."""
    place = {id_: row for row, id_ in enumerate(answered.ids)}
    return answered.chosen(np.array([place[id_] for id_ in ids])).reordered(class_names)


def _encoded(words: list[str], names: tuple[str, ...], *, several: bool) -> NDArray[Any]:
    """Return labels in words as numbers."""
    place = {name: index for index, name in enumerate(names)}
    if not several:
        return np.array([place[word] for word in words], np.int64)
    labels = np.zeros((len(words), len(names)), np.int8)
    for row, word in enumerate(words):
        labels[row, [place[name] for name in word.split("|") if name]] = 1
    return labels


def _table(path: Path) -> Any:
    """Return a CSV of a run folder, all text but the probabilities."""
    import pandas as pd  # not at the top: slow, and a help text needs none of it

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} of the run folder cannot be read: {error}. Make the run again with: "
            f"python -m kerastl.fit --config {path.parent / 'config.yaml'}"
        ) from None
    return frame
