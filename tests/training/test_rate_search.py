"""The search for a learning rate: what it suggests trains well, and nothing stays changed."""

import dataclasses
import types

import keras
import numpy as np
import pytest

from kerastl.deadline import Deadline, TimeUpError
from kerastl.errors import DataError, DivergedError
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.rate_finder import best_rate, diverged, rates_to_try, sweep_rates
from kerastl.training.rate_search import find_learning_rate
from kerastl.training.targets import one_hot

SIZE = (12, 12)
ROWS = np.arange(120)
TRAIN, VAL = ROWS[ROWS % 3 != 2], ROWS[ROWS % 3 == 2]


def colours():
    """Three colours in noise."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(ROWS % 3)
    means = np.array([(170, 90, 90), (90, 170, 90), (90, 90, 170)])[labels]
    return np.clip(means[:, None, None] + rng.normal(0, 90, (120, *SIZE, 3)), 0, 255), labels


def stripes():
    """Stripes that lie or stand, of any colour, in noise."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(ROWS % 2)
    wave = 70 * np.sign(np.sin(np.arange(12) * 2 + rng.uniform(0, 6, (120, 1))))
    pictures = np.where(labels[:, None, None], wave[:, None, :], wave[:, :, None])
    noise = rng.normal(128, 60, (120, *SIZE, 3)) + rng.normal(0, 30, (120, 1, 1, 3))
    return np.clip(pictures[..., None] + noise, 0, 255), labels


def make_classifier(num_classes):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv0")(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv1")(x)
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="conv2")(x), name="net")
    return build_classifier(
        backbone, num_classes=num_classes, image_size=SIZE, preprocessing="tf", seed=0
    )


PHASE = Phase(epochs=12, learning_rate=1.0, batch_size=8, augment="none", patience_epochs=99)


@pytest.mark.parametrize("problem", [colours, stripes])
def test_the_suggestion_is_near_the_best_of_a_sweep(problem):
    pixels, labels = problem()
    images, num_classes = pixels.astype(np.uint8), int(labels.max()) + 1
    classifier = make_classifier(num_classes)
    start = classifier.get_weights()
    job = {"train_rows": TRAIN, "val_rows": VAL, "border": borders_of(classifier)[0]}
    targets = one_hot(labels, num_classes=num_classes)
    sweep = find_learning_rate(classifier, images, targets, **job, phase=PHASE)
    for old, new in zip(start, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.all(np.diff(sweep.rates) > 0)
    assert sweep.losses[-1] > 2 * sweep.losses[0] or len(sweep.rates) == 80
    assert 5 <= len(sweep.tried) <= 7
    assert [rate for rate, _ in sweep.tried] == sorted(dict(sweep.tried), reverse=True)
    found = {}
    for rate in np.geomspace(1e-4, 1.0, 9):
        classifier.set_weights(start)
        phase = dataclasses.replace(PHASE, learning_rate=float(rate))
        try:
            result = fine_tune(classifier, images, targets, **job, phase=phase)
        except DivergedError:
            continue
        found[float(rate)] = min(row["val_tempered_loss"] for row in result.history)
    # Rates that are as good as the best one, but for noise, are the best one too.
    good = [rate for rate, loss in found.items() if loss < min(found.values()) + 0.02]
    assert min(good) / 3 <= sweep.suggestion <= 3 * max(good), (sweep.suggestion, found)


def borders_of(classifier):
    return borders(classifier.get_layer("net"), "conv0|conv1")


def test_the_pieces():
    assert sweep_rates(9)[0] == pytest.approx(1e-7)
    assert diverged([np.inf], before=1.0)
    tried = rates_to_try([1e-3, 1e-2], [1.0, 1.1], before=1.0)
    assert tried[0] == pytest.approx(5e-3)  # it never doubled: half of the last one
    assert best_rate([(1.0, np.nan), (0.1, 2.0)]) == 0.1


def searched(monkeypatch, outcomes, phase=PHASE):
    """The search, with short trainings that end as `outcomes` say, the last one for the rest."""
    pixels, labels = colours()
    classifier, calls = make_classifier(3), []
    start = classifier.get_weights()

    def pretended(model, *_, **__):
        model.set_weights([weight + 1 for weight in model.get_weights()])
        outcome = outcomes[min(len(calls), len(outcomes) - 1)]
        calls.append(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, str):
            return types.SimpleNamespace(history=[{"val_tempered_loss": 0.0}], cut_short=outcome)
        return types.SimpleNamespace(history=[{"val_tempered_loss": outcome}], cut_short="")

    monkeypatch.setattr("kerastl.training.rate_search.fine_tune", pretended)
    try:
        return find_learning_rate(
            classifier,
            pixels.astype(np.uint8),
            one_hot(labels, num_classes=3),
            train_rows=TRAIN,
            val_rows=VAL,
            border=borders_of(classifier)[0],
            phase=phase,
            num_steps=9,
        )
    finally:
        for old, new in zip(start, classifier.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("end", [TimeUpError("--max-minutes 2"), "--max-minutes 2: cut short"])
def test_when_the_time_is_up_the_best_so_far_is_suggested(monkeypatch, caplog, end):
    phase = dataclasses.replace(PHASE, deadline=Deadline(np.inf, "--max-minutes 2"))
    with caplog.at_level("WARNING", logger="kerastl"):
        sweep = searched(monkeypatch, [0.9, 0.5, end], phase)
    # What was cut short has a loss of its own length: it is no part of the comparison.
    assert [loss for _, loss in sweep.tried] == [0.9, 0.5]
    assert sweep.suggestion == sweep.tried[1][0]
    assert "--max-minutes 2: the search ended after 2 rates" in caplog.text


def test_when_the_time_is_up_before_any_rate_that_is_said(monkeypatch):
    phase = dataclasses.replace(PHASE, deadline=Deadline(np.inf, "--max-minutes 0.1"))
    with pytest.raises(DataError, match=r"--max-minutes 0\.1 was over before one short training"):
        searched(monkeypatch, [TimeUpError("")], phase)


def test_where_nothing_trains_the_reason_is_given_without_its_advice(monkeypatch, caplog):
    failed = DivergedError("After the first epoch it is 7.16.", "Look for a rate with --find-lr.")
    with caplog.at_level("INFO", logger="kerastl"), pytest.raises(DataError) as caught:
        searched(monkeypatch, [failed])
    assert "After the first epoch it is 7.16." in str(caught.value)
    assert "--find-lr" not in str(caught.value) + caplog.text
