"""The last layer anew, every class of every subgroup counting the same.

A network learns what is needed for the rare cases too, but its last layer follows the common ones:
cows on grass, not cows on sand. A last layer that is fitted anew on images which the features were
not trained on, all combinations of class and subgroup weighing the same, gives most of what can be
had for the worst subgroup (deep feature reweighting: Kirichenko et al., ICLR 2023,
https://arxiv.org/abs/2204.02937; weights in place of equal subsets, which do as well: Idrissi et
al., CLeaR 2022, https://arxiv.org/abs/2110.14503).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.data.augment import AS_IT_IS
from kerastl.data.splits import fold_rows
from kerastl.data.stream import Images
from kerastl.errors import DataError
from kerastl.features.extract import folded_feature_model
from kerastl.features.halving import prove_in_memory
from kerastl.features.probe import Probe, fit_probe, image_losses, probe_probabilities
from kerastl.features.store import Store
from kerastl.features.stored_features import stored_features
from kerastl.models.classifier import feature_model, parts_of
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.models.view_mean import mean_answer
from kerastl.training.answers import Candidate, candidate_of
from kerastl.training.frozen_fit import NUM_FOLDS, View
from kerastl.training.kept import standard_error

# Images that a combination of class and subgroup weighs as at least: one image must not weigh as
# much as a hundred others.
_LEAST_IMAGES = 5


@dataclass(frozen=True)
class GroupBalance:
    """What became of the last layer.

    Attributes:
        fitted_on: "training" or "validation": the images that it was fitted on.
        num_images: How many these are.
        num_cells: Combinations of class and subgroup that they have.
        rare: Class and subgroup of those with fewer than 5 images, which weigh less.
        loss_before: Log-loss on validation, every combination counting the same, in nats.
        loss_after: The same of the new last layer; of one that was fitted on validation by
            cross-validation.
        accuracy_before: Share of right answers, 0..1, in the mean over combinations.
        accuracy_after: The same of the new last layer.
        standard_error: Of the difference of both losses, over images or their groups.
        worst_before: Share of right answers in the combination where it is least, of those with 5
            validation images or more.
        worst_after: The same of the new last layer.
        penalty: Of the new last layer.
    """

    fitted_on: str
    num_images: int
    num_cells: int
    rare: tuple[tuple[int, str], ...]
    loss_before: float
    loss_after: float
    accuracy_before: float
    accuracy_after: float
    standard_error: float
    worst_before: float
    worst_after: float
    penalty: float

    @property
    def helps(self) -> bool:
        """Whether it is surely better for the mean over combinations, and no worse for the worst.

        Surely: by more than a standard error, as all that is kept here.
        """
        gain = self.loss_before - self.loss_after
        return gain > self.standard_error and self.worst_after >= self.worst_before

    def words(self, class_names: Sequence[str]) -> str:
        """Return what was done and what it gives, in a sentence.

        Args:
            class_names: One for each class.
        """
        rare = [f"{class_names[label]} of {group}" for label, group in self.rare]
        done = (
            f"Its last layer was fitted anew on {self.num_images:,} {self.fitted_on} images, each "
            f"of {self.num_cells} combinations of class and group weighing the same"
        )
        if rare:
            done += f" (less with under {_LEAST_IMAGES} images: {', '.join(rare[:3])}"
            done += f" and {len(rare) - 3} more)" if len(rare) > 3 else ")"
        return (
            f"{done}. On validation, in the mean over these: {self.accuracy_after:.1%} right, "
            f"before {self.accuracy_before:.1%}; log-loss {self.loss_after:.3f}, before "
            f"{self.loss_before:.3f} (\N{PLUS-MINUS SIGN} {self.standard_error:.3f}); where fewest "
            f"are right {self.worst_after:.1%}, before {self.worst_before:.1%}."
        )


@dataclass(frozen=True, eq=False)
class BalancedHead:
    """A last layer for combinations of class and subgroup that count the same.

    Attributes:
        probe: The new layer.
        validation: float32 of shape (num_val, num_classes): what the model answers with it, each
            validation image by a layer that was not fitted on it.
        fitted_on: "training" or "validation".
        rows: int64: the images that it was fitted on.
    """

    probe: Probe
    validation: NDArray[np.float32] = field(repr=False)
    fitted_on: str
    rows: NDArray[np.int64] = field(repr=False)


def cells_of(
    labels: NDArray[np.int64], subgroups: NDArray[np.str_]
) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
    """Return the combination of class and subgroup of each image, and what these are.

    Args:
        labels: int64 of shape (n,).
        subgroups: Text of shape (n,).

    Example:
        >>> cells_of(np.array([0, 1, 0]), np.array(["day", "day", "night"]))
        (array([0, 2, 1]), [(0, 'day'), (0, 'night'), (1, 'day')])
    """
    names, codes = np.unique(subgroups, return_inverse=True)
    found, cells = np.unique(labels * len(names) + codes, return_inverse=True)
    return cells.astype(np.int64), [
        (int(one // len(names)), str(names[one % len(names)])) for one in found
    ]


def cell_weights(cells: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a weight for each image such that all combinations weigh the same; its mean is 1.

    Args:
        cells: int64 of shape (n,), from `cells_of`. One with fewer than 5 images weighs less.

    Example:
        >>> weights = cell_weights(np.repeat([0, 1, 2], [10, 30, 1]))
        >>> [round(float(weights[row]), 2) for row in (0, 10, 40)]
        [1.86, 0.62, 3.73]
    """
    weights = 1 / np.maximum(np.bincount(cells), _LEAST_IMAGES)[cells]
    return (weights / weights.mean()).astype(np.float32)


