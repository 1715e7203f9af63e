"""A map of the images of a run: what the kept model finds alike, and where its answers change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.evaluation.embedding_picture import Points, embedding_figure
from kerastl.evaluation.figures import file_data_uri, save_figure
from kerastl.evaluation.report import Picture
from kerastl.models.classifier import parts_of
from kerastl.record import Record

# Points of each kind on the map; more of them hide each other.
_MOST_TRAINED, _MOST_NEW = 600, 600
_REGION_ROWS = 160
# Of the span of the points, around them.
_MARGIN = 0.06
# Up to so many classes the answer depends on nothing but the two axes.
_EXACT_CLASSES = 3


def embedding_pictures(folder: Path, record: Record) -> list[Picture]:
    """Return the map of a run's images, files of its own too.

    None where an image can have several labels, or nothing was learnt of the images.

    Args:
        folder: Where the files go.
        record: The run.
    """
    known, table = record.known_kind, record.table
    if known is None or table.multi_label or min(known.features["train"].shape) < 2:
        return []
    most = {"train": _MOST_TRAINED, "test": _MOST_NEW}
    places = {name: _spread(len(known.rows[name]), count) for name, count in most.items()}
    rows = np.concatenate([known.rows[name][places[name]] for name in most])
    features = np.concatenate([known.features[name][places[name]] for name in most])
    trained_on = np.repeat([True, False], [len(places[name]) for name in most])
    answers = _logits(record.experiment.classifier, features)
    labels = table.labels[rows]
    tested = record.rows("test")
    right = record.answered("test", record.experiment.kept).right
    wrong = np.isin(rows, tested[~right])
    figure = embedding_figure(
        [_alike(features), _answered(answers, features)],
        labels,
        trained_on=trained_on,
        wrong=wrong,
        class_names=table.class_names,
    )
    _, svg = save_figure(figure, folder / "embedding_map")
    exact = len(table.class_names) <= _EXACT_CLASSES
    return [
        Picture(
            "The images as the network sees them",
            file_data_uri(svg),
            alt="Two maps of training and test images, in the colour of their class.",
            caption="Training images (small) and test images. Left: what the network finds alike, "
            "the two directions in which its features vary most (PCA); images that lie apart from "
            "their class are worth a look. Right: what the head makes of it; the ground is the "
            f"class that is answered there{_to_one_view(record)}"
            + (
                "."
                if exact
                else f", as far as two directions of {len(table.class_names) - 1} can show that."
            ),
        )
    ]


def _to_one_view(record: Record) -> str:
    """Return what the ground leaves out where answers are the mean over mirror images."""
    several = len(record.experiment.answer_views) > 1
    return ", to the image alone (rings: by the mean over its mirror images)" if several else ""


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most so many places, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _logits(classifier: keras.Model, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what the head says of features, before the softmax, centred over the classes."""
    parts = parts_of(classifier)
    hidden = keras.ops.convert_to_tensor(features)
    for layer in parts.head[:-1]:
        hidden = layer(hidden)  # dropout drops only where it is told that this is training
    kernel, bias = (np.asarray(weights, np.float64) for weights in parts.output.get_weights())
    logits = np.asarray(hidden, np.float64) @ kernel + bias
    return np.asarray(logits - logits.mean(axis=1, keepdims=True), np.float64)


def _alike(features: NDArray[np.float32]) -> Points:
    """Return the images where their features vary most."""
    from sklearn.decomposition import PCA  # slow to import

    plane = PCA(2, svd_solver="randomized", random_state=0)
    places = plane.fit_transform(features)
    shares = plane.explained_variance_ratio_
    names = tuple(f"{name} direction, {share:.0%} of all variance" for name, share in
                  zip(("first", "second"), shares, strict=True))  # fmt: skip
    return Points("What is alike", places, (names[0], names[1]))


def _answered(logits: NDArray[np.float64], features: NDArray[np.float32]) -> Points:
    """Return the images where their answers vary most, and what is answered where."""
    from sklearn.decomposition import PCA

    if logits.shape[1] == 2:  # one direction tells all; the other only spreads the points
        first, spread = logits[:, 1], features - features.mean(axis=0)
        across = np.outer(first - first.mean(), (first - first.mean()) @ spread)
        left = spread - across / max(float(np.sum((first - first.mean()) ** 2)), 1e-12)
        second = PCA(1, svd_solver="randomized", random_state=0).fit_transform(left)[:, 0]
        places = np.stack([first, second], axis=1)
        limits = _limits(places)
        ground = np.linspace(limits[0], limits[1], _REGION_ROWS) > 0
        regions = np.tile(ground.astype(np.int64), (2, 1))
        names = ("half of the log-odds of the second class", "variance of what is left")
        return Points("What is answered", places, names, regions, limits)
    plane = PCA(2, random_state=0)
    places = plane.fit_transform(logits)
    limits = _limits(places)
    x = np.linspace(limits[0], limits[1], _REGION_ROWS)
    y = np.linspace(limits[2], limits[3], _REGION_ROWS)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    regions = plane.inverse_transform(grid).argmax(axis=1).reshape(_REGION_ROWS, _REGION_ROWS)
    names = ("first direction of the logits", "second direction of the logits")
    return Points("What is answered", places, names, regions.astype(np.int64), limits)


def _limits(places: NDArray[np.floating[Any]]) -> tuple[float, float, float, float]:
    """Return least and largest x and y, with a margin."""
    low, high = places.min(axis=0), places.max(axis=0)
    margin = np.maximum(_MARGIN * (high - low), 1e-6)
    (left, bottom), (right, top) = low - margin, high + margin
    return float(left), float(right), float(bottom), float(top)
