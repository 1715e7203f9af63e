"""Grad-CAM and occlusion: closed forms, planted evidence, and every way a model can be built."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.interpretation.attribution import grad_cam, occlusion
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier, parts_of
from kerastl.models.stage_features import with_stage_features
from kerastl.models.view_mean import mean_over_views

SIZE = 24


def small_backbone():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inputs)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="last")(x)
    return keras.Model(inputs, x, name="mine")


def classifier_of(backbone, num_classes=2, **options):
    return build_classifier(
        backbone,
        num_classes=num_classes,
        image_size=(SIZE, SIZE),
        preprocessing="tf",
        seed=0,
        **options,
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def test_behind_a_mean_it_is_the_class_activation_map(images):
    # Zhou et al. 2016: with a linear head on the mean, maps times the weights of the class.
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    backbone = keras.Model(inputs, maps)
    classifier = classifier_of(backbone, multi_label=True)
    kernel = parts_of(classifier).output.kernel.numpy()
    maps = backbone(images / 127.5 - 1).numpy()
    expected = np.maximum(maps @ kernel[:, 1], 0) / maps[0, ..., 0].size
    found = grad_cam(classifier, images, [1, 1, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_of_two_classes_it_is_the_odds_of_the_one_against_the_other(images):
    keras.utils.set_random_seed(1)
    softmax = classifier_of(small_backbone())
    kernel, bias = parts_of(softmax).output.get_weights()
    sigmoid = classifier_of(parts_of(softmax).backbone, num_classes=1, multi_label=True)
    parts_of(sigmoid).output.set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    np.testing.assert_allclose(
        grad_cam(softmax, images, [1, 1, 1]), grad_cam(sigmoid, images, [0, 0, 0]), atol=1e-5
    )


@pytest.fixture(scope="module")
def watermarked():
    """A classifier that learned to read a bright square, and pictures with it in some corner."""
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    pictures = random.integers(0, 160, (256, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(256) % 2
    corners = random.integers(0, 2, (256, 2)) * (SIZE - 6)
    for picture, label, (row, column) in zip(pictures, labels, corners, strict=True):
        if label:
            picture[row : row + 6, column : column + 6] = 255
    classifier = classifier_of(small_backbone())
    classifier.trainable = True
    for layer in classifier._flatten_layers():
        layer.trainable = True
    classifier.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    classifier.fit(pictures.astype("float32"), labels, epochs=15, batch_size=32, verbose=0)
    rows = np.flatnonzero(labels)[:20]
    answers = classifier.predict(pictures[rows].astype("float32"), verbose=0)
    assert (answers.argmax(axis=1) == 1).all()
    return classifier, pictures[rows], corners[rows]


def share_on_the_mark(maps, corners, *, border=3):
    """Return which part of the evidence lies on the square and just around it."""
    shares = []
    for one, (row, column) in zip(np.maximum(maps, 0), corners, strict=True):
        rows = slice(max(row - border, 0), row + 6 + border)
        columns = slice(max(column - border, 0), column + 6 + border)
        shares.append(one[rows, columns].sum() / one.sum())
    return np.array(shares)


def test_a_shortcut_is_shown(watermarked):
    classifier, pictures, corners = watermarked
    # By chance a seventh of the evidence would lie there.
    assert share_on_the_mark(grad_cam(classifier, pictures), corners).mean() > 0.8
    assert share_on_the_mark(grad_cam(classifier, pictures, layer="first"), corners).mean() > 0.5
    assert share_on_the_mark(occlusion(classifier, pictures), corners).mean() > 0.8


def test_the_other_class_sees_the_mark_as_evidence_against_it(watermarked):
    classifier, pictures, corners = watermarked
    found = occlusion(classifier, pictures, [0] * len(pictures))
    middle = [found[i, row + 3, column + 3] for i, (row, column) in enumerate(corners)]
    assert np.mean(middle) < 0


def wrapped():
    """A backbone in which another model is one layer."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = small_backbone()(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(4, 1, name="behind")(x), name="wrapped")


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        (small_backbone, {"pooling": "max"}),
        (small_backbone, {"pooling": "gem"}),
        (small_backbone, {"hidden_units": 6, "dropout": 0.5}),
        (small_backbone, {"num_classes": 4, "multi_label": True}),
        (wrapped, {}),
    ],
)
def test_every_head_and_a_model_within_a_model(backbone, options, images):
    classifier = classifier_of(backbone(), **options)
    for explain in (grad_cam, occlusion):
        found = explain(classifier, images)
        assert found.shape == images.shape[:3]
        assert np.isfinite(found).all()
        assert np.abs(found).sum() > 0


def test_features_of_stages_and_answers_over_views(images):
    backbone = small_backbone()
    staged, _ = with_stage_features(backbone, borders(backbone, None))
    classifier = classifier_of(staged, pooling="stages")
    over_views = mean_over_views(classifier, ["as it is", "left-right"])
    for explain in (grad_cam, occlusion):
        assert np.abs(explain(over_views, images)).sum() > 0
    np.testing.assert_array_equal(grad_cam(over_views, images), grad_cam(classifier, images))


def test_a_sure_answer_still_has_evidence(images):
    classifier = classifier_of(small_backbone())
    output = parts_of(classifier).output
    kernel, bias = output.get_weights()
    output.set_weights([1000 * kernel, bias])
    assert classifier(images.astype("float32")).numpy().max() == 1.0
    assert (grad_cam(classifier, images).max(axis=(1, 2)) > 0).any()


def test_mistakes_are_named(images):
    classifier = classifier_of(small_backbone())
    with pytest.raises(ConfigError, match="one number from 0 to 1 for each of the 3"):
        grad_cam(classifier, images, [0, 1])
    with pytest.raises(ConfigError, match="one number from 0 to 1"):
        occlusion(classifier, images, [0, 1, 2])
    with pytest.raises(ConfigError, match="has no layer 'top' with feature maps"):
        grad_cam(classifier, images, layer="top")
    with pytest.raises(ConfigError, match="2 or more"):
        occlusion(classifier, images, places=1)
