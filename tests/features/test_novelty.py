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
    likely_false_alarms,
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


@pytest.mark.parametrize("num_validation", [19, 60, 300])
def test_one_threshold_alarms_as_the_distribution_says(num_validation):
    random = np.random.default_rng(0)
    # The rate of a threshold among numbers from 0 to 1 is what is above it.
    rank = math.ceil((num_validation + 1) * (1 - FALSE_ALARMS))
    rates = 1 - np.sort(random.uniform(size=(4000, num_validation)), axis=1)[:, rank - 1]
    assert rates.mean() <= FALSE_ALARMS + 0.001
    limit = likely_false_alarms(num_validation)
    assert np.mean(rates < limit) == pytest.approx(0.95, abs=0.012)
    assert likely_false_alarms(18) is None


def damaged(content):
    yield content[:100]
    for place in range(0, len(content), 7):
        yield content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def test_whatever_is_damaged_is_named_or_harmless(tmp_path):
    path = tmp_path / "novelty.npz"
    random = np.random.default_rng(0)
    known = random.normal(size=(40, 6)).astype(np.float16)
    write_novelty(path, Novelty(known, 3, 0.5, 30))
    refused = 0
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        try:
            scores = read_novelty(path).scores(random.normal(size=(2, 6)))
        except ConfigError:
            refused += 1
        else:
            assert scores.shape == (2,)
    assert refused > 50


@pytest.mark.parametrize(
    "changes",
    [
        {"num_neighbours": 41}, {"num_neighbours": 0}, {"num_neighbours": [1, 2]},
        {"threshold": np.nan}, {"known": np.zeros(6)}, {"known": np.full((40, 6), np.nan)},
    ],
)  # fmt: skip
def test_what_cannot_answer_is_refused(tmp_path, changes):
    whole = {"known": np.eye(40, 6), "num_neighbours": 3, "threshold": 0.5, "num_validation": 30}
    path = tmp_path / "novelty.npz"
    np.savez(path, **{**whole, **changes})
    with pytest.raises(ConfigError, match="is damaged"):
        read_novelty(path)
    with path.open("wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(ConfigError, match="is damaged"):
        read_novelty(path)
    with pytest.raises(FileNotFoundError):
        read_novelty(tmp_path / "none.npz")
