"""The map of a run's images: answers lie where the ground says so."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerastl.data.sources import table_from_arrays
from kerastl.embedding_map import _answered, _logits, embedding_pictures
from kerastl.evaluation.embedding_picture import Points, embedding_figure
from kerastl.evaluation.figures import FAINT
from kerastl.models.classifier import build_classifier, parts_of


def classifier(num_classes, **options):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(12, 3, activation="relu")(inputs)
    return build_classifier(
        keras.Model(inputs, x),
        num_classes=num_classes,
        image_size=(8, 8),
        preprocessing="tf",
        **options,
    )


def features(count=80, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"hidden_units": 7, "dropout": 0.5}])
def test_logits_are_those_of_the_head(options):
    model = classifier(4, **options)
    answers = features()
    for layer in parts_of(model).head:
        answers = layer(answers)
    logits = _logits(model, features())
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(answers), expected, atol=1e-5)
    assert np.abs(logits.sum(axis=1)).max() < 1e-9


@pytest.mark.parametrize("num_classes", [2, 3])
def test_every_image_lies_on_the_ground_of_its_answer(num_classes):
    logits = _logits(classifier(num_classes), features())
    points = _answered(logits, features())
    left, right, bottom, top = points.limits
    rows, columns = points.regions.shape
    near = 0
    for (x, y), answer in zip(points.places, logits.argmax(axis=1), strict=True):
        column = (x - left) / (right - left) * columns
        row = (y - bottom) / (top - bottom) * rows
        assert 0 <= column < columns
        assert 0 <= row < rows
        # Within a step of the grid of a border the ground may be of the neighbour.
        around = points.regions[
            max(0, int(row) - 1) : int(row) + 2, max(0, int(column) - 1) : int(column) + 2
        ]
        assert answer in around
        near += len(np.unique(around)) > 1
    assert near < 20
    assert len(np.unique(logits.argmax(axis=1))) == num_classes


def test_the_second_axis_of_two_classes_says_nothing_of_the_answer():
    logits = _logits(classifier(2), features())
    places = _answered(logits, features()).places
    np.testing.assert_allclose(places[:, 0], logits[:, 1])
    assert abs(np.corrcoef(places.T)[0, 1]) < 1e-3


def test_of_many_classes_those_with_errors_have_a_colour():
    labels = np.arange(90) % 9
    wrong = (labels == 7) & (np.arange(90) > 40)
    panel = Points("Features", np.random.default_rng(0).normal(size=(90, 2)), ("x", "y"))
    names = [f"class {index}" for index in range(9)]
    figure = embedding_figure(
        [panel], labels, trained_on=np.zeros(90, bool), wrong=wrong, class_names=names
    )
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "class 7" in said
    assert "4 other classes" in said
    assert len(said) == 5 + 3
    assert figure.legends[0].legend_handles[said.index("4 other classes")].get_color() == FAINT


@pytest.fixture
def record():
    images = np.zeros((60, 8, 8, 3), np.uint8)
    labels = np.arange(60) % 3
    table = table_from_arrays(images, [f"c{label}" for label in labels])
    rows = {"train": np.arange(40), "val": np.arange(40, 45), "test": np.arange(45, 60)}
    known = SimpleNamespace(
        rows=rows, features={name: features(len(r)) for name, r in rows.items()}
    )
    experiment = SimpleNamespace(classifier=classifier(3), kept="probe", answer_views=("as it is",))
    return SimpleNamespace(
        known_kind=known,
        table=table,
        experiment=experiment,
        rows=rows.get,
        answered=lambda *_: SimpleNamespace(right=np.arange(15) % 5 > 0),
    )


def test_rings_are_the_recorded_mistakes(record, tmp_path, monkeypatch):
    drawn = {}

    def draw(panels, labels, **options):
        drawn.update(options, labels=labels)
        return embedding_figure(panels, labels, **options)

    monkeypatch.setattr("kerastl.embedding_map.embedding_figure", draw)
    embedding_pictures(tmp_path, record)
    assert np.flatnonzero(drawn["wrong"]).tolist() == [40, 45, 50]
    assert drawn["trained_on"].tolist() == [True] * 40 + [False] * 15
    np.testing.assert_array_equal(drawn["labels"][40:], np.arange(45, 60) % 3)


def test_the_picture_is_a_file_too(record, tmp_path):
    record.experiment.answer_views = ("as it is", "left-right")
    assert "mean over its mirror images" in embedding_pictures(tmp_path, record)[0].caption
    for path in tmp_path.iterdir():
        path.unlink()
    record.experiment.answer_views = ("as it is",)
    (picture,) = embedding_pictures(tmp_path, record)
    assert {path.name for path in tmp_path.iterdir()} == {"embedding_map.png", "embedding_map.svg"}
    assert picture.source.startswith("data:image/svg+xml")
    assert "can show that" not in picture.caption


def test_nothing_learnt_is_no_picture(record, tmp_path):
    record.known_kind = None
    assert embedding_pictures(tmp_path, record) == []


def test_several_labels_have_none(record, tmp_path):
    labels = np.eye(3, dtype=np.int8)[np.asarray(record.table.labels)]
    record.table = dataclasses.replace(record.table, labels=labels)
    assert embedding_pictures(tmp_path, record) == []
    assert not any(tmp_path.iterdir())
