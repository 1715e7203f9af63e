"""One functional model: raw pixels in, float32 probabilities out, parts that can be found."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.models.classifier import build_classifier, feature_model, parts_of

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("float32")


def small_backbone(shape=(16, 16, 3), *, pooled=False):
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    if pooled:
        x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, x, name="small")


def classifier(backbone=None, **options):
    options = {"num_classes": 3, "image_size": (16, 16), "preprocessing": "caffe", **options}
    return build_classifier(backbone or small_backbone(), **options)


def test_the_backbone_is_frozen_and_the_head_is_not():
    model = classifier(hidden_units=5)
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {
        "head_hidden",
        "probabilities",
    }


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_probabilities_are_float32_whatever_the_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        answers = classifier()(PIXELS, training=False)
    finally:
        keras.config.set_dtype_policy("float32")
    assert answers.dtype == "float32"
    np.testing.assert_allclose(np.sum(answers, axis=1), 1, atol=1e-6)


def test_several_labels_are_sigmoids():
    model = classifier(multi_label=True)
    logits = np.asarray(keras.Model(model.input, parts_of(model).output.input)(PIXELS))
    logits = logits @ parts_of(model).output.kernel.numpy() + parts_of(model).output.bias.numpy()
    np.testing.assert_allclose(
        model(PIXELS, training=False), 1 / (1 + np.exp(-logits)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "gem"}, {"hidden_units": 4, "dropout": 0.5, "l1": 1e-3, "l2": 1e-3}],
)
def test_a_saved_model_answers_alike_and_comes_apart_alike(tmp_path, options):
    model = classifier(**options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(PIXELS, training=False), model(PIXELS, training=False))
    parts = parts_of(loaded)
    assert parts.backbone.name == "small"
    assert [layer.name for layer in parts.head] == [layer.name for layer in parts_of(model).head]
    np.testing.assert_array_equal(
        feature_model(loaded)(PIXELS, training=False), feature_model(model)(PIXELS, training=False)
    )


def test_penalties_are_on_the_kernels_of_the_head_only():
    model = classifier(hidden_units=4, l1=0.5)
    assert len(model.losses) == 2


def test_a_backbone_that_pools_itself():
    model = classifier(small_backbone(pooled=True))
    assert feature_model(model).output_shape == (None, 6)


@pytest.mark.parametrize(
    ("build", "advice"),
    [
        (lambda: classifier(small_backbone((32, 32, 3))), "choose the size that it was built for"),
        (lambda: classifier(small_backbone((16, 16, 1))), "must take images of shape"),
        (lambda: classifier(pooling="mean"), "'avg', 'max', 'gem' or 'stages'"),
        (lambda: parts_of(small_backbone()), "made by `kerastl.build_classifier`"),
    ],
)
def test_advice(build, advice):
    with pytest.raises(ConfigError, match=advice):
        build()
