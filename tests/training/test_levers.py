"""What fine-tuning can do differently: BatchNorm, averages, gradual unfreezing, plateaus."""

import dataclasses

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.models.batch_norm import BATCH_NORM_POLICIES
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.models.frozen import training_view
from kerastl.training.averaging import best_between, greedy_soup, mean_of
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot

SIZE = (12, 12)
ROWS = np.arange(60)
LABELS = ROWS % 3
TRAIN, VAL = ROWS[ROWS % 5 != 4], ROWS[ROWS % 5 == 4]
TARGETS = one_hot(LABELS, num_classes=3)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    colours = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200)])[LABELS]
    noise = rng.normal(0, 90, (60, *SIZE, 3))
    return np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8)


def make_classifier(*, nested=False):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv0")(inputs)
    x = keras.layers.BatchNormalization(name="norm0")(x)
    block_inputs = keras.Input(x.shape[1:])
    y = keras.layers.Conv2D(6, 3, name="conv1")(block_inputs)
    y = keras.layers.BatchNormalization(name="norm1")(y)
    block = keras.Model(block_inputs, keras.layers.ReLU()(y), name="block")
    if nested:
        x = block(x)
    else:
        x = keras.layers.Conv2D(6, 3, name="conv1")(x)
        x = keras.layers.BatchNormalization(name="norm1")(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(6, 3, name="conv2")(x)
    backbone = keras.Model(inputs, x, name="net")
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, layer.moving_mean.shape[0]))
            layer.moving_variance.assign(np.linspace(0.5, 2, layer.moving_mean.shape[0]))
    return build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", dropout=0.0, seed=0
    )


PHASE = Phase(epochs=3, learning_rate=1e-2, batch_size=8, augment="none", patience_epochs=9)


def tuned(images, *, classifier=None, views=1, **changes):
    classifier = classifier or make_classifier()
    cuts = borders(classifier.get_layer("net"), "norm0|re_lu.*|block")
    result = fine_tune(
        classifier,
        images,
        TARGETS,
        train_rows=TRAIN,
        val_rows=VAL,
        border=cuts[0],
        all_borders=cuts,
        phase=dataclasses.replace(PHASE, views=views, **changes),
    )
    return classifier, result


def moved(classifier, *, nested=False):
    before = make_classifier(nested=nested).get_weights()
    return {
        variable.path.rpartition("/block/")[2].removeprefix("net/")
        for variable, old in zip(classifier.variables, before, strict=True)
        if not np.array_equal(old, variable.numpy())
    }


HEAD = {"probabilities/kernel", "probabilities/bias"}
KERNELS = {"conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias"}
AFFINE = {"norm1/gamma", "norm1/beta"}
STATISTICS = {"norm1/moving_mean", "norm1/moving_variance"}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("views", [1, "live"])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("frozen", HEAD | KERNELS),
        ("affine", HEAD | KERNELS | AFFINE),
        ("train", HEAD | KERNELS | AFFINE | STATISTICS),
        ("only", HEAD | AFFINE),
    ],
)
def test_a_policy_moves_exactly_what_it_says(images, policy, expected, views, nested):
    classifier = make_classifier(nested=nested)
    _, result = tuned(images, classifier=classifier, views=views, batch_norm=policy)
    assert moved(classifier, nested=nested) == expected
    # What is kept is what was validated, moving statistics included.
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(answers, result.val_probabilities, atol=1e-5)


def test_affine_uses_the_kept_statistics_while_it_trains():
    classifier = make_classifier()
    cut = borders(classifier.get_layer("net"), "norm0|re_lu.*")[0]
    view = training_view(classifier, border=cut, batch_norm="affine")
    pixels = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(
        view.model(pixels, training=True), classifier(pixels, training=False), atol=1e-5
    )
    assert {v.path.rpartition("/")[2] for v in view.must_not_move} >= {"moving_mean"}
    assert len(BATCH_NORM_POLICIES) == 4


def test_a_soup_is_the_mean_where_that_is_better(images):
    _, alone = tuned(images, epochs=6)
    classifier, mixed = tuned(images, epochs=6, soup=4)
    assert [row["val_loss"] for row in mixed.history] == pytest.approx(
        [row["val_loss"] for row in alone.history], rel=1e-4
    )
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(answers, mixed.val_probabilities, atol=1e-5)
    loss = [
        -np.mean(np.log((p * TARGETS[VAL]).sum(axis=1)))
        for p in (mixed.val_probabilities, alone.val_probabilities)
    ]
    assert loss[0] <= loss[1] + 1e-6
    assert (loss[0] < loss[1] - 1e-6) == bool(mixed.averaged)
    assert not alone.averaged


