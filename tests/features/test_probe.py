"""The probe: the optimum of its objective, a penalty that validation likes, honest folds."""

import contextlib

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_info

from kerastl.data.splits import fold_rows
from kerastl.features import probe as probe_module
from kerastl.features.probe import PENALTIES, fit_probe, log_loss_nats, probe_probabilities
from kerastl.progress import listen


def blobs(*, n=240, num_features=20, num_classes=3, distance=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % num_classes
    centres = rng.normal(0, distance, (num_classes, num_features))
    features = rng.normal(size=(n, num_features)) + centres[labels]
    # Scales that differ by orders of magnitude, as those of networks do.
    features = features * np.logspace(-2, 2, num_features) + 5
    return features.astype(np.float32), labels


def probe_of(features, labels, **options):
    folds = fold_rows(labels, num_folds=5, seed=0, **options)
    return fit_probe(features, labels, folds=folds)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_it_is_the_optimum_of_its_objective(num_classes):
    features, labels = blobs(num_classes=num_classes, distance=0.5)
    probe = probe_of(features, labels)
    scale = np.maximum(features.std(0), np.median(features.std(0)))
    standard = (features - features.mean(0)) / scale

    def objective(flat):
        kernel, bias = flat[:-num_classes].reshape(-1, num_classes), flat[-num_classes:]
        likelihood = log_softmax(standard @ kernel + bias, axis=1)[np.arange(len(labels)), labels]
        # One logit for two classes: w·w is that of the difference of the two columns.
        weights = kernel[:, 1] - kernel[:, 0] if num_classes == 2 else kernel
        return probe.penalty / 2 * np.sum(weights**2) - likelihood.sum()

    start = np.zeros(features.shape[1] * num_classes + num_classes)
    best = minimize(objective, start, method="L-BFGS-B", options={"maxiter": 2000})
    kernel = probe.kernel * scale[:, None]
    bias = probe.bias + features.mean(0) @ probe.kernel
    ours = objective(np.concatenate([kernel.ravel(), bias]))
    assert ours == pytest.approx(best.fun, rel=1e-3)


def test_probabilities_are_those_of_a_dense_softmax_layer():
    features, labels = blobs()
    probe = probe_of(features, labels)
    probabilities = probe_probabilities(probe, features)
    assert probabilities.shape == (240, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_noise_gets_a_strong_penalty_and_signal_a_weaker_one():
    rng = np.random.default_rng(1)
    noise = probe_of(rng.normal(size=(200, 50)).astype(np.float32), np.arange(200) % 2)
    signal = probe_of(*blobs(distance=2.0))
    assert noise.penalty > 10 * signal.penalty
    assert min(loss for _, loss in noise.path) > 0.6


def test_the_chosen_penalty_is_the_best_of_the_path_and_of_its_neighbours():
    probe = probe_of(*blobs(distance=0.5))
    tried = dict(probe.path)
    assert probe.penalty == min(tried, key=tried.__getitem__)
    index = int(np.argmin(np.abs(PENALTIES - probe.penalty)))
    for neighbour in (index - 1, index + 1):
        assert any(np.isclose(PENALTIES[neighbour], penalty) for penalty in tried)


def test_a_feature_that_few_images_have_does_not_answer_for_them():
    """Few images of many sparse features, as networks give them: held-out answers are honest."""
    random = np.random.default_rng(0)
    labels = np.arange(4000) % 3
    features = random.exponential(size=(4000, 300)) * (random.random((4000, 300)) < 0.3)
    features[:, :6] += 0.7 * (labels[:, None] == np.arange(6) % 3)
    # Most of them are nearly always off, and then a little on.
    rare = random.random((4000, 900)) < 0.012
    features = np.concatenate([features, 0.3 * random.exponential(size=rare.shape) * rare], axis=1)
    features = features.astype(np.float32)
    few, others = np.arange(80), np.arange(80, 4000)
    probe = probe_of(features[few], labels[few])
    known = log_loss_nats(labels[few], probe.out_of_fold)
    fresh = log_loss_nats(labels[others], probe_probabilities(probe, features[others]))
    assert fresh < np.log(3) - 0.02
    assert fresh < known + 0.1


def test_out_of_fold_answers_are_honest():
    """On labels that mean nothing the model fits its rows, but not those it did not see."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(100, 200)).astype(np.float32)
    labels = np.arange(100) % 2
    probe = probe_of(features, labels)
    assert np.isfinite(probe.out_of_fold).all()
    out_of_fold = log_loss_nats(labels, probe.out_of_fold)
    assert out_of_fold > np.log(2) - 0.05
    assert out_of_fold == pytest.approx(min(loss for _, loss in probe.path))


def test_a_constant_feature_and_a_fold_without_a_class_do_no_harm():
    features, labels = blobs(num_classes=3)
    features[:, 3] = 7.0
    keep = np.concatenate([np.flatnonzero(labels < 2), np.flatnonzero(labels == 2)[:1]])
    probe = fit_probe(features[keep], labels[keep], folds=np.arange(len(keep)) % 5)
    assert np.isfinite(probe.kernel).all()
    assert np.allclose(probe.kernel[3], 0)


def test_several_labels_per_image():
    features, labels = blobs(num_classes=4, distance=1.5)
    several = np.stack([labels < 2, labels % 2 == 0, labels == 3], axis=1).astype(np.int8)
    probe = fit_probe(features, several, folds=np.arange(len(labels)) % 5)
    answers = probe_probabilities(probe, features, multi_label=True) > 0.5
    assert (answers == several).mean() > 0.95
    assert probe.out_of_fold.shape == several.shape


@pytest.mark.parametrize("groups_of_the_rare_class", [1, 2])
def test_a_fold_without_one_of_two_classes(groups_of_the_rare_class):
    labels = np.array([0] * 18 + [1] * 2)
    folds = np.arange(20) % 5
    folds[18:] = np.arange(2) % groups_of_the_rare_class
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    probe = fit_probe(features, labels, folds=folds)
    assert np.isfinite(probe.kernel).all()
    assert np.isfinite(probe.out_of_fold).all()


@pytest.mark.parametrize("distance", [0.0, 0.5, 5.0])
def test_its_progress_is_one_bar_that_ends_full(distance):
    """Wherever the best penalty lies: the ends of the path have fewer neighbours to try."""
    bars = []

    @contextlib.contextmanager
    def bar(description, total):
        bars.append([description, total, 0])

        def advance(steps):
            assert steps > 0
            bars[-1][2] += steps

        yield advance

    with listen(bar):
        probe_of(*blobs(distance=distance))
    ((description, total, done),) = bars
    assert (description, done) == ("Fitting the probe", total)


@pytest.mark.parametrize("small", [True, False])
def test_blas_has_one_thread_for_small_features_alone(monkeypatch, small):
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before, seen = threads(), []

    def watch(*arguments, **options):
        seen.append(threads())
        return fit(*arguments, **options)

    fit = probe_module._fit
    monkeypatch.setattr(probe_module, "_fit", watch)
    features, labels = blobs()
    monkeypatch.setattr(probe_module, "_LARGEST_FOR_ONE_THREAD", features.size - 1 + small)
    probe_of(features, labels)
    assert set(map(frozenset, seen)) == {frozenset({1} if small else before)}
    assert threads() == before
