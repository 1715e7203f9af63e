"""The export says how far an image is from what was trained on, as the model does."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.data.preparation import prepare_image
from kerastl.deploy import parity
from kerastl.deploy.predictor import open_predictor
from kerastl.deploy.savedmodel import export_savedmodel
from kerastl.deploy.served_model import load_savedmodel
from kerastl.deploy.signatures import NoveltyInGraph
from kerastl.errors import ExportError
from kerastl.features.novelty import Novelty, fit_novelty
from kerastl.models.classifier import answering_with_features, build_classifier, feature_model
from kerastl.models.view_mean import mean_over_views


@pytest.fixture(scope="module")
def small():
    """A classifier of our own, whose dropout must not show."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return build_classifier(
        keras.Model(inputs, x),
        num_classes=4,
        image_size=(32, 24),
        preprocessing="tf",
        hidden_units=6,
        dropout=0.5,
    )


@pytest.fixture(scope="module")
def features_of_images(small, classifier):
    images = [
        prepare_image(one, image_size=(32, 24), resize_mode="crop") for one in classifier.held_out
    ]
    return feature_model(small)(np.stack(images).astype(np.float32)).numpy()


@pytest.fixture(scope="module")
def novelty(features_of_images):
    """It knows some of the images, so that the others are new."""
    fitted = fit_novelty(features_of_images[:6], features_of_images[:6], num_neighbours=1)
    scores = np.sort(fitted.scores(features_of_images))
    return dataclasses.replace(fitted, threshold=float(scores[6:8].mean()))


def export(model, small, classifier, novelty, folder, **options):
    return export_savedmodel(
        model,
        folder / "photos",
        features=feature_model(small),
        held_out=classifier.held_out,
        novelty=novelty,
        **{**classifier.options, **options},
    )


@pytest.mark.parametrize("views", [(), ("as it is", "left-right")])
def test_both_answers_come_from_one_model(small, views):
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 24, 3)).astype(np.float32)
    model = mean_over_views(small, views) if views else small
    answer, features = answering_with_features(model)(pixels, training=False)
    np.testing.assert_allclose(answer, model(pixels, training=False), atol=1e-6)
    np.testing.assert_allclose(features, feature_model(small)(pixels), atol=1e-6)


def test_it_is_exported_and_proven(small, classifier, novelty, features_of_images, tmp_path):
    result = export(small, small, classifier, novelty, tmp_path)
    assert result.parity.max_unknown_difference < 1e-5
    served = load_savedmodel(result.path)
    assert served.tells_unknown
    found = served.ask(classifier.held_out, batch_size=3)
    expected = novelty.scores(features_of_images)
    np.testing.assert_allclose(found["unknown_score"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["is_unknown"], expected > novelty.threshold)
    assert 0 < found["is_unknown"].sum() < len(expected)
    assert found["unknown_score"].dtype == np.float32
    classes, scores = served.predict(classifier.held_out)
    np.testing.assert_array_equal(classes, found["classes"])
    np.testing.assert_array_equal(scores, found["scores"])

    none = served.ask([])
    assert none["unknown_score"].shape == none["is_unknown"].shape == (0,)
    pixels = tf.saved_model.load(result.path).signatures["pixels"]
    assert set(pixels.structured_outputs) == {"classes", "scores", "unknown_score", "is_unknown"}

    sidecar = json.loads((result.path / "assets.extra" / "kerastl.json").read_text("utf-8"))
    assert sidecar["unknown"]["threshold"] == novelty.threshold
    assert sidecar["unknown"]["num_known"] == 6


def test_without_a_threshold_nothing_is_called_unknown(small, classifier, novelty, tmp_path):
    unsure = dataclasses.replace(novelty, threshold=float("inf"))
    result = export(small, small, classifier, unsure, tmp_path)
    assert not load_savedmodel(result.path).ask(classifier.held_out)["is_unknown"].any()
    sidecar = json.loads((result.path / "assets.extra" / "kerastl.json").read_text("utf-8"))
    assert sidecar["unknown"]["threshold"] is None


def test_a_mean_over_views(small, classifier, novelty, features_of_images, tmp_path):
    model = mean_over_views(small, ("as it is", "left-right"))
    result = export(model, small, classifier, novelty, tmp_path)
    found = load_savedmodel(result.path).ask(classifier.held_out)
    np.testing.assert_allclose(
        found["unknown_score"], novelty.scores(features_of_images), atol=1e-5
    )


def test_another_memory_is_found_out(small, classifier, novelty, tmp_path, monkeypatch):
    other = Novelty(novelty.known[::-1] * np.float16(0.5), 1, novelty.threshold, 6)
    prove = parity.prove_parity
    monkeypatch.setattr(
        "kerastl.deploy.savedmodel.prove_parity",
        lambda *arguments, **options: prove(*arguments, **{**options, "novelty": other}),
    )
    with pytest.raises(ExportError, match="`unknown_score` differs from the model's"):
        export(small, small, classifier, novelty, tmp_path)
    assert not (tmp_path / "photos").exists()


def test_the_pixels_signature_is_proven_too(small, classifier, novelty, tmp_path, monkeypatch):
    outputs, calls = NoveltyInGraph.outputs, []

    def other_for_pixels(self, features):
        calls.append(features)
        found = outputs(self, features)
        if len(calls) == 2:  # traced second
            return {**found, "unknown_score": found["unknown_score"] + 0.1}
        return found

    monkeypatch.setattr(NoveltyInGraph, "outputs", other_for_pixels)
    with pytest.raises(ExportError, match="`pixels` and `serving_default` differ"):
        export(small, small, classifier, novelty, tmp_path)


def test_a_predictor_without_a_threshold_does_not_say_known(small, classifier, novelty, tmp_path):
    unsure = dataclasses.replace(novelty, threshold=float("inf"))
    result = export(small, small, classifier, unsure, tmp_path)
    (answer,) = open_predictor(result.path).predict(classifier.held_out[:1])
    assert answer.unknown_score is not None
    assert answer.is_unknown is None
