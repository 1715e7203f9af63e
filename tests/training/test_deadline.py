"""--max-minutes: training ends in time, with the best so far."""

import itertools
import logging

import keras
import numpy as np
import pytest

from kerastl import deadline as clock
from kerastl.deadline import NEVER, TimeUpError, deadline_after
from kerastl.features import frozen_pass
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.locks import alone
from kerastl.features.store import open_store
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.training.decision import FINE_TUNED, PROBE
from kerastl.training.experiment import probe_then_fine_tune
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot

ROWS = np.arange(60)
LABELS = ROWS % 3
TRAIN, VAL = ROWS[ROWS % 5 < 4], ROWS[ROWS % 5 == 4]


def make_classifier():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="conv0")(inputs)
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="conv1")(x), name="net")
    return build_classifier(
        backbone, num_classes=3, image_size=(16, 16), preprocessing="tf", dropout=0.0, seed=0
    )


@pytest.fixture
def ticks(monkeypatch):
    """A clock that goes on by a minute whenever it is asked."""
    count = itertools.count()
    monkeypatch.setattr(clock.time, "monotonic", lambda: 60.0 * next(count))


def tuned(images, *, minutes, classifier=None, **changes):
    classifier = classifier or make_classifier()
    options = {"epochs": 5, "learning_rate": 1e-2, "batch_size": 8, "augment": "none"}
    return fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=TRAIN,
        val_rows=VAL,
        border=borders(classifier.get_layer("net"), "conv0")[0],
        phase=Phase(**{**options, **changes}, deadline=deadline_after(minutes)),
    )


@pytest.mark.parametrize("views", ["live", 1])
def test_it_stops_in_the_middle_of_an_epoch_and_keeps_what_is_good(images, ticks, caplog, views):
    """6 steps an epoch, and the clock is asked in each of them: 10 are of the second epoch."""
    classifier = make_classifier()
    asked_before = 1 + (10 if views == 1 else 0)  # before anything, and for each kept batch
    with caplog.at_level(logging.WARNING):
        result = tuned(images, minutes=asked_before + 10, classifier=classifier, views=views)
    assert len(result.history) == 2
    assert f"--max-minutes {asked_before + 10}: fine-tuning stopped in epoch 2 of 5." in caplog.text
    assert result.cut_short in caplog.text
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses)) <= result.kept_epoch
    kept = losses[result.kept_epoch - 1]
    targets = one_hot(LABELS, num_classes=3)[VAL]
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    assert -np.mean(np.log((answers * targets).sum(axis=1))) == pytest.approx(kept, rel=1e-4)


def test_without_a_deadline_nothing_is_cut_short(images):
    result = tuned(images, minutes=None, epochs=2)
    assert (len(result.history), result.cut_short) == (2, "")
    assert not NEVER.passed


def test_too_late_for_a_single_step(images):
    before = make_classifier().get_weights()
    classifier = make_classifier()
    with pytest.raises(TimeUpError):
        tuned(images, minutes=0, classifier=classifier)
    for one, other in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_the_frozen_part_did_in_time_is_kept(images, ticks, tmp_path):
    store = open_store(tmp_path, largest_bytes=2**24)
    inputs = keras.Input((16, 16, 3))
    frozen = keras.Model(inputs, keras.layers.AveragePooling2D(4)(inputs))
    with pytest.raises(TimeUpError):
        # Three batches in time.
        FrozenPass(frozen, images, store, batch_size=8).views(TRAIN, deadline=deadline_after(4))
    seen = []
    trace = frozen_pass._trace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            frozen_pass,
            "_trace",
            lambda *a: lambda pixels, *rest: seen.append(len(pixels)) or trace(*a)(pixels, *rest),
        )
        FrozenPass(frozen, images, store, batch_size=8).views(TRAIN)
    assert seen == [8, 8, 8]


def test_the_probe_is_always_there(images, caplog):
    splits = np.array(["train", "train", "val", "test"])[ROWS % 4]
    classifier = make_classifier()
    experiment = probe_then_fine_tune(
        classifier,
        images,
        LABELS,
        splits=splits,
        border=borders(classifier.get_layer("net"), "conv0")[0],
        phase=Phase(epochs=2, learning_rate=1e-3, deadline=deadline_after(0)),
    )
    assert experiment.kept == PROBE
    assert FINE_TUNED not in experiment.answers
    assert "--max-minutes 0: no time was left to fine-tune." in caplog.text


def test_nobody_waits_for_a_process_that_does_not_go_on(tmp_path):
    store = open_store(tmp_path / "cache", largest_bytes=2**24)
    names = [bytes(32), bytes([1] * 32)]
    ask = {"row_shape": (3,), "dtype": np.float32, "batch_rows": 1}

    def stop(places, _following):
        if places[0]:
            raise KeyboardInterrupt
        return np.zeros((1, 3), np.float32)

    with pytest.raises(KeyboardInterrupt):
        store.rows("key", names, **ask, make=stop)
    (entry,) = (store.directory / "rows").iterdir()
    with alone(entry / "fill.lock"):
        rows = store.rows("key", names, **ask, make=lambda *_: np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(rows[:], [[0, 0, 0], [1, 1, 1]])


def test_the_last_step_is_not_cut_short(images, ticks):
    """2 epochs of 6 steps: the deadline passes in the twelfth."""
    result = tuned(images, minutes=1 + 12, epochs=2, views="live")
    assert (len(result.history), result.cut_short) == (2, "")


def test_an_epoch_that_is_cut_early_has_the_rate_of_its_first_step(images, ticks):
    result = tuned(images, minutes=2, views="live", learning_rate=1e-2)
    (row,) = result.history
    assert row["learning_rate"] < 1e-2  # still warming up
