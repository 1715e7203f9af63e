"""Feature maps against a convolution by hand, and receptive fields against what moves them."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.interpretation.layer_maps import find_layer, map_layers, maps_of
from kerastl.models.backbones import build_backbone
from kerastl.models.classifier import build_classifier


def classifier_of(backbone, size, preprocessing="identity"):
    return build_classifier(
        backbone, num_classes=3, image_size=(size, size), preprocessing=preprocessing, seed=0
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)


def test_maps_of_the_first_layer_are_a_convolution_by_hand(images):
    inputs = keras.Input((12, 12, 3))
    stem = keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="stem")
    top = keras.layers.Conv2D(4, 3, name="top")
    model = classifier_of(keras.Model(inputs, top(stem(inputs))), 12, preprocessing="tf")
    found = maps_of(model, images, ["top", "stem"])
    assert list(found) == ["top", "stem"]
    kernel, bias = stem.get_weights()
    pixels = images / 127.5 - 1
    expected = np.zeros((3, 5, 5, 5))
    for row in range(5):
        for column in range(5):
            window = pixels[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected[:, row, column] = np.einsum("nijc,ijco->no", window, kernel) + bias
    np.testing.assert_allclose(found["stem"], np.maximum(expected, 0), atol=1e-5)
    assert found["top"].shape == (3, 3, 3, 4)


def test_of_caffe_networks_too_the_maps_are_of_the_images_as_they_are(images):
    backbone = build_backbone("VGG16", image_size=(32, 32), weights="none")
    model = classifier_of(backbone, 32, preprocessing="caffe")
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = maps_of(model, pictures, ["block1_conv1"])["block1_conv1"]
    kernel, bias = backbone.get_layer("block1_conv1").get_weights()
    blue_green_red = pictures[..., ::-1] - np.array([103.939, 116.779, 123.68])
    window = blue_green_red[:, 9:12, 4:7]
    expected = np.maximum(np.einsum("nijc,ijco->no", window, kernel) + bias, 0)
    np.testing.assert_allclose(found[:, 10, 5], expected, rtol=1e-4, atol=1e-3)


def vgg_like(size):
    inputs = keras.Input((size, size, 3))
    x = inputs
    for block, filters in enumerate((2, 3)):
        for number in range(2):
            x = keras.layers.Conv2D(filters, 3, padding="same", name=f"conv{block}{number}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{block}")(x)
    return keras.Model(inputs, x)


def branches(size):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(2, 3, strides=2, padding="same", name="stem")(inputs)
    wide = keras.layers.DepthwiseConv2D(5, padding="same", name="wide")(x)
    dilated = keras.layers.Conv2D(2, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = keras.layers.Add(name="join")([x, wide, dilated])
    return keras.Model(inputs, keras.layers.AveragePooling2D(2, name="pool")(x))


@pytest.mark.parametrize("build", [vgg_like, branches])
def test_a_receptive_field_is_what_moves_a_number(build):
    size = 40
    backbone = build(size)
    for weight in backbone.weights:  # nothing cancels
        weight.assign(np.abs(weight.numpy()) + 0.1)
    model = classifier_of(backbone, size)
    picture = np.full((1, size, size, 3), 100, np.uint8)
    for layer in map_layers(backbone):
        place = layer.shape[0] // 2
        plain = maps_of(model, picture, [layer.name])[layer.name][0, place, place]
        moved = []
        for pixel in range(size):
            changed = picture.copy()
            changed[0, pixel] = 255
            other = maps_of(model, changed, [layer.name])[layer.name][0, place, place]
            if not np.allclose(other, plain, rtol=1e-6):
                moved.append(pixel)
        assert moved[-1] - moved[0] + 1 == layer.receptive_field, layer  # dilation leaves gaps
        assert layer.stride * layer.shape[0] == size


def test_known_receptive_fields():
    # Araujo et al., Distill 2019: VGG16 up to its last pooling.
    layers = {
        one.name: one
        for one in map_layers(build_backbone("VGG16", image_size=(224, 224), weights="none"))
    }
    assert layers["block1_conv1"].receptive_field == 3
    assert layers["block5_pool"].receptive_field == 212
    assert layers["block5_pool"].stride == 32
    # A gate of squeeze-and-excitation has seen the whole image.
    gated = map_layers(build_backbone("EfficientNetB0", image_size=(32, 32), weights="none"))
    assert gated[-1].receptive_field is None
    assert gated[0].shape[0] == 32


def test_layers_are_found_by_name():
    backbone = vgg_like(16)
    assert find_layer(backbone).name == "pool1"
    assert find_layer(backbone, "conv01").shape == (16, 16, 2)
    with pytest.raises(ConfigError, match="Did you mean 'pool1'"):
        find_layer(backbone, "poo1")
    # A top that is one place shows nothing of where.
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 4, strides=4, name="wide")(inputs)
    single = keras.Model(inputs, keras.layers.Conv2D(4, 2, name="single")(x))
    assert find_layer(single).name == "wide"
