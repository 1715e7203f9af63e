"""A network that computes in a moment, and indexes made with it."""

import keras
import numpy as np
import pytest
from PIL import Image

from kerastl.features.shelf import NO_STORE
from kerastl.models.classifier import build_classifier
from kerastl.retrieval.building import build_index
from kerastl.retrieval.embedder import Embedder
from kerastl.retrieval.images import read_images

SIZE = (16, 16)


def tiny_embedder(seed=0, width=24):
    """A random network of one layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*SIZE, 3))
    maps = keras.layers.Conv2D(width, 5, strides=2, activation="relu")(inputs)
    classifier = build_classifier(
        keras.Model(inputs, maps, name="tiny"),
        num_classes=1,
        image_size=SIZE,
        preprocessing="tf",
    )
    return Embedder(classifier, f"tiny {seed}", SIZE, "stretch", {"backbone": "tiny"})


def build(data, path, *, embedder=None, **options):
    """Build without a store, with labels where folders are classes."""
    table, place = read_images(str(data))
    options = {"data": place, "store": NO_STORE, **options}
    return build_index(table, path, embedder=embedder, **options)


def picture(path, seed, *, size=(40, 48)):
    """Write a picture of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="session")
def embedder():
    return tiny_embedder()


@pytest.fixture
def photos(tmp_path):
    """30 pictures of two classes, all different."""
    for number in range(30):
        picture(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number)
    return tmp_path / "photos"
