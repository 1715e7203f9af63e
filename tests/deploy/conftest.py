from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.deploy.savedmodel import export_savedmodel

CLASS_NAMES = ("dog", "cat", "10", "Äpfel & pears")


def encoded_images():
    """JPEG and PNG of several sizes, no two alike."""
    random = np.random.default_rng(0)
    images = []
    for number in range(10):
        shape = (4 + number % 3, 7 - number % 2, (1, 3, 4)[number % 3])
        blocks = random.integers(0, 256, shape, dtype=np.uint8)
        pixels = np.kron(blocks, np.ones((9, 9, 1), np.uint8))
        as_jpeg = number % 2 == 0 and pixels.shape[-1] != 4
        images.append((tf.io.encode_jpeg if as_jpeg else tf.io.encode_png)(pixels).numpy())
    return images


@pytest.fixture(scope="session")
def classifier():
    """A small network whose best class depends on the image, with BatchNorm that does something."""
    inputs = keras.Input((32, 24, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.Conv2D(
        8, 3, strides=2, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=1)
    )(x)
    x = keras.layers.BatchNormalization(
        moving_mean_initializer=keras.initializers.RandomNormal(seed=2)
    )(x)
    features = keras.layers.GlobalAveragePooling2D()(x)
    wide = keras.initializers.RandomNormal(stddev=8.0, seed=3)
    outputs = keras.layers.Dense(4, activation="softmax", kernel_initializer=wide)(features)
    return SimpleNamespace(
        model=keras.Model(inputs, outputs),
        features=keras.Model(inputs, features),
        options={"class_names": CLASS_NAMES, "image_size": (32, 24), "resize_mode": "crop"},
        held_out=encoded_images(),
    )


@pytest.fixture(scope="session")
def exported(classifier, tmp_path_factory):
    """One export that the tests only read."""
    return export_savedmodel(
        classifier.model,
        tmp_path_factory.mktemp("served") / "photos",
        features=classifier.features,
        held_out=classifier.held_out,
        **classifier.options,
    )
