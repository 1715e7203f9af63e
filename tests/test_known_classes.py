"""What known classes say of images that their head was not fitted to, and what that is good for."""

import numpy as np
import pytest
from scipy.special import logsumexp

from kerastl.features.added_class import add_class
from kerastl.features.centroids import fit_centroids, leave_one_out_folds
from kerastl.features.probe import fit_probe
from kerastl.known_classes import held_out_evidence

NUM_FEATURES = 300


def clusters(num_classes, per_class, *, seed):
    """Classes in many features, told from 5 images each about nine times in ten."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    centres = np.random.default_rng(99).normal(size=(num_classes, NUM_FEATURES)) * 0.35
    found = centres[labels] + random.normal(size=(len(labels), NUM_FEATURES))
    return found.astype(np.float32), labels


def right_of(kernel, bias, features, labels):
    return float(((features @ kernel + bias).argmax(axis=1) == labels).mean())


def own_evidence(head, features):
    """As the run's last layer gives it, of what it was fitted to."""
    return logsumexp(features @ head.kernel + head.bias, axis=1)


@pytest.mark.parametrize("are_centroids", [True, False])
def test_fresh_images_of_known_classes_stay(are_centroids):
    stayed = {"held out": [], "as fitted": []}
    for seed in range(4):
        features, labels = clusters(4, 5, seed=seed)
        known, old = features[labels < 3], labels[labels < 3]
        fit = fit_centroids if are_centroids else fit_probe
        head = fit(known, old, folds=leave_one_out_folds(old))
        evidence = held_out_evidence(known, old, groups=None, are_centroids=are_centroids)
        evidence += (known @ head.kernel + head.bias).mean(axis=1)
        new = clusters(4, 20, seed=seed + 50)[0][-20:]
        others, answers = clusters(4, 60, seed=seed + 100)
        for name, given in (("held out", evidence), ("as fitted", own_evidence(head, known))):
            found = add_class(new, known, kernel=head.kernel, bias=head.bias, known_evidence=given)
            kernel = np.column_stack([head.kernel, found.kernel])
            bias = np.append(head.bias, found.bias)
            stays = right_of(kernel, bias, others[answers < 3], answers[answers < 3])
            stayed[name].append(stays)
            assert right_of(kernel, bias, others[answers == 3], answers[answers == 3]) > 0.8
    assert np.mean(stayed["held out"]) > np.mean(stayed["as fitted"]) + 0.03


def test_evidence_is_less_of_images_that_had_no_part():
    features, labels = clusters(3, 5, seed=0)
    head = fit_probe(features, labels, folds=leave_one_out_folds(labels))
    held_out = held_out_evidence(features, labels, groups=None, are_centroids=False)
    assert held_out.mean() < own_evidence(head, features).mean()
    # Logits whose mean is 0 say ln(classes) at the least.
    assert held_out.min() >= np.log(3)
