"""What a trained model knows: features of some training images, and how new validation looks."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.stream import Images
from kerastl.errors import DataError, FrozenPartError
from kerastl.features.extract import folded_feature_model, run_in_batches, trace_forward
from kerastl.features.halving import prove_in_memory
from kerastl.features.novelty import (
    MOST_KNOWN,
    Novelty,
    choose_num_neighbours,
    fit_novelty,
)
from kerastl.features.store import Store
from kerastl.features.stored_features import stored_features
from kerastl.models.classifier import feature_model
from kerastl.models.frozen import PROOF_IMAGES

# Images that the threshold is from, and as many that tell what it is worth.
_MOST_ASKED = 1_000
_WORDS = {
    "train": "Remembering what is known",
    "val": "What is new in validation",
    "test": "What is new in the test",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class KnownKind:
    """What the kept model knows, and how new the test images look to it.

    Attributes:
        novelty: What tells pictures of another kind.
        test_scores: float32 of shape (number of these,): of the test images that were asked.
        rows: By split, int64: the images that were asked; all, or 1,000 of them.
        features: By split, float32 of shape (number of these, num_features): what the kept model
            makes of them.
    """

    novelty: Novelty
    test_scores: NDArray[np.float32] = field(repr=False)
    rows: Mapping[str, NDArray[np.int64]] = field(repr=False)
    features: Mapping[str, NDArray[np.float32]] = field(repr=False)


def learn_known_kind(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    *,
    splits: NDArray[np.str_],
    store: Store | None,
    batch_size: int,
    seed: int,
) -> KnownKind | None:
    """Remember what the kept model makes of some training images, and ask it about the others.

    Args:
        classifier: Trained: made by `kerastl.models.classifier.build_classifier`, or around one.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        splits: Of shape (n,): "train", "val" or "test".
        store: Where features of a network that was not trained may be kept already; None for one
            that was.
        batch_size: Images per step.
        seed: Of which images are taken where there are more than 1,000 of a split.

    Returns:
        None where an image has gone or is damaged since it was trained on, or where the network
        does not give the same features twice.
    """
    random = np.random.default_rng(seed)
    known = _some_of_each_class(np.flatnonzero(splits == "train"), labels, random)
    val, test = (
        np.sort(random.permutation(np.flatnonzero(splits == name))[:_MOST_ASKED])
        for name in ("val", "test")
    )
    rows = {"train": known, "val": val, "test": test}
    try:
        features_of = _feature_reader(classifier, images, known, store=store, batch_size=batch_size)
        found = {name: features_of(some, _WORDS[name]) for name, some in rows.items()}
    except (
        DataError,
        FrozenPartError,
    ) as error:  # a file has gone, or folding is inexact: no reason to lose the run
        logger.warning("Nothing will tell pictures of another kind: %s", error)
        return None
    counts = np.bincount(labels[known]) if labels.ndim == 1 else labels[known].sum(axis=0)
    neighbours = min(choose_num_neighbours(counts), len(known))
    novelty = fit_novelty(found["train"], found["val"], num_neighbours=neighbours)
    return KnownKind(novelty, novelty.scores(found["test"]), rows, found)


def _some_of_each_class(
    train: NDArray[np.int64], labels: NDArray[Any], random: np.random.Generator
) -> NDArray[np.int64]:
    """Return at most so many training rows, small classes whole and large ones in part."""
    if len(train) <= MOST_KNOWN or labels.ndim == 2:
        return np.sort(random.permutation(train)[:MOST_KNOWN])
    order = random.permutation(train)
    _, place = np.unique(labels[order], return_inverse=True)
    # The first of each class, then the second of each, and so on.
    turn = np.empty(len(order), np.int64)
    for one in range(int(place.max()) + 1):
        turn[place == one] = np.arange(np.sum(place == one))
    return np.sort(order[np.argsort(turn, kind="stable")[:MOST_KNOWN]])


def _feature_reader(
    classifier: keras.Model,
    images: Images,
    known: NDArray[np.int64],
    *,
    store: Store | None,
    batch_size: int,
) -> Callable[[NDArray[np.int64], str], NDArray[np.float32]]:
    """Return the function from rows to pooled features, float32 as they will be served."""
    model = folded_feature_model(classifier)
    prove = functools.partial(
        prove_in_memory,
        model,
        reference=feature_model(classifier),
        pixels=images[known[:PROOF_IMAGES]],
        dtype="float32",
    )
    if store is not None:
        return stored_features(model, images, store, batch_size=batch_size, prove=prove)
    prove()
    forward = trace_forward(model, images.shape[1:])
    return lambda rows, description: run_in_batches(
        forward,
        images,
        rows,
        width=model.output_shape[-1],
        batch_size=batch_size,
        description=description,
    )
