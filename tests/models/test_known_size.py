"""A user's own backbone that leaves the image size open is used as one of known size."""

import keras
import numpy as np
import pytest

import kerastl
from kerastl.errors import ConfigError
from kerastl.models.known_size import with_known_size
from kerastl.models.network import build_network
from kerastl.training.memory_estimate import estimate_memory
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype("float32")


def four_stages(*, size=None, nested=False):
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((size, size, 3))
    for filters in (4, 6, 8):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(inputs, keras.layers.Conv2D(10, 1)(x), name="mine")
    if nested:
        outer = keras.Input((size, size, 3))
        model = keras.Model(outer, model(keras.layers.Rescaling(1 / 255)(outer)), name="outer")
    return model


@pytest.mark.parametrize("nested", [False, True])
def test_it_is_the_same_network_over_the_same_layers(nested):
    own = four_stages(nested=nested)
    network = build_network("own", own=own, image_size=(32, 32))
    sized = network.backbone
    assert sized.input_shape == (None, 32, 32, 3)
    assert sized.output_shape == (None, 4, 4, 10)
    assert own.input_shape == (None, None, None, 3)
    assert [id(v) for v in sized.variables] == [id(v) for v in own.variables]
    np.testing.assert_array_equal(sized(IMAGES), own(IMAGES))
    fixed = build_network("own", own=four_stages(size=32, nested=nested))
    assert network.num_blocks == fixed.num_blocks == (1 if nested else 4)


def test_one_of_known_size_is_used_itself():
    own = four_stages(size=32)
    assert build_network("own", own=own).backbone is own
    half_known = keras.Model(inputs := keras.Input((32, None, 3)), keras.layers.ReLU()(inputs))
    assert with_known_size(half_known, (32, 16)).input_shape == (None, 32, 16, 3)
    assert with_known_size(half_known, (16, 16)) is half_known  # `build_classifier` refuses it


def test_no_stage_is_lost():
    """All maps of unknown size were one stage."""
    sizes = [
        build_network(
            "own", own=four_stages(size=size), image_size=(32, 32), stage_features=True
        ).backbone.output_shape
        for size in (32, None)
    ]
    assert sizes == [(None, 2 * (4 + 6 + 8) + 10)] * 2


def test_a_sequential_one():
    own = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    sized = build_network("own", own=own, image_size=(8, 8)).backbone
    assert sized.output_shape == (None, 6, 6, 4)
    assert sized.variables[0] is own.variables[0]


def test_images_that_it_cannot_take_are_refused():
    own = keras.applications.VGG16(include_top=False, weights=None)
    with pytest.raises(ConfigError, match=r"backbone vgg16 can take; .*\(16, 16\).* larger one"):
        build_network("own", own=own, image_size=(16, 16))


@pytest.mark.parametrize("nested", [False, True])
def test_the_memory_estimate_is_that_of_the_known_size(nested):
    estimates = []
    for size in (32, None):
        network = build_network(
            "own", own=four_stages(size=size, nested=nested), image_size=(32, 32)
        )
        classifier = kerastl.build_classifier(
            network.backbone, num_classes=2, image_size=(32, 32), preprocessing="identity"
        )
        estimate = estimate_memory(
            classifier,
            IMAGES.astype(np.uint8),
            border=network.border,
            phase=Phase(epochs=8, learning_rate=1e-3),
            batch_size=4,
            num_train=4,
            num_val=2,
            store_bytes=0,
        )
        estimates.append((estimate.work, estimate.views, estimate.network))
    assert estimates[0] == estimates[1]


def test_training_trains_the_users_own_model():
    own = four_stages()
    network = build_network("own", own=own, image_size=(32, 32), unfreeze_blocks=1)
    classifier = kerastl.build_classifier(
        network.backbone, num_classes=3, image_size=(32, 32), preprocessing="tf"
    )
    before = own.get_weights()
    fine_tune(
        classifier,
        IMAGES.astype(np.uint8),
        np.eye(3, dtype="float32")[np.arange(6) % 3],
        train_rows=np.arange(4),
        val_rows=np.arange(4, 6),
        border=network.border,
        phase=Phase(epochs=1, learning_rate=1e-3, augment="none"),
    )
    moved = [not np.array_equal(a, b) for a, b in zip(before, own.get_weights(), strict=True)]
    assert moved == [False] * (len(moved) - 2) + [True] * 2


def test_a_run_with_it_ends_and_is_exported(colour_folder, tmp_path):
    config = kerastl.FitConfig(
        str(colour_folder),
        image_size=32,
        pooling="stages",
        fine_tune_epochs=1,
        unfreeze_blocks=2,
        export=True,
        export_dir=str(tmp_path / "exports"),
        out=str(tmp_path / "run"),
    )
    result = kerastl.run(config, backbone=four_stages(), preprocessing="tf")
    assert result.export is not None
    loaded = keras.saving.load_model(result.path / "model.keras")
    assert loaded.input_shape == (None, 32, 32, 3)
