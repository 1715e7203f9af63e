"""Validation within an epoch: more to choose from, and not a bit of the training another."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from kerastl.evaluation.checks import best_check, check_at, checks_of
from kerastl.features.extract import predict_probabilities
from kerastl.features.probe import log_loss_nats
from kerastl.models.classifier import build_classifier
from kerastl.training import saver
from kerastl.training.checkpoint import CheckpointFile
from kerastl.training.checks import check_parts
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot
from kerastl.training.validation_callback import ValidationCallback

LABELS = np.arange(60) % 3
TRAIN, VAL = (np.flatnonzero(np.arange(60) % 5 != 4), np.flatnonzero(np.arange(60) % 5 == 4))
SENSELESS = np.random.default_rng(0).permutation(LABELS)
PHASE = Phase(
    epochs=4, learning_rate=1e-2, batch_size=8, augment="light", patience_epochs=99, clip_norm=None
)
ANYWHERE = {
    "labels": SENSELESS, "checks_per_epoch": 10, "learning_rate": 0.05, "schedule": "constant",
}  # fmt: skip


class Weights(keras.callbacks.Callback):
    """The weights at the end of each epoch, and what Keras tells other loggers."""

    def __init__(self):
        super().__init__()
        self.seen, self.told = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append([w.copy() for w in self.model.get_weights()])
        self.told.append(dict(logs))


def tuned(images, *, labels=LABELS, checkpoint=None, **changes):
    """A network with all that training at random moves: Dropout, BatchNorm, augmentation."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    backbone = keras.Model(inputs, x, name="net")
    classifier = build_classifier(
        backbone, num_classes=3, image_size=(16, 16), preprocessing="tf", dropout=0.3, seed=0
    )
    weights = Weights()
    result = fine_tune(
        classifier,
        images,
        one_hot(labels, num_classes=3),
        train_rows=TRAIN,
        val_rows=VAL,
        border=None,
        phase=dataclasses.replace(PHASE, **changes),
        callbacks=[weights],
        checkpoint=checkpoint,
    )
    return classifier, result, weights


def without_checks(history):
    return [{key: row[key] for key in row if key != "checks"} for row in history]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_norm": "train"},
        {"ema_momentum": 0.9},
        {"soup": 3},
        {"schedule": "plateau"},
        {"accumulate_steps": 2},
    ],
    ids=lambda changes: next(iter(changes), "plain"),
)
def test_checks_change_no_bit_of_the_training(images, changes):
    _, once, of_once = tuned(images, **changes)
    _, often, of_often = tuned(images, checks_per_epoch=3, **changes)
    assert without_checks(once.history) == without_checks(often.history)
    assert [len(row["checks"]) for row in once.history] == [0] * 4
    assert [check["epoch"] for check in often.history[2]["checks"]] == [2.333, 2.667]
    for one, other in zip(of_once.seen, of_often.seen, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert of_once.told == of_often.told  # TensorBoard and its kin are told the same


@pytest.mark.parametrize("changes", [{}, {"ema_momentum": 0.8}], ids=["plain", "average"])
def test_a_check_is_what_is_kept(images, changes):
    """Labels without sense: nothing gets better for long, and the best comes anywhere."""
    classifier, result, _ = tuned(images, **ANYWHERE, **changes)
    checks = checks_of(result.history)
    assert result.best_epoch == best_check(checks).epoch <= result.kept_epoch
    kept = check_at(checks, result.kept_epoch)
    answers = predict_probabilities(classifier, images[VAL])
    np.testing.assert_allclose(answers, result.val_probabilities, atol=1e-5)
    assert log_loss_nats(SENSELESS[VAL], answers) == pytest.approx(kept.loss, abs=1e-5)


def test_patience_counts_parts_of_epochs(images):
    options = {**ANYWHERE, "checks_per_epoch": 2, "patience_epochs": 2, "epochs": 30}
    _, result, weights = tuned(images, **options)
    last = result.history[-1]["epoch"]
    assert last == result.best_epoch + 2 < 30
    assert len(result.history) == len(weights.seen) == math.ceil(last)
    every = [check.epoch for check in checks_of(result.history)]
    assert every == [number / 2 for number in range(1, len(every) + 1)]  # each once
    assert weights.told[-1]["val_loss"] == result.history[-1]["val_loss"]


def test_patience_may_end_in_the_middle_of_an_epoch(images, monkeypatch):
    losses = iter([0.9, 0.8, 0.7, 0.75, 0.75, 0.75, 0.75])
    monkeypatch.setattr(ValidationCallback, "_losses", lambda *_: np.full(len(VAL), next(losses)))
    _, result, weights = tuned(images, checks_per_epoch=2, patience_epochs=1)
    assert (result.best_epoch, result.kept_epoch) == (1.5, 1.5)
    assert result.history[-1]["epoch"] == 2.5
    assert [len(row["checks"]) for row in result.history] == [1, 1, 0]
    assert weights.told[-1]["val_tempered_loss"] == 0.75


def test_a_soup_may_hold_the_middle_of_an_epoch(images):
    _, result, _ = tuned(
        images, checks_per_epoch=2, soup=3, learning_rate=0.1, schedule="constant", epochs=6
    )
    assert not result.averaged or "of the best 3 checks" in result.averaged
    if result.averaged:
        best = best_check(checks_of(result.history)).loss
        assert log_loss_nats(LABELS[VAL], result.val_probabilities) <= best + 1e-6


@pytest.mark.parametrize("epochs_done", [1, 3])
def test_an_interrupted_run_remembers_the_middle_of_an_epoch(
    images, tmp_path, monkeypatch, epochs_done
):
    """The best check lies before the interruption, and after it: both come out as without it."""
    options = {**ANYWHERE, "soup": 2}
    _, expected, _ = tuned(images, **options)
    path = tmp_path / "c.npz"
    save = CheckpointFile.save

    def save_and_die(self, checkpoint, *, last=False):
        save(self, checkpoint, last=True)
        if checkpoint.epochs_done == epochs_done:
            raise KeyboardInterrupt

    monkeypatch.setattr(saver.CheckpointFile, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        tuned(images, checkpoint=CheckpointFile(path, {}, resume=False), **options)
    monkeypatch.undo()
    _, result, _ = tuned(images, checkpoint=CheckpointFile(path, {}, resume=True), **options)
    assert list(result.history) == list(expected.history)
    assert (result.best_epoch, result.kept_epoch) == (expected.best_epoch, expected.kept_epoch)
    assert result.averaged == expected.averaged
    np.testing.assert_array_equal(result.val_probabilities, expected.val_probabilities)


@pytest.mark.parametrize("epoch_steps", [1, 2, 3, 7, 83])
@pytest.mark.parametrize("checks", range(1, 11))
def test_checks_are_spread_evenly(epoch_steps, checks):
    parts = check_parts(epoch_steps=epoch_steps, checks_per_epoch=checks)
    assert len(parts) == min(checks, epoch_steps) - 1
    assert sorted(parts.values()) == list(parts.values())
    for step, part in parts.items():
        assert 0 < step < epoch_steps
        assert abs(step / epoch_steps - part) <= 0.5 / epoch_steps + 1e-9
