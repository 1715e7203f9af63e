"""What every row of the table promises, and the ways to ask for one."""

from __future__ import annotations

import gc
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.comparing.candidates import SMALL
from kerastl.errors import ConfigError, WeightsError
from kerastl.interpretation.attribution import grad_cam
from kerastl.interpretation.layer_maps import find_layer, map_layers, maps_of
from kerastl.models import blocks, depth
from kerastl.models.backbones import (
    BACKBONES,
    PREPROCESSING_MODES,
    backbone_names,
    build_backbone,
    find_backbone,
    preprocess,
)
from kerastl.models.classifier import build_classifier
from kerastl.models.fold import fold_batch_norm

ROWS = [pytest.param(row, id=row.name) for row in BACKBONES.values()]

# Above it (ConvNeXtBase, Large and XLarge, EfficientNetB7 and V2L, NASNetLarge) the contract
# checks build, scaling, borders, explanation and freezing only: their smaller sisters run the same
# code, and copies of these would take most of the time and 8 GB.
MAX_PARAMETERS_TO_RUN = 60e6


def family_preprocess_input(name):
    """Return the `preprocess_input` of the module that Keras builds this network in."""
    if name == "EfficientNetLite0":
        return lambda pixels: (pixels - 127.0) / 128.0
    return sys.modules[getattr(keras.applications, name).__module__].preprocess_input


@pytest.mark.parametrize("row", ROWS)
def test_preprocessing_is_that_of_the_family(row):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype("float32")
    expected = family_preprocess_input(row.name)(pixels.copy())
    received = keras.ops.convert_to_numpy(preprocess(pixels, row.preprocessing))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("fresh_keras")
@pytest.mark.parametrize("row", ROWS)
def test_contract(row, calibrate, tmp_path):
    # In float64, because a deep network with random weights blows rounding up by 1e4 to 1e8:
    # float32 could not tell a wrong fold from a right one. ConvNeXt has no BatchNorm, and
    # TensorFlow compiles its grouped convolutions one by one, in float64 for minutes.
    convnext = row.name.startswith("ConvNeXt")
    keras.config.set_dtype_policy("float32" if convnext else "float64")
    backbone = build_backbone(row.name, image_size=row.smallest_size, weights="none")
    assert backbone.input_shape == (None, *row.smallest_size, 3)
    assert len(backbone.output_shape) == 4
    assert min(backbone.output_shape[1:]) >= 1
    assert_scaled_once(row, backbone)
    cuts = assert_borders_in_order(row, backbone)

    assert (backbone.count_params() < 7.5e6) == (row.name in SMALL)
    if backbone.count_params() <= MAX_PARAMETERS_TO_RUN:
        pixels = np.random.default_rng(1).uniform(0, 255, (8, *row.smallest_size, 3))
        images = preprocess(tf.constant(pixels, "float32"), row.preprocessing)
        answer = calibrate(backbone, images)
        assert_splits(backbone, cuts, images, answer)
        assert_folds(backbone, images, answer)
        path = tmp_path / "network.keras"
        assert_survives_saving(row, backbone, cuts=cuts, images=images, answer=answer, path=path)

    assert_explained(row, backbone)
    backbone.trainable = False
    assert backbone.trainable_variables == []
    del backbone
    gc.collect()


def assert_scaled_once(row, backbone):
    """What enters the first convolution spans about what it was trained on."""
    kernels = (n for n in blocks.nodes_of(backbone) if blocks._has_kernel(n.operation))
    entry = keras.Model(backbone.input, next(kernels).input_tensors[0])
    black_and_white = np.zeros((2, *row.smallest_size, 3), "float32")
    black_and_white[1] = 255.0
    centre = row.smallest_size[0] // 2
    black, white = entry(preprocess(black_and_white, row.preprocessing)).numpy()[:, centre, centre]
    low, high = (254.0, 256.0) if row.preprocessing == "caffe" else (0.99, 4.5)
    assert np.all((low < white - black) & (white - black < high))