def test_interpolation_says_how_far_it_went(images):
    """A rate that overshoots: the best weights lie before the end of the way."""
    _, result = tuned(images, epochs=1, learning_rate=0.5, interpolate=True, schedule="constant")
    assert "of the way from the first ones to those of epoch 1" in result.averaged
    assert "best epoch alone" in result.averaged


def test_a_moving_average_is_what_is_validated_and_kept(images):
    classifier, result = tuned(images, epochs=4, ema_momentum=0.9)
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(answers, result.val_probabilities, atol=1e-5)
    _, plain = tuned(images, epochs=4)
    assert plain.history[-1]["loss"] == pytest.approx(result.history[-1]["loss"], rel=1e-3)
    assert plain.history[0]["val_loss"] != pytest.approx(result.history[0]["val_loss"], rel=1e-3)


def test_blocks_begin_one_after_the_other(images):
    """An epoch in: the head and the top block have moved, the block below has not."""
    classifier, _ = tuned(images, epochs=2, epochs_per_block=1.0, schedule="constant")
    assert moved(classifier) == HEAD | {"conv2/kernel", "conv2/bias"}
    classifier, _ = tuned(
        images, epochs=4, epochs_per_block=1.0, schedule="constant", learning_rate=1e-3
    )
    assert moved(classifier) == HEAD | KERNELS


def test_a_plateau_lowers_the_rate(images):
    labels = np.random.default_rng(0).permutation(LABELS)
    classifier = make_classifier()
    result = fine_tune(
        classifier,
        images,
        one_hot(labels, num_classes=3),
        train_rows=TRAIN,
        val_rows=VAL,
        border=borders(classifier.get_layer("net"), "norm0|re_lu.*")[0],
        phase=dataclasses.replace(PHASE, epochs=12, schedule="plateau", patience_epochs=99),
    )
    rates = [row["learning_rate"] for row in result.history]
    assert rates[0] == pytest.approx(1e-2)
    assert rates[-1] < 0.4e-2
    assert sorted(rates, reverse=True) == rates


@pytest.mark.parametrize("schedule", ["one-cycle", "triangular2", "slanted-triangle", "bit"])
@pytest.mark.parametrize("optimizer", ["sgd", "lion"])
def test_schedules_and_optimizers_learn(images, schedule, optimizer):
    rate = 1e-3 if optimizer == "lion" else 1e-2
    _, result = tuned(images, epochs=6, schedule=schedule, optimizer=optimizer, learning_rate=rate)
    assert min(row["val_loss"] for row in result.history[1:]) < result.history[0]["val_loss"]


def test_smoothed_targets_raise_the_training_loss_alone(images):
    """The validation loss is that of the true labels."""
    _, smooth = tuned(images, epochs=1, label_smoothing=0.3)
    _, plain = tuned(images, epochs=1)
    assert smooth.history[0]["loss"] > plain.history[0]["loss"] + 0.02


def test_averages_by_hand():
    weights = [[np.array([1.0, 2.0], np.float32)], [np.array([3.0, 6.0], np.float32)]]
    np.testing.assert_array_equal(mean_of(weights)[0], [2, 4])
    assert mean_of(weights)[0].dtype == np.float32

    def measure(weights):
        return float(np.abs(weights[0] - [2, 4]).sum())

    candidates = [(measure(one), one) for one in weights]
    loss, mixed, count = greedy_soup([*candidates, (9.0, [np.array([99.0, 0.0])])], measure)
    assert (loss, count) == (0.0, 2)
    np.testing.assert_array_equal(mixed[0], [2, 4])
    assert greedy_soup(candidates[:1], measure)[2] == 1
    loss, _, part = best_between([np.zeros(2)], [np.array([5.0, 10.0])], 9.0, measure)
    assert part == 0.4
    assert loss == pytest.approx(0)
    assert best_between([np.zeros(2)], [np.array([2.0, 4.0])], 0.0, measure)[2] == 1.0


def test_unknown_names_are_one_clear_line(images):
    with pytest.raises(ConfigError, match="`schedule` must be one of"):
        tuned(images, schedule="sawtooth")
    with pytest.raises(ConfigError, match="`optimizer` must be one of"):
        tuned(images, optimizer="adagrad")


def test_only_norms_where_there_are_none_is_one_clear_line():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*SIZE, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs), name="net")
    classifier = build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", seed=0
    )
    with pytest.raises(ConfigError, match="no BatchNorm is among the layers that are trained"):
        training_view(classifier, border=None, batch_norm="only")
