"""ROC and precision-recall curves, read back from the figure."""

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from kerastl.errors import DataError
from kerastl.evaluation.ranking_picture import ranking_figure


def drawn(num_classes, count=200, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=count)
    logits = random.normal(size=(count, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    identity = np.eye(num_classes, dtype=bool)
    return identity[labels], scores, identity[scores.argmax(axis=1)]


def test_the_second_of_two_classes_and_where_the_model_stands():
    truth, scores, answered = drawn(2)
    figure = ranking_figure(truth, scores, answered, class_names=["cat", "dog"])
    roc, precision = figure.axes
    _, curve, point = roc.lines  # the first is the diagonal
    assert auc(*curve.get_data()) == pytest.approx(roc_auc_score(truth[:, 1], scores[:, 1]))
    right = answered[:, 1] & truth[:, 1]
    recall = right.sum() / truth[:, 1].sum()
    assert point.get_ydata()[0] == pytest.approx(recall)
    assert point.get_xdata()[0] == pytest.approx(answered[~truth[:, 1], 1].mean())
    (_, own) = precision.lines
    assert own.get_xdata()[0] == pytest.approx(recall)
    assert own.get_ydata()[0] == pytest.approx(right.sum() / answered[:, 1].sum())
    (text,) = figure.legends[0].get_texts()
    assert text.get_text().startswith("dog (0.")


def test_of_many_classes_the_worst_are_drawn():
    truth, scores, answered = drawn(9, count=600)
    areas = [roc_auc_score(truth[:, index], scores[:, index]) for index in range(9)]
    names = [f"class {index}" for index in range(9)]
    figure = ranking_figure(truth, scores, answered, class_names=names)
    shown = [text.get_text().partition(" (")[0] for text in figure.legends[0].get_texts()]
    assert shown == [names[index] for index in np.argsort(areas)[:6]]


def test_a_class_in_every_image_or_in_none_has_no_curve():
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    scores = np.array([[0.9, 0.2, 0.7], [0.8, 0.1, 0.4]])
    figure = ranking_figure(truth, scores, scores > 0.5, class_names=["all", "none", "some"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["some (1.000)"]
    with pytest.raises(DataError, match="There is no curve to draw"):
        ranking_figure(truth[:, :2], scores[:, :2], truth[:, :2], class_names=["all", "none"])
