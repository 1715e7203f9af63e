"""A folded classifier answers alike, has the same parts, and no BatchNorm that could be folded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.errors import ConfigError
from kerastl.models.classifier import answering_with_features, build_classifier, feature_model
from kerastl.models.folded_classifier import fold_classifier
from kerastl.models.view_mean import mean_over_views

SIZE = (24, 20)


def backbone():
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(6, 3, strides=2)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.DepthwiseConv2D(3)(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.ReLU()(x))


def classifier(calibrate, *, views=(), **options):
    model = build_classifier(
        backbone(), num_classes=3, image_size=SIZE, preprocessing="tf", seed=0, **options
    )
    calibrate(model, tf.random.stateless_uniform((8, *SIZE, 3), (0, 1), 0, 255))
    return mean_over_views(model, views) if views else model


@pytest.mark.parametrize(
    ("views", "options"),
    [
        ((), {}),
        ((), {"hidden_units": 5, "dropout": 0.5, "pooling": "max"}),
        ((), {"multi_label": True, "pooling": "gem"}),
        (("as it is", "left-right", "up-down"), {}),
    ],
)
def test_it_answers_alike_and_has_the_same_features(calibrate, views, options):
    model = classifier(calibrate, views=views, **options)
    folded, num_folded = fold_classifier(model)
    assert num_folded == 2
    assert not [
        layer
        for layer in folded._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    random = np.random.default_rng(1)
    images = random.uniform(0, 255, (7, 1, 1, 3)) * random.uniform(0, 1, (7, *SIZE, 3))
    images = images.astype(np.float32)
    expected = model(images, training=False).numpy()
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(folded(images, training=False), expected, atol=1e-5)
    answers, beside = answering_with_features(folded)(images, training=False)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    features = feature_model(model)(images).numpy()
    np.testing.assert_allclose(beside, features, atol=1e-5 * features.max())
    np.testing.assert_allclose(feature_model(folded)(images), features, atol=1e-5 * features.max())


def test_a_model_of_others_is_refused():
    with pytest.raises(ConfigError, match=r"made by `kerastl\.build_classifier`"):
        fold_classifier(backbone())