def fit_balanced_head(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[np.int64],
    *,
    rows: Mapping[str, NDArray[np.int64]],
    fit_on: str,
    subgroups: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
    views: Mapping[str, View],
    tta: bool,
    store: Store,
    batch_size: int,
    seed: int,
) -> BalancedHead:
    """Fit the last layer of a classifier anew on its features; the classifier stays as it is.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`, with the weights whose
            features are wanted.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        labels: int64 of shape (n,).
        rows: By split, int64.
        fit_on: "val" for a network that was trained on the training images: its features of these
            know their labels. "train" for one that was not.
        subgroups: Text of shape (n,).
        groups: Of shape (n,): rows of one group are held out together.
        views: What of each image it is fitted on, see `kerastl.data.augment.symmetric_views`.
        tta: Whether answers are the mean over these views.
        store: Where features of the network may be kept already.
        batch_size: Images per step.
        seed: Of the folds.

    Raises:
        DataError: A class has no image in that split.
        FrozenPartError: Features are not what the network gives.
    """
    chosen, num_classes = rows[fit_on], classifier.output_shape[-1]
    where = {"train": "training", "val": "validation"}[fit_on]
    if missing := sorted({*range(num_classes)} - {*labels[chosen].tolist()}):
        raise DataError(
            f"The {where} split has no image of {len(missing)} of the {num_classes} classes: there "
            "is nothing to fit them on."
        )
    if len(np.unique(subgroups[chosen])) < 2:
        raise DataError(f"The {where} split has images of one group alone: there is no balance.")
    read = _last_inputs(classifier, images, chosen, store=store, batch_size=batch_size)
    inputs = [
        read(chosen, f"Features to balance ({number} of {len(views)})", view)
        for number, view in enumerate(views.items(), start=1)
    ]
    cells, _ = cells_of(labels[chosen], subgroups[chosen])
    folds = fold_rows(
        cells,
        groups=None if groups is None else groups[chosen],
        num_folds=NUM_FOLDS,
        seed=seed,
    )
    probe = fit_probe(
        np.concatenate(inputs),
        np.tile(labels[chosen], len(views)),
        folds=np.tile(folds, len(views)),
        row_weights=np.tile(cell_weights(cells), len(views)),
    )
    names = list(views) if tta else [AS_IT_IS]
    if fit_on == "val":
        of_views = dict(zip(views, np.split(probe.out_of_fold, len(views)), strict=True))
        answers = [of_views[name] for name in names]
    else:
        answers = [
            probe_probabilities(
                probe, read(rows["val"], "Validating the balanced layer", (name, views[name]))
            )
            for name in names
        ]
    return BalancedHead(
        probe,
        mean_answer(answers, multi_label=False),
        where,
        chosen,
    )


