"""Test-time augmentation as a part of the model."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerastl.data.augment import symmetric_views
from kerastl.errors import ConfigError
from kerastl.models.classifier import build_classifier, feature_model, parts_of
from kerastl.models.view_mean import mean_answer, mean_over_views
from kerastl.training.adjustment import adjust_bias, adjusted_probabilities

RNG = np.random.default_rng(0)


def classifier_of(size, *, multi_label=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="valid", activation="relu")(inputs)
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, strides=2)(x))
    return build_classifier(
        backbone, num_classes=3, image_size=size, preprocessing="tf", multi_label=multi_label
    )


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("policy", "size", "count"),
    [("light", (14, 18), 2), ("mirrors", (14, 18), 4), ("dihedral", (18, 18), 8)],
)
def test_it_answers_with_the_mean_over_the_views_of_the_policy(policy, size, count, multi_label):
    classifier = classifier_of(size, multi_label=multi_label)
    images = RNG.integers(0, 256, (5, *size, 3), np.uint8)
    views = symmetric_views(policy, square=size[0] == size[1])
    assert len(views) == count
    single = [
        classifier(np.ascontiguousarray(view(images)).astype("float32")).numpy()
        for view in views.values()
    ]
    model = mean_over_views(classifier, tuple(views))
    answers = model(images.astype("float32")).numpy()
    np.testing.assert_allclose(answers, mean_answer(single, multi_label=multi_label), atol=2e-6)
    # By hand: the logits of a softmax are logarithms up to a constant.
    if multi_label:
        logits = np.mean([np.log(p) - np.log1p(-p) for p in single], axis=0)
        expected = 1 / (1 + np.exp(-logits))
    else:
        powers = np.prod(np.array(single, np.float64), axis=0) ** (1 / count)
        expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers, expected, atol=2e-6)
    # It does not matter any more how the image lies.
    for view in views.values():
        turned = np.ascontiguousarray(view(images)).astype("float32")
        np.testing.assert_allclose(model(turned).numpy(), answers, atol=2e-6)


def test_it_shares_its_weights_and_its_parts():
    classifier = classifier_of((12, 12))
    model = mean_over_views(classifier, ["as it is", "left-right"])
    assert [id(v) for v in model.variables] == [id(v) for v in classifier.variables]
    assert parts_of(model) == parts_of(classifier)
    image = RNG.uniform(0, 255, (2, 12, 12, 3)).astype("float32")
    features = feature_model(classifier)(image)
    np.testing.assert_array_equal(feature_model(model)(image), features)


def test_answers_that_are_certain_stay_numbers():
    sure = [np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)]
    np.testing.assert_allclose(mean_answer(sure, multi_label=False), [[0.5, 0.5]])
    assert np.isfinite(mean_answer(sure, multi_label=True)).all()
    classifier = classifier_of((12, 12))
    output = parts_of(classifier).output
    output.bias.assign([1e4, -1e4, 0])
    model = mean_over_views(classifier, ["as it is", "up-down"])
    answers = model(np.zeros((1, 12, 12, 3), np.float32)).numpy()
    np.testing.assert_allclose(answers, [[1, 0, 0]], atol=1e-6)


def test_it_is_loaded_without_kerastl(tmp_path):
    classifier = classifier_of((12, 12))
    model = mean_over_views(classifier, tuple(symmetric_views("dihedral", square=True)))
    image = RNG.uniform(0, 255, (2, 12, 12, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, json, keras, numpy as np\n"
        f"model = keras.saving.load_model({str(tmp_path / 'model.keras')!r}, safe_mode=True)\n"
        f"image = np.load({str(tmp_path / 'image.npy')!r})\n"
        "print(json.dumps(np.asarray(model(image)).tolist()))\n"
        "assert 'kerastl' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout), model(image), atol=1e-6)


@pytest.mark.parametrize("name", ["upside down", "both, transposed"])
def test_views_that_images_do_not_have_are_refused(name):
    with pytest.raises(ConfigError, match="8 x 12 pixels"):
        mean_over_views(classifier_of((8, 12)), ["as it is", name])


def test_a_shift_of_the_logits_is_one_of_the_mean():
    classifier = classifier_of((12, 12))
    images = RNG.uniform(0, 255, (4, 12, 12, 3)).astype("float32")
    model = mean_over_views(classifier, ["as it is", "left-right"])
    before = model(images).numpy()
    priors = np.log(np.array([0.7, 0.2, 0.1], np.float32))
    adjust_bias(classifier, priors)
    np.testing.assert_allclose(model(images), adjusted_probabilities(before, priors), atol=2e-6)
