"""A fine-tuning on solar cells of which every answer to validation is known. For other scripts."""

import time
from dataclasses import dataclass

import numpy as np

import kerastl
from kerastl.data.sources import ImageTable
from kerastl.data.stream import Images
from kerastl.features.probe import probe_probabilities
from kerastl.features.store import find_store
from kerastl.plan import build, find_network, find_phase, find_settings, split_table
from kerastl.training.targets import one_hot
from kerastl.training.validation_callback import ValidationCallback


@dataclass(frozen=True)
class Watched:
    """What was seen.

    Attributes:
        answers: float32 (1 + checks, num_val, num_classes): of the probe, then of every check.
        labels: int64 (num_val,).
        units: (num_val,): images of one unit are alike; each its own without groups.
        check_share: Time of one check over that of an epoch's steps.
    """

    answers: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    check_share: float


def watched_training(
    config: kerastl.FitConfig, images: Images, table: ImageTable, *, num_train: int | None = None
) -> Watched:
    """Train from the probe on the image as it is, and watch.

    Args:
        config: All options.
        images: All of the table.
        table: What to train on.
        num_train: Training images that are left, at random; all where not given.
    """
    splits = split_table(table, config)
    train, val = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    if num_train is not None:
        train = np.random.default_rng(config.seed).permutation(train)[:num_train]
    units = np.arange(len(table.labels)) if table.groups is None else table.groups
    network = find_network(config, backbone=None, preprocessing="")
    classifier = build(network, table, config)
    folds = kerastl.fold_rows(table.labels[train], groups=units[train], num_folds=5, seed=0)
    features = kerastl.extract_features(classifier, images[train])
    probe = kerastl.fit_probe(features, table.labels[train], folds=folds)
    kerastl.assign_probe(classifier, probe)
    of_probe = probe_probabilities(probe, kerastl.extract_features(classifier, images[val]))
    recipe, network = find_settings(config, network, num_train=len(train))
    watch = _Watch()
    forward, epoch_end = ValidationCallback._forward_all, ValidationCallback.on_epoch_end
    ValidationCallback._forward_all = lambda keeper: watch.check(lambda: forward(keeper))
    ValidationCallback.on_epoch_end = lambda keeper, *told: watch.end(
        lambda: epoch_end(keeper, *told)
    )
    try:
        kerastl.fine_tune(
            classifier,
            images,
            one_hot(table.labels, num_classes=len(table.class_names)),
            train_rows=train,
            val_rows=val,
            border=network.border,
            phase=find_phase(config, network, recipe),
            store=find_store("auto", largest_bytes=2**34),
        )
    finally:
        ValidationCallback._forward_all, ValidationCallback.on_epoch_end = forward, epoch_end
    answers = np.stack([of_probe, *watch.answers])
    return Watched(answers, table.labels[val], units[val], watch.check_share())


class _Watch:
    """Answers of every check, and how long they took."""

    def __init__(self):
        self.answers, self._seconds, self._ends = [], [], []

    def check(self, forward):
        started = time.perf_counter()
        self.answers.append(forward())
        self._seconds.append(time.perf_counter() - started)
        return self.answers[-1]

    def end(self, epoch_end):
        epoch_end()
        self._ends.append((time.perf_counter(), len(self._seconds)))

    def check_share(self) -> float:
        # Not the first epoch, in which the step is traced.
        (first, before), (last, _) = self._ends[0], self._ends[-1]
        if last == first:
            return float("nan")
        epoch = (last - first - sum(self._seconds[before:])) / (len(self._ends) - 1)
        return float(np.median(self._seconds[1:])) / epoch
