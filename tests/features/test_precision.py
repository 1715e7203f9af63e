"""bfloat16 is taken only where nothing speaks against it, and the reason is said."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.features import precision as module
from kerastl.features.extract import extract_features, folded_feature_model
from kerastl.features.precision import choose_precision, sample_rows
from kerastl.models.classifier import build_classifier, feature_model

COUNT = 96
SIZE = (12, 12)
LABELS = np.arange(COUNT) % 3
ROWS = np.arange(COUNT)


def coloured_images():
    """Noise on a colour that tells the class."""
    rng = np.random.default_rng(0)
    colours = np.array([[180, 80, 80], [80, 180, 80], [80, 80, 180]])[LABELS]
    noise = rng.normal(0, 40, (COUNT, *SIZE, 3))
    return np.clip(colours[:, None, None] + noise, 0, 255).astype(np.uint8)


IMAGES = coloured_images()


@pytest.fixture(scope="module")
def classifier():
    """Two blocks whose BatchNorm has the statistics of the images."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((*SIZE, 3))
    for _ in range(2):
        x = keras.layers.Conv2D(16, 3, use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.0)(x))
    backbone = keras.Model(inputs, x)
    backbone(IMAGES.astype("float32") / 127.5 - 1, training=True)
    return build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", dropout=0.0, seed=0
    )


@pytest.fixture
def willing(monkeypatch):
    """A machine made for bfloat16, on which a check costs nothing and any speed will do."""
    monkeypatch.setattr(module, "bfloat16_is_fast", lambda: True)
    monkeypatch.setattr(module, "LARGEST_COST", float("inf"))
    monkeypatch.setattr(module, "SMALLEST_SPEED_RATIO", 0.0)
    return monkeypatch


def choose(classifier, **options):
    options = {"rows": ROWS, "labels": LABELS, "num_images": 5000, **options}
    return choose_precision(classifier, IMAGES, **options)


def computes_in(model):
    return {layer.compute_dtype for layer in model._flatten_layers() if layer.weights}


def test_auto_takes_what_agrees(classifier, willing):
    chosen, model = choose(classifier)
    assert chosen.dtype == "bfloat16"
    assert chosen.reason.startswith("faster, and the answers agree (on 96 training images: ")
    assert 0 < chosen.agreement.feature_error < 0.1
    assert chosen.agreement.probe_agreement > 0.95
    assert chosen.speed_ratio > 0
    assert "bfloat16" in computes_in(model)
    # Drawn by seed: the same again.
    assert choose(classifier)[0].agreement == chosen.agreement


def test_auto_refuses_what_does_not_agree(classifier, willing):
    """Sabotage: the bfloat16 model has other weights."""

    def sabotaged(classifier, *, dtype="float32"):
        model = folded_feature_model(classifier, dtype=dtype)
        if dtype == "bfloat16":
            rng = np.random.default_rng(0)
            for weight in model.weights:
                value = np.asarray(weight.numpy(), np.float32)
                weight.assign(value + 0.3 * value.std() * rng.normal(size=value.shape))
        return model

    willing.setattr(module, "folded_feature_model", sabotaged)
    chosen, model = choose(classifier)
    assert chosen.dtype == "float32"
    assert "standard deviations, at most 0.25 allowed (on 96 training" in chosen.reason
    assert computes_in(model) == {"float32"}


def test_auto_refuses_what_is_not_faster(classifier, willing):
    willing.setattr(module, "SMALLEST_SPEED_RATIO", 1e9)
    chosen, model = choose(classifier)
    assert chosen.dtype == "float32"
    assert "times as fast, 1000000000.0 wanted" in chosen.reason
    assert computes_in(model) == {"float32"}


def test_a_check_that_cannot_pay_is_not_made(classifier, willing):
    willing.setattr(module, "LARGEST_COST", 0.1)
    chosen, _ = choose(classifier, num_images=1500)
    assert chosen.dtype == "float32"
    assert chosen.agreement is None
    assert chosen.reason.startswith("a check of about ")
    assert chosen.reason.endswith("s that 1,500 images take in float32")


def test_few_images_and_other_machines(classifier, willing):
    def never(*arguments, **options):
        raise AssertionError("the network ran")

    willing.setattr(module, "trace_forward", never)
    assert choose(classifier, num_images=999)[0].reason == (
        "only 999 images, from 1,000 on bfloat16 can pay"
    )
    willing.setattr(module, "bfloat16_is_fast", lambda: False)
    chosen, model = choose(classifier)
    assert (chosen.dtype, chosen.reason) == ("float32", "this machine is not made for bfloat16")
    assert computes_in(model) == {"float32"}


def test_asked_for(classifier, monkeypatch):
    monkeypatch.setattr(module, "bfloat16_is_fast", lambda: False)
    assert choose(classifier, precision="float32")[0].reason == "asked for"
    chosen, model = choose(classifier, precision="bfloat16", num_images=None)
    assert chosen.dtype == "bfloat16"
    assert chosen.reason.startswith("asked for (on 48 training images")
    assert "bfloat16" in computes_in(model)
    chosen, _ = choose(classifier, precision="bfloat16", rows=ROWS[:9])
    assert chosen.reason == (
        "asked for, without a check: only 9 training images, at least 32 needed to compare on"
    )


def test_an_unknown_precision(classifier):
    with pytest.raises(ConfigError, match="'auto', 'float32', 'bfloat16'; received precision='b"):
        choose(classifier, precision="bf16")


def test_the_sample_has_every_class_in_proportion():
    labels = np.repeat([0, 1], [900, 100])
    rows = np.arange(0, 1000, 2)
    drawn = sample_rows(rows, labels, size=50, seed=1)
    assert len(set(drawn)) == 50
    assert set(drawn) <= set(rows)
    assert np.bincount(labels[drawn]).tolist() == [45, 5]
    assert not np.array_equal(drawn, sample_rows(rows, labels, size=50, seed=2))
    several = np.stack([labels, 1 - labels], axis=1)
    assert len(sample_rows(rows, several, size=50, seed=1)) == 50


def test_extraction_in_bfloat16_is_near_and_repeatable(classifier):
    exact = extract_features(classifier, IMAGES)
    rounded, again = (extract_features(classifier, IMAGES, dtype="bfloat16") for _ in range(2))
    np.testing.assert_array_equal(rounded, again)
    difference = np.abs(rounded - exact).max() / exact.std()
    assert 1e-4 < difference < 0.1
    np.testing.assert_allclose(
        exact, feature_model(classifier)(IMAGES.astype("float32")), atol=1e-4 * exact.std()
    )
