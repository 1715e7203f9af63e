"""A confusion matrix for a page: its shares, and orders of its classes."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from kerastl.errors import DataError
from kerastl.evaluation.confusion_table import CellImages, confused_together, confusion_table


def test_shares_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    true = random.integers(0, 4, 200)
    answered = np.where(random.random(200) < 0.6, true, random.integers(0, 5, 200))
    labels = range(5)  # the last class is in no test image
    counts = confusion_matrix(true, answered, labels=labels)
    table = confusion_table(counts, list("abcde"), shown=[CellImages(1, 0, 3, ())])
    assert [[cell.count for cell in row] for row in table.rows] == counts.tolist()
    for field, normalize in (("of_true", "true"), ("of_answered", "pred")):
        reference = confusion_matrix(true, answered, labels=labels, normalize=normalize)
        found = [[getattr(cell, field) for cell in row] for row in table.rows]
        np.testing.assert_allclose(found, reference)
    assert [cell.right for cell in table.rows[2]] == [False, False, True, False, False]
    assert {cell.anchor for row in table.rows for cell in row} == {"", "images-1-0"}
    assert table.rows[1][0].anchor
    assert sum(table.true_counts) == sum(table.answered_counts) == 200


def test_orders():
    counts = np.array([[5, 5, 0], [0, 40, 0], [1, 0, 1]])
    orders = confusion_table(counts, ["b", "C", "a"]).orders
    assert orders == {
        "as the model has them": (0, 1, 2),
        "by name": (2, 0, 1),
        "largest class first": (1, 0, 2),
        "least often found first": (0, 2, 1),
    }
    # What would change nothing is no choice.
    assert list(confusion_table(np.eye(3, dtype=int), ["a", "b", "c"]).orders) == [
        "as the model has them"
    ]


def test_confused_classes_stand_together():
    """Three families of four classes, mixed up: each family is one block of the order."""
    random = np.random.default_rng(0)
    family = random.permutation(np.repeat(range(3), 4))
    counts = np.where(family[:, None] == family, random.integers(5, 15, (12, 12)), 0)
    counts += np.diag(np.full(12, 60))
    counts[0, 11] += 1
    order = confused_together(counts)
    assert sorted(order) == list(range(12))
    assert int(np.sum(np.diff(family[order]) != 0)) == 2
    shown = confusion_table(counts, [f"{n:02d}" for n in range(12)]).orders
    assert shown["confused classes together"] == tuple(order)


def test_a_matrix_without_images_and_one_that_does_not_fit():
    table = confusion_table(np.zeros((2, 2), int), ["a", "b"])
    assert all(cell.of_true == cell.of_answered == 0 for row in table.rows for cell in row)
    with pytest.raises(DataError, match=r"shape \(3, 3\)"):
        confusion_table(np.zeros((2, 2), int), ["a", "b", "c"])