def assert_borders_in_order(row, backbone):
    """There are several borders, each behind the other, and the blocks are one more."""
    options = {"max_tensors": row.border_tensors}
    cuts = blocks.borders(backbone, row.border_pattern, **options)
    positions = [cut.position for cut in cuts]
    assert len(cuts) >= 4
    assert positions == sorted(set(positions))
    assert {cut.num_tensors for cut in cuts} <= set(range(1, row.border_tensors + 1))
    assert max(cut.num_tensors for cut in cuts) == row.border_tensors
    num_blocks = depth.count_blocks(backbone, row.border_pattern, **options)
    expected = [*reversed(cuts), None]
    assert len(expected) == num_blocks
    for count in {1, 2, num_blocks // 2, num_blocks - 1, num_blocks}:
        found = depth.top_blocks_border(backbone, row.border_pattern, count, **options)
        assert found == expected[count - 1]
    return cuts


def assert_splits(backbone, cuts, images, answer):
    """In the middle and at the top, the parts answer together like the whole."""
    for cut in (cuts[len(cuts) // 2], cuts[-1]):
        prefix, suffix = blocks.split(backbone, cut)
        assert len(prefix.outputs) == cut.num_tensors
        np.testing.assert_array_equal(suffix(prefix(images)).numpy(), answer)
        ids = {id(variable) for part in (prefix, suffix) for variable in part.weights}
        assert ids == {id(variable) for variable in backbone.weights}


def assert_folds(backbone, images, answer):
    """The folded copy answers the same, also when told that it is training."""
    folded, num_folded = fold_batch_norm(backbone)
    num_norms = count_norms(backbone)
    assert count_norms(folded) == num_norms - num_folded
    # DenseNet and ResNetV2 normalise before the convolution, where half cannot be folded.
    assert num_folded >= 0.48 * num_norms
    error = np.abs(folded(images, training=True).numpy() - answer).max()
    assert error <= 1e-4 * answer.std()
    assert folded.trainable_variables == []


def assert_explained(row, backbone):
    """Its layers have maps, from the first convolution to the last, and Grad-CAM sees them."""
    classifier = build_classifier(
        backbone,
        num_classes=3,
        image_size=row.smallest_size,
        preprocessing=row.preprocessing,
        seed=0,
    )
    image = np.random.default_rng(2).integers(0, 256, (1, *row.smallest_size, 3), np.uint8)
    layers = map_layers(backbone)
    chosen = {
        layers[0].name: layers[0].shape,
        find_layer(backbone).name: find_layer(backbone).shape,
    }
    found = maps_of(classifier, image, list(chosen))
    assert {name: maps.shape[1:] for name, maps in found.items()} == chosen
    evidence = grad_cam(classifier, image)
    assert evidence.shape == (1, *row.smallest_size)
    assert np.isfinite(evidence).all()
    assert evidence.min() >= 0


def count_norms(network):
    return sum(
        isinstance(layer, keras.layers.BatchNormalization) for layer in network._flatten_layers()
    )


def assert_survives_saving(row, backbone, *, cuts, images, answer, path):
    """A saved network answers the same, and has the same borders at the same positions."""
    backbone.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    path.unlink()
    np.testing.assert_array_equal(loaded(images, training=False).numpy(), answer)
    found = blocks.borders(loaded, row.border_pattern, max_tensors=row.border_tensors)
    assert found == cuts


def test_table_is_all_of_keras_applications():
    builders = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(BACKBONES) == builders | {"EfficientNetLite0"}
    assert backbone_names() == tuple(sorted(BACKBONES))


@pytest.mark.parametrize("row", ROWS)
def test_smaller_images_are_refused_with_a_way_out(row):
    height, width = row.smallest_size
    with pytest.raises(
        ConfigError, match=rf"at least \({height}, {width}\).*larger images.*another backbone"
    ):
        build_backbone(row.name, image_size=(height, width - 1), weights="none")


def test_names_are_found_whatever_their_case():
    assert find_backbone("efficientnetv2b0") is BACKBONES["EfficientNetV2B0"]


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        find_backbone("resnet-50")
    assert str(caught.value) == (
        "`backbone` must be a known backbone; received backbone='resnet-50'. "
        "Did you mean 'ResNet50'?"
    )
    with pytest.raises(ConfigError, match=r"received backbone='zebra'\. Known: ConvNeXtBase,"):
        find_backbone("zebra")


def test_names_cost_no_tensorflow():
    code = (
        "import sys; from kerastl.models.backbones import backbone_names, find_backbone; "
        "find_backbone(backbone_names()[0]); "
        "print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "set()"


def test_preprocessing_opens_in_a_process_without_kerastl(tmp_path):
    pixels = keras.Input((6, 5, 3))
    outputs = {mode: preprocess(pixels, mode) for mode in PREPROCESSING_MODES if mode != "identity"}
    keras.Model(pixels, outputs).save(tmp_path / "preprocessing.keras")
    image = np.random.default_rng(0).uniform(0, 255, (1, 6, 5, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model('preprocessing.keras', safe_mode=True)\n"
        "outputs = model(np.load('image.npy'))\n"
        "np.savez('outputs.npz', **{name: value.numpy() for name, value in outputs.items()})\n"
        "assert not any(name.startswith('kerastl') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    received = np.load(tmp_path / "outputs.npz")
    assert sorted(received) == sorted(outputs)
    for mode in outputs:
        np.testing.assert_array_equal(received[mode], preprocess(image, mode).numpy())


def test_preprocessing_stays_in_float32_under_half_precision(fresh_keras):
    keras.config.set_dtype_policy("mixed_bfloat16")
    pixels = np.full((1, 2, 2, 3), 100.3, "float32")
    received = preprocess(pixels, "tf")
    assert received.dtype == tf.float32
    np.testing.assert_allclose(received.numpy(), 100.3 / 127.5 - 1.0, rtol=1e-6)


def test_unknown_preprocessing_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"one of identity, caffe.*Did you mean 'caffe'\?"):
        preprocess(np.zeros((1, 2, 2, 3), "float32"), "cafe")


def test_weights_travel_by_path(tmp_path):
    source = build_backbone("MobileNetV3Small", image_size=(32, 32), weights="none")
    source.save_weights(tmp_path / "network.weights.h5")
    # The weights of a convolutional network do not depend on the size of its images.
    other = build_backbone(
        "MobileNetV3Small", image_size=(48, 64), weights=tmp_path / "network.weights.h5"
    )
    for received, expected in zip(other.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_weights_of_another_network_are_refused(tmp_path):
    source = build_backbone("MobileNetV3Small", image_size=(32, 32), weights="none")
    source.save_weights(tmp_path / "network.weights.h5")
    with pytest.raises(WeightsError):
        build_backbone("VGG16", image_size=(32, 32), weights=tmp_path / "network.weights.h5")


def test_keras_own_efficientnet_file_scales_the_same_by_path(tmp_path):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source = build_backbone("EfficientNetB0", image_size=(32, 32), weights="none")
    # As in Keras' file efficientnetb0_notop.h5, which stores std where variance is meant.
    source.get_layer(index=2).set_weights([mean, std, np.zeros((), int)])
    source.save_weights(tmp_path / "network.weights.h5")
    backbone = build_backbone(
        "EfficientNetB0", image_size=(32, 32), weights=tmp_path / "network.weights.h5"
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    scaled = keras.Model(backbone.input, backbone.get_layer(index=2).output)(pixels)
    np.testing.assert_allclose(scaled.numpy(), (pixels / 255.0 - mean) / std, rtol=1e-4, atol=1e-4)


def test_efficientnet_lite0_answers_with_imagenet_weights_offline():
    backbone = build_backbone("EfficientNetLite0", image_size=(64, 64), weights="imagenet")
    assert backbone.output_shape == (None, 2, 2, 1280)
    other = build_backbone("EfficientNetLite0", image_size=(64, 64), weights="imagenet")
    for received, expected in zip(other.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