def judge_balance(
    head: BalancedHead,
    before: Candidate,
    after: Candidate,
    labels: NDArray[np.int64],
    subgroups: NDArray[np.str_],
    *,
    val: NDArray[np.int64],
    groups: NDArray[Any] | None,
) -> GroupBalance:
    """Return what a new last layer is worth on validation.

    Args:
        head: The new layer.
        before: The model without it.
        after: The model with it.
        labels: int64 of shape (n,).
        subgroups: Text of shape (n,).
        val: int64: the validation images.
        groups: Of shape (num_val,): validation images of one group are alike; None if none are.
    """
    cells, names = cells_of(labels[head.rows], subgroups[head.rows])
    counts = np.bincount(cells)
    own, _ = cells_of(labels[val], subgroups[val])
    weights = cell_weights(own).astype(np.float64)
    losses, found = {}, {}
    for name, one in (("before", before), ("after", after)):
        right = one.validation.argmax(axis=1) == labels[val]
        losses[name] = weights * image_losses(labels[val], one.validation)
        found[f"loss_{name}"] = float(losses[name].mean())
        found[f"accuracy_{name}"] = float(np.average(right, weights=weights))
        found[f"worst_{name}"] = _worst(right, own)
    return GroupBalance(
        fitted_on=head.fitted_on,
        num_images=len(head.rows),
        num_cells=len(names),
        rare=tuple(
            cell for cell, count in zip(names, counts, strict=True) if count < _LEAST_IMAGES
        ),
        standard_error=standard_error(losses["after"] - losses["before"], groups),
        penalty=head.probe.penalty,
        **found,
    )


def _worst(right: NDArray[np.bool_], cells: NDArray[np.int64]) -> float:
    """Return the share of right answers in the cell where it is least; of all, if all are small."""
    counts = np.bincount(cells)
    shares = np.bincount(cells, weights=right) / counts
    judged = shares[counts >= _LEAST_IMAGES]
    return float(judged.min() if len(judged) else right.mean())


def balance_groups(
    classifier: keras.Model,
    images: Images,
    labels: NDArray[np.int64],
    before: Candidate,
    *,
    rows: Mapping[str, NDArray[np.int64]],
    subgroups: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
    seed: int,
    **options: Any,
) -> tuple[Candidate, GroupBalance]:
    """Return a model with its last layer balanced, and what that is worth; in place.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: See `fit_balanced_head`, like `labels`, `rows`, `subgroups`, `groups` and `seed`.
        labels: See there.
        before: The model whose last layer is to be balanced.
        rows: See there.
        subgroups: See there.
        groups: See there.
        seed: See there.
        **options: The other arguments of `fit_balanced_head`.

    Raises:
        DataError: A class has no image in the split to balance on.
        FrozenPartError: Features are not what the network gives.
    """
    classifier.set_weights(before.weights)
    shared: dict[str, Any] = {"rows": rows, "subgroups": subgroups, "groups": groups, "seed": seed}
    head = fit_balanced_head(classifier, images, labels, **shared, **options)
    parts_of(classifier).output.set_weights([head.probe.kernel, head.probe.bias])
    val = rows["val"]
    val_groups = None if groups is None else groups[val]
    after = candidate_of(
        classifier,
        before.read,  # it asks the classifier as it is then
        head.validation,
        labels=labels[val],
        while_training=head.validation,
        groups=val_groups,
        class_weights=None,
        seed=seed,
    )
    return after, judge_balance(head, before, after, labels, subgroups, val=val, groups=val_groups)


def _last_inputs(
    classifier: keras.Model,
    images: Images,
    sample: NDArray[np.int64],
    *,
    store: Store,
    batch_size: int,
) -> Callable[..., NDArray[np.float32]]:
    """Return the function from rows and a view to what the last layer takes."""
    model = folded_feature_model(classifier)
    features_of = stored_features(
        model,
        images,
        store,
        batch_size=batch_size,
        prove=functools.partial(
            prove_in_memory,
            model,
            reference=feature_model(classifier),
            pixels=images[sample[:PROOF_IMAGES]],
            dtype="float32",
        ),
    )
    hidden = parts_of(classifier).head[:-1]
    if not hidden:
        return features_of
    inputs = outputs = keras.Input((model.output_shape[-1],))
    for layer in hidden:
        outputs = layer(outputs)
    below = keras.Model(inputs, outputs)
    return lambda *asked: np.asarray(below.predict(features_of(*asked), verbose=0), np.float32)
