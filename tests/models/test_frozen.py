"""Frozen means frozen on the installed Keras; without the guard the same checks turn red."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.errors import FrozenPartError
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier, feature_model, parts_of
from kerastl.models.depth import top_blocks_border
from kerastl.models.fold import fold_batch_norm
from kerastl.models.frozen import (
    Inert,
    prove_frozen,
    prove_inert,
    training_view,
)

SIZE = (32, 32)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, *SIZE, 3), np.uint8)
TARGETS = np.eye(3, dtype=np.float32)[np.arange(8) % 3]


@pytest.fixture
def backbone():
    """Three blocks with everything that may act during training: BatchNorm, Dropout, residuals."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = inputs
    for block in range(3):
        y = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"conv{block}")(x)
        y = keras.layers.BatchNormalization(name=f"bn{block}")(y)
        y = keras.layers.ReLU(name=f"relu{block}")(y)
        y = keras.layers.Dropout(0.5, name=f"drop{block}")(y)
        x = keras.layers.Add(name=f"add{block}")([x, y]) if block else y
    return keras.Model(inputs, x, name="three_blocks")


def classifier_of(backbone):
    return build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", dropout=0.0, seed=0
    )


def compiled(model, learning_rate=0.1):
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="categorical_crossentropy")
    return model


def values(variables):
    return {variable.path: np.array(variable.numpy()) for variable in variables}


def moved(before, variables):
    return {v.path for v in variables if not np.array_equal(before[v.path], np.array(v.numpy()))}


@pytest.mark.parametrize("unfreeze_blocks", [1, 2, 3])
def test_fit_moves_nothing_below_the_border_and_no_statistics(backbone, unfreeze_blocks):
    classifier = classifier_of(backbone)
    border = top_blocks_border(backbone, r"drop0|add\d", unfreeze_blocks)
    view = training_view(classifier, border=border)
    compiled(view.model)
    before = values(classifier.variables)
    view.model.fit(PIXELS.astype("float32"), TARGETS, epochs=2, batch_size=4, verbose=0)
    first = 3 - unfreeze_blocks
    kernels = {v.path for b in range(first, 3) for v in backbone.get_layer(f"conv{b}").variables}
    head = {v.path for v in parts_of(classifier).output.variables}
    # Dropout above the border is trained through, so it draws; below it must not.
    draws = {backbone.get_layer(f"drop{b}").seed_generator.state.path for b in range(first, 3)}
    assert moved(before, classifier.variables) == kernels | head | draws


def test_the_recipe_of_the_guides_is_caught(backbone):
    """With the guard removed: `base(x, training=False)` inside `fit`, as keras.io teaches it.

    On a Keras that honours the flag (keras PR #23364, after 3.15.1) the recipe is sound
    and the check must pass it.
    """
    backbone.trainable = True
    pixels = keras.Input((*SIZE, 3))
    x = backbone(pixels, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    naive = compiled(keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(x)))
    statistics = [v for v in backbone.non_trainable_variables if "moving" in v.path]
    before = values(statistics)
    naive.fit(PIXELS.astype("float32"), TARGETS, epochs=1, verbose=0)
    flag_is_honoured = not moved(before, statistics)
    if flag_is_honoured:
        prove_frozen(naive, must_not_move=statistics, inputs=PIXELS, targets=TARGETS)
        return
    with pytest.raises(FrozenPartError, match="6 of 6 frozen variables moved"):
        prove_frozen(naive, must_not_move=statistics, inputs=PIXELS, targets=TARGETS)


def test_active_dropout_is_caught(backbone):
    backbone.trainable = False
    with pytest.raises(FrozenPartError, match="acts at random during training"):
        prove_inert(backbone, reference=backbone, pixels=PIXELS)


def test_another_network_is_caught(backbone):
    other = keras.models.clone_model(backbone)
    inputs = keras.Input((*SIZE, 3))
    inert = keras.Model(inputs, Inert(other)(inputs))
    with pytest.raises(FrozenPartError, match="answers differently in training and in inference"):
        prove_inert(inert, reference=backbone, pixels=PIXELS)


def test_bfloat16_has_a_tolerance_of_its_own(backbone, calibrate):
    """What rounding does passes, in its own precision only; another network passes in none."""
    images = tf.cast(PIXELS, tf.float32)
    calibrate(backbone, images)
    rounded, _ = fold_batch_norm(backbone, dtype="bfloat16")
    found = prove_inert(rounded, reference=backbone, pixels=PIXELS, dtype="bfloat16")
    assert 1e-3 < found < 0.1
    with pytest.raises(FrozenPartError, match=r"standard deviations, expected at most 0\.001"):
        prove_inert(rounded, reference=backbone, pixels=PIXELS)
    for weight in rounded.weights:
        weight.assign(-weight)
    with pytest.raises(FrozenPartError, match=r"standard deviations, expected at most 0\.5"):
        prove_inert(rounded, reference=backbone, pixels=PIXELS, dtype="bfloat16")


def test_chance_is_caught_in_bfloat16_too(backbone):
    backbone.trainable = False
    with pytest.raises(FrozenPartError, match="acts at random during training"):
        prove_inert(backbone, reference=backbone, pixels=PIXELS, dtype="bfloat16")


def test_inert_silences_what_it_holds(backbone):
    inputs = keras.Input((*SIZE, 3))
    inert = keras.Model(inputs, Inert(backbone)(inputs))
    assert prove_inert(inert, reference=backbone, pixels=PIXELS) == 0.0
    assert inert.trainable_variables == []


def test_a_step_that_trains_nothing_is_caught(backbone):
    classifier = classifier_of(backbone)
    view = training_view(classifier, border=borders(backbone, r"drop0|add\d")[0])
    compiled(view.model, learning_rate=0.0)
    with pytest.raises(FrozenPartError, match="moved no variable at all"):
        prove_frozen(
            view.model,
            must_not_move=view.must_not_move,
            inputs=PIXELS,
            targets=TARGETS,
        )


def test_the_proof_takes_its_step_back(backbone):
    classifier = classifier_of(backbone)
    view = training_view(classifier, border=borders(backbone, r"drop0|add\d")[0])
    view.model.compile(optimizer=keras.optimizers.Adam(0.1), loss="categorical_crossentropy")
    before = values(classifier.variables)
    prove_frozen(view.model, must_not_move=view.must_not_move, inputs=PIXELS, targets=TARGETS)
    assert moved(before, classifier.variables) == set()
    assert int(view.model.optimizer.iterations) == 0
    assert all(
        not np.any(v.numpy()) for v in view.model.optimizer.variables if "momentum" in v.path
    )


def test_the_view_answers_like_the_classifier(backbone):
    classifier = classifier_of(backbone)
    for variable in backbone.variables:  # so that folding has something to fold
        if "moving" in variable.path or "gamma" in variable.path:
            variable.assign(RNG.uniform(0.5, 2.0, variable.shape))
    for border in (None, *borders(backbone, r"drop0|add\d")):
        view = training_view(classifier, border=border)
        batch = tf.cast(PIXELS, tf.float32)
        np.testing.assert_allclose(
            view.model(batch, training=False), classifier(batch, training=False), atol=1e-5
        )
        prove_inert(view.frozen, reference=view.reference, pixels=PIXELS)
    assert feature_model(classifier).output_shape == (None, 4)
