"""Out of memory while fine-tuning: the run goes on, its result is that of a clean one."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl import deadline as clock
from kerastl.deadline import TimeUpError, deadline_after
from kerastl.errors import DataError
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot

ROWS = np.arange(60)
LABELS = ROWS % 3
TRAIN, VAL = ROWS[ROWS % 5 < 4], ROWS[ROWS % 5 == 4]


class Hungry(keras.layers.Layer):
    """Has no memory for what its judge says, who sees each batch in training and inference."""

    judge = staticmethod(lambda count: False)

    def call(self, inputs):
        def take(count):
            if Hungry.judge(int(count)):
                raise MemoryError
            return np.float32(0)

        zero = tf.numpy_function(take, [tf.shape(inputs)[0]], tf.float32)
        return inputs + tf.ensure_shape(zero, ())

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.fixture
def judged_by(monkeypatch):
    """Decides what is out of memory, and counts."""
    return lambda judge: monkeypatch.setattr(Hungry, "judge", staticmethod(judge))


def tuned(images, *, classifier=None, **changes):
    keras.utils.set_random_seed(0)
    if classifier is None:
        classifier = make_classifier()
    options = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 7, "augment": "light"}
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=TRAIN,
        val_rows=VAL,
        border=borders(classifier.get_layer("net"), "conv0")[0],
        phase=Phase(**{**options, **changes}),
        class_weights=np.array([0.5, 1, 2], np.float32),
    )
    return classifier.get_weights(), result


def make_classifier(*, dropout=0.2, norm=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="conv0")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="gelu", name="conv1")(Hungry()(x))
    x = keras.layers.BatchNormalization()(x) if norm else x
    return build_classifier(
        keras.Model(inputs, x, name="net"),
        num_classes=3,
        image_size=(16, 16),
        preprocessing="tf",
        dropout=dropout,
        seed=0,
    )


def assert_same(one, other, *, rtol=1e-7):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    assert len(one[1].history) == len(other[1].history)
    for row, expected in zip(one[1].history, other[1].history, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=rtol)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=rtol)


@pytest.mark.parametrize(("views", "most"), [("live", 4), (2, 3)])
def test_it_goes_on_with_fewer_images_and_says_so(images, judged_by, caplog, views, most):
    """As if it had been asked for: the restart is a clean run, draws and Dropout included."""
    taken, parts = (4, 2) if most == 4 else (2, 4)
    asked = tuned(images, views=views, accumulate_steps=parts)
    assert (asked[1].images_at_once, asked[1].out_of_memory) == (taken, "")
    judged_by(lambda count: count > most)
    with caplog.at_level(logging.WARNING):
        forced = tuned(images, views=views)
    assert forced[1].images_at_once == taken
    assert forced[1].out_of_memory == (
        f"Out of memory with 7 images at once: fine-tuning took {taken} at a time and added up "
        "their gradients; a step is still 7 images."
    )
    assert (
        "Out of memory in fine-tuning with 7 images at once: now 4, their gradients are added "
        "up; it starts again."
    ) in caplog.messages
    assert_same(forced, asked)


@pytest.mark.parametrize("batch_norm", ["train", "affine"])
def test_it_says_whose_statistics_batch_norm_learns_from(images, judged_by, caplog, batch_norm):
    """Those of a part; what is asked for in parts from the start is refused."""
    judged_by(lambda count: count > 4)
    with caplog.at_level(logging.WARNING):
        _, result = tuned(
            images,
            classifier=make_classifier(dropout=0, norm=True),
            views="live",
            epochs=1,
            batch_norm=batch_norm,
        )
    assert result.images_at_once == 4
    otherwise = ", but BatchNorm's statistics are those of a part" * (batch_norm == "train")
    assert result.out_of_memory.endswith(f"a step is still 7 images{otherwise}.")
    assert f"added up{otherwise}; it starts again." in caplog.text


def test_in_the_middle_of_an_epoch_it_starts_again_from_the_first_weights(images, judged_by):
    asked = tuned(images, views=1, accumulate_steps=2)
    counts = []

    def judge(count):
        counts.append(count)
        return len(counts) == 16  # past the proofs, the first epoch and its validation

    judged_by(judge)
    forced = tuned(images, views=1)
    assert len(counts) > 60
    assert forced[1].images_at_once == 4
    assert_same(forced, asked)


def test_without_dropout_the_parts_make_no_difference(images):
    """To rounding, through all of a phase: history and weights."""
    plain, split = (
        tuned(images, classifier=make_classifier(dropout=0.0), accumulate_steps=number)
        for number in (1, 3)
    )
    assert (plain[1].images_at_once, split[1].images_at_once) == (7, 3)
    assert_same(plain, split, rtol=1e-3)


def test_one_image_is_too_much(images, judged_by):
    judged_by(lambda count: True)
    with pytest.raises(DataError, match="with one image at a time") as raised:
        tuned(images, views="live")
    assert "\n" not in str(raised.value)


def test_the_deadline_still_holds(images, judged_by, monkeypatch):
    """Out of memory, and then it is too late to start again: the weights are the first ones."""
    classifier = make_classifier()
    before = classifier.get_weights()
    now = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    counts = []

    def judge(count):
        counts.append(count)
        if len(counts) == 16:
            now[0] = 1e6
            return True
        return False

    judged_by(judge)
    with pytest.raises(TimeUpError):
        tuned(images, classifier=classifier, views=1, deadline=deadline_after(1))
    for one, other in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
