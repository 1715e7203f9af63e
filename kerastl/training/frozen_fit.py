"""The head fitted on features of the frozen part: the probe, or a head with a hidden layer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.augment import AS_IT_IS
from kerastl.data.splits import fold_rows
from kerastl.data.stream import Images
from kerastl.features.extract import folded_feature_model
from kerastl.features.halving import prove_in_memory
from kerastl.features.probe import Probe, fit_probe, probe_probabilities
from kerastl.features.store import Store
from kerastl.features.stored_features import stored_features
from kerastl.models.classifier import HIDDEN, feature_model, parts_of
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.training.cut import Cut
from kerastl.training.few_images import FewImages, are_few, choose_head, few_image_folds
from kerastl.training.head import assign_probe, fit_head
from kerastl.training.targets import one_hot

View = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
Answer = Callable[[NDArray[np.int64], str], list[NDArray[np.float32]]]

# Folds that the probe's penalty is chosen by; fewer would waste training rows, more only time.
NUM_FOLDS = 5


@dataclass(frozen=True, eq=False)
class FrozenFit:
    """A head that was fitted on frozen features.

    Attributes:
        probe: Logistic regression on them.
        answer: From rows, and a description for the progress bar, to the answers of the
            classifier's head as it is then, float32 (number of rows, num_classes) for each view,
            the image as it is first. The features are those of the backbone as it is now.
        few: What was chosen where images are few; None where they are not, or nobody asked.
    """

    probe: Probe = field(repr=False)
    answer: Answer = field(repr=False)
    few: FewImages | None = None


def fit_frozen(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[Any],
    *,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    groups: NDArray[np.str_] | None,
    views: Mapping[str, View],
    class_weights: NDArray[np.float32] | None,
    batch_size: int,
    features: keras.Model,
    dtype: str,
    cut: Cut | None,
    store: Store,
    seed: int,
    tta: bool = False,
    centroids: bool = False,
) -> FrozenFit:
    """Fit the head in place.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes).
        train: int64: rows to fit on.
        val: int64: rows that tell a head with a hidden layer when to stop.
        groups: Of shape (n,): rows of one group stay in one fold of the probe's
            cross-validation.
        views: What of each image it is fitted on, see `kerastl.data.augment.symmetric_views`.
        class_weights: float32 of shape (num_classes,): of the loss.
        batch_size: Images per step of the frozen part.
        features: From pixels to the features of training images.
        dtype: What `features` computes in.
        cut: Where fine-tuning begins, if it keeps what leaves the frozen part: its way is shared.
        store: Where features are kept for later runs.
        seed: Of the folds and the head.
        tta: Whether it answers to each of these views, not only to the image as it is.
        centroids: Whether a handful of images per class may have nearest centroids as their head,
            see `kerastl.training.few_images`.

    Raises:
        FrozenPartError: The frozen part is not what it should be.
    """
    features_of = _feature_reader(
        classifier,
        images,
        train=train,
        val=val,
        batch_size=batch_size,
        features=features,
        dtype=dtype,
        cut=cut,
        store=store,
    )
    # The head meets the mirror images now, not in the first steps of fine-tuning: unprepared,
    # a probe's log-loss can double on them, and fine-tuning spends its epochs on repairing it.
    found = np.concatenate(
        [
            features_of(
                train, f"Extracting features ({number} of {len(views)})", view, training=True
            )
            for number, view in enumerate(views.items(), start=1)
        ]
    )
    known = np.concatenate([labels[train]] * len(views))
    is_linear = not _has_hidden_layer(classifier)
    probe, few = _fit_linear(
        *(found, known),
        groups=None if groups is None else groups[train],
        num_images=len(train),
        class_weights=class_weights,
        centroids=centroids and is_linear,
        seed=seed,
    )
    of_views = functools.partial(
        _features_of_views, features_of, views if tta else {AS_IT_IS: views[AS_IT_IS]}
    )
    if is_linear:
        assign_probe(classifier, few.centroids if few and few.are_chosen else probe)

        def answer(rows: NDArray[np.int64], what: str) -> list[NDArray[np.float32]]:
            return [
                probe_probabilities(_probe_in(classifier, probe), x, multi_label=labels.ndim == 2)
                for x in of_views(rows, what)
            ]

        return FrozenFit(probe, answer, few)
    num_classes = classifier.output_shape[-1]
    head = fit_head(
        classifier,
        found,
        one_hot(known, num_classes=num_classes),
        features_of(val, "Extracting features (val)"),
        one_hot(labels[val], num_classes=num_classes),
        seed=seed,
        class_weights=class_weights,
    )
    return FrozenFit(
        probe,
        lambda rows, what: [
            np.asarray(head.predict(x, verbose=0), np.float32) for x in of_views(rows, what)
        ],
    )


def _fit_linear(
    features: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    groups: NDArray[np.str_] | None,
    num_images: int,
    class_weights: NDArray[np.float32] | None,
    centroids: bool,
    seed: int,
) -> tuple[Probe, FewImages | None]:
    """Return the probe on all views of the images, and what takes its place where they are few.

    Args:
        features: float32 of shape (num_views * num_images, num_features), view by view.
        labels: Of the same rows.
        groups: Of shape (num_images,).
        num_images: Images; all views of one are held out together.
        class_weights: Of the loss.
        centroids: Whether nearest centroids may be chosen.
        seed: Of the folds.
    """
    of_images = labels[:num_images]
    num_views = len(labels) // num_images
    are_tried = centroids and class_weights is None and are_few(of_images)
    if are_tried:
        folds = few_image_folds(of_images, groups=groups, seed=seed)
    else:
        folds = fold_rows(of_images, groups=groups, num_folds=NUM_FOLDS, seed=seed)
    folds = np.tile(folds, num_views)
    weights = None if class_weights is None else class_weights[labels]
    probe = fit_probe(features, labels, folds=folds, row_weights=weights)
    if not are_tried:
        return probe, None
    few = choose_head(
        probe, features, labels, folds=folds, groups=groups, num_images=num_images, seed=seed
    )
    return probe, few


def _probe_in(classifier: keras.Model, probe: Probe) -> Probe:
    """Return the probe as the classifier has it now: by a temperature, it may be less sure."""
    output = parts_of(classifier).output
    return dataclasses.replace(
        probe, kernel=np.asarray(output.kernel), bias=np.asarray(output.bias)
    )


def _features_of_views(
    features_of: Callable[..., NDArray[np.float32]],
    views: Mapping[str, View],
    rows: NDArray[np.int64],
    what: str,
) -> Iterator[NDArray[np.float32]]:
    """Yield the features that answers are made of, view by view."""
    for number, view in enumerate(views.items(), start=1):
        words = what if len(views) == 1 else f"{what} ({number} of {len(views)})"
        yield features_of(rows, words, view)


def _feature_reader(
    classifier: keras.Model,
    images: Images,
    *,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    batch_size: int,
    features: keras.Model,
    dtype: str,
    cut: Cut | None,
    store: Store,
) -> Callable[..., NDArray[np.float32]]:
    """Return the function from rows and a view to features; those to train on are in `dtype`."""

    def features_by(
        model: keras.Model, dtype: str, *kept_rows: NDArray[np.int64]
    ) -> Callable[..., NDArray[np.float32]]:
        shortcut = None if cut is None else cut.shortcut(*kept_rows, dtype=dtype)
        prove = functools.partial(
            prove_in_memory,
            model if shortcut is None else shortcut.whole,
            reference=feature_model(classifier),
            pixels=images[train[:PROOF_IMAGES]],
            dtype=dtype,
        )
        return stored_features(
            model, images, store, batch_size=batch_size, prove=prove, shortcut=shortcut
        )

    if dtype == "float32":
        fast_of = exact_of = features_by(features, dtype, train, val)
    else:
        fast_of = features_by(features, dtype, train)
        # Validation and test see what will be served, which is float32.
        exact_of = features_by(folded_feature_model(classifier), "float32", val)

    def features_of(
        rows: NDArray[np.int64],
        what: str,
        view: tuple[str, View] | None = None,
        *,
        training: bool = False,
    ) -> NDArray[np.float32]:
        return (fast_of if training else exact_of)(rows, what, view)

    return features_of


def _has_hidden_layer(classifier: keras.Model) -> bool:
    """Return whether the head is more than the probe can be."""
    return any(layer.name == HIDDEN for layer in parts_of(classifier).head)
