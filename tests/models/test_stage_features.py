"""Features of every stage in one vector: what they are, and that the network can still be cut."""

import json

import keras
import numpy as np
import pytest

import kerastl
from kerastl.errors import ConfigError
from kerastl.models.blocks import borders, split
from kerastl.models.classifier import build_classifier, parts_of
from kerastl.models.depth import variable_depths
from kerastl.models.frozen import training_view
from kerastl.models.network import build_network
from kerastl.models.stage_features import with_stage_features

RNG = np.random.default_rng(0)


def three_stages():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for stage, filters in enumerate((4, 6, 8)):
        x = keras.layers.Conv2D(filters, 3, padding="same", name=f"conv{stage}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{stage}")(x)
        x = keras.layers.ReLU(name=f"relu{stage}")(x)
        if stage < 2:
            x = keras.layers.MaxPooling2D(name=f"pool{stage}")(x)
    return keras.Model(inputs, x, name="three_stages")


def test_they_are_means_and_deviations_by_hand():
    plain = three_stages()
    found = borders(plain, None)
    assert [border.name for border in found] == ["pool0", "pool1"]
    model, cuts = with_stage_features(plain, found)
    assert [border.name for border in cuts] == ["pool0", "pool1"]
    images = RNG.uniform(-1, 1, (3, 32, 32, 3)).astype("float32")
    taps = keras.Model(plain.input, [plain.get_layer(n).output for n in ("pool0", "pool1")])
    lower = [np.asarray(maps, np.float64) for maps in taps(images)]
    expected = [f for maps in lower for f in (maps.mean((1, 2)), np.sqrt(maps.var((1, 2)) + 1e-5))]
    expected.append(np.asarray(plain(images)).mean((1, 2)))
    np.testing.assert_allclose(model(images), np.concatenate(expected, axis=1), atol=1e-5)
    assert [v.path for v in model.variables] == [v.path for v in plain.variables]


def test_a_cut_lets_vectors_of_lower_stages_pass_and_not_their_maps():
    model, cuts = with_stage_features(three_stages(), borders(three_stages(), None))
    images = RNG.uniform(-1, 1, (3, 32, 32, 3)).astype("float32")
    for border, shapes in zip(
        cuts,
        (
            [(None, 16, 16, 4), (None, 4), (None, 4)],
            [(None, 8, 8, 6), (None, 4), (None, 4), (None, 6), (None, 6)],
        ),
        strict=True,
    ):
        prefix, suffix = split(model, border)
        assert sorted(t.shape for t in prefix.outputs) == sorted(shapes)
        assert border.num_tensors == len(shapes)
        np.testing.assert_allclose(suffix(prefix(images)), model(images), atol=1e-5)
    depths = variable_depths(model, cuts)
    assert {v.path.split("/")[0]: depths[id(v)] for v in model.variables} == {
        f"{kind}{stage}": 3 - stage for stage in range(3) for kind in ("conv", "bn")
    }


def test_dead_channels_have_a_gradient():
    model, _ = with_stage_features(three_stages(), borders(three_stages(), None))
    model.get_layer("conv0").set_weights([np.zeros((3, 3, 3, 4)), -np.ones(4)])  # ReLU gives 0
    classifier = build_classifier(
        model, num_classes=2, image_size=(32, 32), preprocessing="identity"
    )
    classifier.trainable = True
    parts_of(classifier).backbone.trainable = True
    classifier.compile("sgd", "categorical_crossentropy")
    images = RNG.uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    classifier.fit(images, np.eye(2)[[0, 1, 0, 1]], verbose=0)
    assert all(np.isfinite(value).all() for value in classifier.get_weights())


@pytest.mark.parametrize("name", ["EfficientNetLite0", "MobileNetV2", "ResNet50", "NASNetMobile"])
def test_real_networks_are_cut_and_proven(name):
    size = (64, 64)
    plain = build_network(name, weights="none", image_size=size)
    network = build_network(name, weights="none", image_size=size, stage_features=True)
    assert [b.name.split("_")[0] for b in network.borders] == [
        b.name.split("_")[0] for b in plain.borders
    ]
    num_features = plain.backbone.output_shape[-1]
    assert network.backbone.output_shape[-1] > num_features
    classifier = build_classifier(
        network.backbone, num_classes=3, image_size=size, preprocessing=network.preprocessing
    )
    view = training_view(classifier, border=network.border)
    images = RNG.integers(0, 256, (2, *size, 3)).astype("float32")
    np.testing.assert_allclose(
        view.suffix(view.frozen(images, training=False), training=False),
        classifier(images, training=False),
        atol=1e-4,
    )
    # What crosses is hardly more than the maps alone.
    crossing = sum(np.prod(t.shape[1:]) for t in view.frozen.outputs)
    alone = training_view(
        build_classifier(
            plain.backbone, num_classes=3, image_size=size, preprocessing=plain.preprocessing
        ),
        border=plain.border,
    )
    maps = sum(np.prod(t.shape[1:]) for t in alone.frozen.outputs)
    assert maps < crossing <= maps + 2 * network.backbone.output_shape[-1]


def test_a_network_that_gives_vectors_is_left_as_it_is():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    assert with_stage_features(model, ()) == (model, ())


def test_maps_with_this_pooling_are_refused():
    with pytest.raises(ConfigError, match="stage_features=True"):
        build_classifier(
            three_stages(),
            num_classes=2,
            image_size=(32, 32),
            preprocessing="tf",
            pooling="stages",
        )


def test_a_run_with_them_ends_and_is_exported(colour_folder, tmp_path):
    config = kerastl.FitConfig(
        str(colour_folder),
        image_size=64,
        fine_tune_epochs=1,
        pooling="stages",
        tta=True,
        export=True,
        export_dir=str(tmp_path / "exports"),
        out=str(tmp_path / "run"),
    )
    result = kerastl.run(config)
    assert result.export is not None
    assert result.metrics["probe"]["test"]["accuracy"]["value"] > 0.6
    page = (result.path / "report.html").read_text()
    assert "mean over 2 mirror images" in page


def test_in_bfloat16_validation_still_sees_float32(colour_folder, tmp_path):
    # What crosses the border are maps in bfloat16 and vectors in float32: the part that rounds
    # was taken for the one that does not.
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="block1")(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="block2")(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="block3")(x)
    config = kerastl.FitConfig(
        str(colour_folder),
        fine_tune_epochs=1,
        unfreeze_blocks=1,
        views=1,
        pooling="stages",
        precision="bfloat16",
        out=str(tmp_path / "run"),
    )
    backbone = keras.Model(inputs, x, name="mine")
    result = kerastl.run(config, backbone=backbone, preprocessing="tf")
    found = json.loads((result.path / "environment.json").read_text())
    assert found["precision_of_training_features"].startswith("bfloat16")
