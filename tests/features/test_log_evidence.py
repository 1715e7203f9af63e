"""LogME against the marginal likelihood itself."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from kerastl.features.log_evidence import log_evidence


def by_brute_force(features, targets):
    """The largest log-density of the targets under both precisions, by a search."""
    gram = features @ features.T

    def loss(logs, target):
        covariance = np.exp(-logs[0]) * gram + np.exp(-logs[1]) * np.eye(len(gram))
        return -multivariate_normal(np.zeros(len(gram)), covariance).logpdf(target)

    found = []
    for target in targets.T:
        results = [
            minimize(loss, start, args=(target,), method="Nelder-Mead", options={"xatol": 1e-6})
            for start in ((0.0, 0.0), (2.0, 2.0), (-2.0, 1.0))
        ]
        found.append(-min(result.fun for result in results) / len(gram))
    return np.mean(found)


@pytest.mark.parametrize("num_features", [3, 12, 60])
def test_it_is_the_largest_marginal_likelihood(num_features):
    random = np.random.default_rng(num_features)
    labels = np.arange(40) % 3
    features = random.normal(size=(40, num_features)) + labels[:, None]
    expected = by_brute_force(features, np.eye(3)[labels])
    assert log_evidence(features, labels) == pytest.approx(expected, abs=2e-4)


def test_several_labels_are_columns():
    random = np.random.default_rng(0)
    labels = np.arange(30) % 2
    features = random.normal(size=(30, 5)) + labels[:, None]
    both = log_evidence(features, np.eye(2, dtype=np.int64)[labels])
    assert both == pytest.approx(log_evidence(features, labels))


def test_rows_that_are_equal_and_features_of_zero_are_no_error():
    labels = np.arange(8) % 2
    features = np.zeros((8, 3))
    assert np.isfinite(log_evidence(features, labels))
    features[:, 0] = labels
    assert np.isfinite(log_evidence(features, labels))


def test_noise_has_less_evidence_than_signal():
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, 400)
    signal = random.normal(size=(400, 32))
    signal[:, :4] += 3 * np.eye(4)[labels]
    assert log_evidence(signal, labels) > log_evidence(random.permutation(signal), labels) + 0.1


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e6])
def test_the_scale_of_features_says_nothing(scale):
    random = np.random.default_rng(0)
    labels = np.arange(80) % 4
    features = random.normal(size=(80, 12)) + np.eye(4, 12)[labels]
    assert log_evidence(features * scale, labels) == pytest.approx(
        log_evidence(features, labels), abs=1e-6
    )
