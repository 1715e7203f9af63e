"""Pictures of another kind: against scikit-learn, and what is promised in simulations."""

import math

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.unknown import FALSE_ALARMS
from kerastl.features.novelty import (
    Novelty,
    choose_num_neighbours,
    fit_novelty,
    read_novelty,
    write_novelty,
)


def test_scores_are_distances_of_scikit_learn():
    random = np.random.default_rng(0)
    known, asked = random.normal(1, 1, (60, 9)), random.normal(1, 1, (20, 9))
    novelty = fit_novelty(known, asked, num_neighbours=4)
    reference = NearestNeighbors(n_neighbors=4, metric="cosine").fit(known)
    expected = reference.kneighbors(asked)[0][:, -1]
    # What is known is kept with 11 bits.
    assert novelty.scores(asked) == pytest.approx(expected, abs=1e-3)
    assert novelty.scores(7 * asked) == pytest.approx(novelty.scores(asked), abs=1e-6)


def test_false_alarms_are_as_stated():
    alarms = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        known, validation, other = (random.normal(1, 1, (30, 5)) for _ in range(3))
        novelty = fit_novelty(known, validation, num_neighbours=2)
        alarms.append(np.mean(novelty.scores(other) > novelty.threshold))
    # Of 31 equal images the largest exceeds the 30th of 30 scores once: 1 of 31 on the mean.
    assert np.mean(alarms) <= FALSE_ALARMS
    assert np.mean(alarms) == pytest.approx(1 / 31, abs=0.01)


def test_too_few_validation_images_promise_nothing():
    random = np.random.default_rng(0)
    known, validation = random.normal(size=(30, 4)), random.normal(size=(19, 4))
    assert fit_novelty(known, validation[:18], num_neighbours=1).threshold == math.inf
    enough = fit_novelty(known, validation, num_neighbours=1)
    assert enough.threshold == enough.scores(validation).max()


def test_small_classes_have_neighbours_of_their_own():
    assert choose_num_neighbours(np.array([100, 0, 50])) == 10
    assert choose_num_neighbours(np.array([100, 6])) == 3
    assert choose_num_neighbours(np.array([1])) == 1
    with pytest.raises(DataError, match="from 1 to the number of known images, 2; received 3"):
        fit_novelty(np.eye(2), np.eye(2), num_neighbours=3)


def test_it_survives_its_file(tmp_path):
    random = np.random.default_rng(0)
    written = fit_novelty(
        random.normal(size=(30, 4)), random.normal(size=(40, 4)), num_neighbours=2
    )
    write_novelty(tmp_path / "novelty.npz", written)
    read = read_novelty(tmp_path / "novelty.npz")
    np.testing.assert_array_equal(read.known, written.known)
    assert read.known.dtype == np.float16
    assert (read.num_neighbours, read.threshold, read.num_validation) == (2, written.threshold, 40)
    unsure = Novelty(written.known, 2, math.inf, 3)
    write_novelty(tmp_path / "unsure.npz", unsure)
    assert read_novelty(tmp_path / "unsure.npz").threshold == math.inf


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "novelty.npz"
    write_novelty(path, Novelty(np.eye(4, dtype=np.float16), 1, 0.5, 30))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="is damaged"):
        read_novelty(path)
    with pytest.raises(FileNotFoundError):
        read_novelty(tmp_path / "none.npz")
