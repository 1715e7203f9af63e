"""Neighbours are those of brute force, whatever the chunks and the mask."""

import numpy as np
import pytest

from kerastl.data import nearest
from kerastl.errors import DataError
from kerastl.features.neighbours import nearest_neighbours


@pytest.mark.parametrize("masked", [False, True])
def test_same_as_brute_force_in_any_chunks(monkeypatch, masked):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 12)).astype(np.float32)
    allowed = rng.random(150) < 0.4 if masked else np.ones(150, bool)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = np.where(allowed, units @ units.T, -np.inf)
    np.fill_diagonal(cosines, -np.inf)
    expected = np.argsort(-cosines, axis=1)[:, :7]
    monkeypatch.setattr(nearest, "_LARGEST_NUM_SIMILARITIES", 1000)
    found = nearest_neighbours(features, num_neighbours=7, allowed=allowed if masked else None)
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(
        found.cosines, np.take_along_axis(cosines, expected, axis=1), atol=1e-6
    )


def test_some_rows_only_and_too_few_neighbours():
    features = np.array([[1, 0], [1, 0.2], [0, 1], [0, 0]], np.float32)
    found = nearest_neighbours(features, num_neighbours=5, rows=np.array([1]))
    assert found.rows.tolist() == [[0, 2, 3, -1, -1]]
    assert found.cosines[0, 2:].tolist() == [0, -1, -1]
    only = nearest_neighbours(features, num_neighbours=1, allowed=np.array([0, 1, 0, 0], bool))
    assert only.rows[:, 0].tolist() == [1, -1, 1, 1]


def test_bad_features_are_refused():
    with pytest.raises(DataError, match=r"with NaN.*Extract them again"):
        nearest_neighbours(np.array([[np.nan, 1]], np.float32))
    with pytest.raises(DataError, match="received shape"):
        nearest_neighbours(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(DataError, match="Pass a mask"):
        nearest_neighbours(np.ones((2, 3), np.float32), allowed=np.array([0, 1]))
