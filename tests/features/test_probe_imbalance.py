"""Uneven classes at the level of features: weights are exact, every remedy earns its name."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from kerastl.data.imbalance import IMBALANCES, WEIGHTINGS, class_weights, log_priors, loss_weights
from kerastl.data.splits import fold_rows
from kerastl.features.probe import fit_probe, log_loss_nats, probe_probabilities
from kerastl.training.adjustment import adjusted_probabilities

SIZES = (200, 60, 20)


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices this small are many times slower with several threads on shared cores."""
    with threadpool_limits(1):
        yield


def overlapping(sizes, *, seed):
    """Gaussian classes that overlap so much that a plain fit answers the largest too often."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = np.random.default_rng(seed).normal(size=(len(labels), 8))
    features[np.arange(len(labels)), labels] += 1.5
    return features.astype(np.float32), labels


def fit(features, labels, imbalance="none"):
    weights = loss_weights(labels, num_classes=len(SIZES), imbalance=imbalance)
    folds = fold_rows(labels, num_folds=5, seed=0)
    rows = None if weights is None else weights[labels]
    return fit_probe(features, labels, folds=folds, row_weights=rows)


def balanced_accuracy(answers, labels):
    return np.mean([(answers[labels == label] == label).mean() for label in np.unique(labels)])


def test_every_remedy_raises_balanced_accuracy():
    found = {name: [] for name in IMBALANCES}
    for seed in range(3):
        train, test = overlapping(SIZES, seed=seed), overlapping((500, 500, 500), seed=seed + 100)
        # Two of the six are fits of two others: sampling weighs, logit adjustment comes after.
        probes = {name: fit(*train, name) for name in ("none", *WEIGHTINGS)}
        probes |= {"sampling": probes["balanced"], "logit-adjust": probes["none"]}
        for name in IMBALANCES:
            answers = probe_probabilities(probes[name], test[0])
            if name == "logit-adjust":
                answers = adjusted_probabilities(answers, log_priors(train[1], num_classes=3))
            found[name].append(balanced_accuracy(answers.argmax(axis=1), test[1]))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    for name in IMBALANCES[1:]:
        assert means[name] > means["none"] + 0.03, means
        assert all(np.array(found[name]) > np.array(found["none"])), found


@pytest.mark.parametrize("how", ["balanced", "effective"])
def test_a_weighted_probe_is_the_optimum_of_its_weighted_objective(how):
    features, labels = overlapping(SIZES, seed=0)
    weights = class_weights(labels, num_classes=3, how=how)
    probe = fit(features, labels, how)
    scale = np.maximum(features.std(0), np.median(features.std(0)))
    standard = (features - features.mean(0)) / scale

    def objective(flat):
        kernel, bias = flat[:-3].reshape(-1, 3), flat[-3:]
        likelihood = log_softmax(standard @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
        return probe.penalty / 2 * np.sum(kernel**2) - (weights[labels] * likelihood).sum()

    best = minimize(objective, np.zeros(8 * 3 + 3), method="L-BFGS-B", options={"maxiter": 2000})
    kernel = probe.kernel * scale[:, None]
    bias = probe.bias + features.mean(0) @ probe.kernel
    assert objective(np.concatenate([kernel.ravel(), bias])) == pytest.approx(best.fun, rel=1e-3)


def test_the_penalty_is_chosen_by_the_weighted_loss():
    features, labels = overlapping(SIZES, seed=1)
    weights = class_weights(labels, num_classes=3, how="balanced")
    probe = fit(features, labels, "balanced")
    held_out = log_loss_nats(labels, probe.out_of_fold, class_weights=weights)
    assert held_out == pytest.approx(min(loss for _, loss in probe.path))
    assert held_out != pytest.approx(log_loss_nats(labels, probe.out_of_fold), rel=0.01)


def test_balanced_weights_make_the_loss_a_mean_over_classes():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32)
    weights = class_weights(labels, num_classes=2, how="balanced")
    expected = (-np.log([0.9, 0.8, 0.7]).mean() - np.log(0.4)) / 2
    found = log_loss_nats(labels, probabilities, class_weights=weights)
    assert found == pytest.approx(expected, rel=1e-6)
