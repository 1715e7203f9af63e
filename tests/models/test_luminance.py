"""Grey is left as it is to the last bit; a tint has no influence; files are plain Keras."""

import zipfile

import keras
import numpy as np
import pytest

from kerastl.deploy.judgement import Judgement
from kerastl.deploy.portable_export import export_portable
from kerastl.features.network_digest import digest_network
from kerastl.models.backbones import PREPROCESSING_MODES, find_backbone
from kerastl.models.classifier import build_classifier, feature_model
from kerastl.models.folded_classifier import fold_classifier
from kerastl.models.luminance import luminance
from kerastl.models.network import build_network
from kerastl.models.view_mean import mean_over_views

RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (6, 32, 32, 3)).astype("float32")
# Exact to the float: what a camera without colour would have seen.
GREY = np.repeat((COLOURED.astype(float) @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)
GREY = GREY.astype("float32")
WHOLE = np.repeat(RNG.integers(0, 256, (6, 32, 32, 1)), 3, axis=-1).astype("float32")


def backbone():
    inputs = keras.Input((32, 32, 3))
    small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", kernel_initializer=small)(inputs)
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, x)


def classifier(colour, *, mode="caffe", of=None):
    keras.utils.set_random_seed(1)
    return build_classifier(
        of or backbone(), num_classes=3, image_size=(32, 32), preprocessing=mode, colour=colour
    )


def test_all_grey_values_stay_what_they_are():
    levels = np.repeat(np.arange(0, 255.25, 0.25, dtype="float32")[:, None], 3, axis=1)
    np.testing.assert_array_equal(luminance(levels[None, None]), levels[None, None])


def test_it_is_the_luminance_of_pillow():
    from PIL import Image

    pixels = COLOURED[0].astype("uint8")
    pillow = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    found = np.asarray(luminance(COLOURED[:1]))[0]
    assert np.abs(found - pillow[..., None]).max() <= 0.51
    assert found.min() >= 0
    assert found.max() <= 255


@pytest.mark.parametrize("mode", PREPROCESSING_MODES)
def test_grey_is_answered_as_before_and_colour_as_its_luminance(mode):
    """With means and scales of each channel too: these come after."""
    keep, grey = classifier("keep", mode=mode), classifier("grey", mode=mode)
    grey.set_weights(keep.get_weights())
    np.testing.assert_array_equal(grey(WHOLE), keep(WHOLE))
    np.testing.assert_allclose(grey(COLOURED), keep(GREY), atol=1e-5)
    assert np.abs(np.asarray(keep(COLOURED)) - np.asarray(keep(GREY))).max() > 1e-3


def test_a_real_network_too():
    row = find_backbone("EfficientNetLite0")
    network = build_network(row.name, image_size=(32, 32))
    keep, grey = (classifier(one, mode="lite", of=network.backbone) for one in ("keep", "grey"))
    np.testing.assert_array_equal(grey(WHOLE), keep(WHOLE))
    np.testing.assert_allclose(grey(COLOURED), keep(GREY), atol=1e-5)


def test_features_are_kept_apart_and_the_parts_still_fit():
    one, other = classifier("keep"), classifier("grey")
    other.set_weights(one.get_weights())
    assert digest_network(feature_model(one)) != digest_network(feature_model(other))
    assert digest_network(feature_model(other)) == digest_network(feature_model(other))
    expected = other(COLOURED)
    np.testing.assert_allclose(fold_classifier(other)[0](COLOURED), expected, atol=1e-5)
    over_views = mean_over_views(other, ("as it is", "left-right"))
    np.testing.assert_allclose(over_views(COLOURED), over_views(GREY), atol=1e-5)


def test_a_saved_model_is_made_of_keras_alone(tmp_path):
    model = classifier("grey")
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as saved:
        assert b"kerastl" not in saved.read("config.json")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(COLOURED), model(COLOURED))


def test_another_runtime_sees_no_colour_either(tmp_path):
    """ONNX here; LiteRT in `tests/test_domains.py`."""
    model, pixels, heard = classifier("grey"), COLOURED.astype("uint8"), []

    def judge(answers):
        heard.append(answers.probabilities)
        return {}

    export_portable(
        model,
        tmp_path / "export",
        format_="onnx",
        judgement=Judgement(pixels, judge),
        class_names=["a", "b", "c"],
        image_size=(32, 32),
        representative=pixels,
    )
    keep = classifier("keep")
    keep.set_weights(model.get_weights())
    np.testing.assert_allclose(heard[0], keep(GREY), atol=1e-4)
