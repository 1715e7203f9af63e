"""What a threshold per label gains on rows it was not chosen on, against 0.5 for all.

    python benchmarks/thresholds.py

A label's score is Gaussian, its mean DISTANCE standard deviations higher where the label is, and
its probabilities are the true ones. A threshold is chosen on rows with POSITIVES such labels and
measured on 10,000 others, 200 times for each kind of label: once with `choose_thresholds` as it
is, once by the plain maximum of F1. Printed are mean gains in points of F1.
"""

import itertools

import numpy as np
from scipy.special import expit

from kerastl.evaluation.thresholds import choose_thresholds

PRIORS = (0.02, 0.1, 0.4)
DISTANCES = (1.5, 2.5)
POSITIVES = (5, 8, 12, 20, 50)
RULES = (1, 0)  # hits that a move must be worth


def probabilities_of(present, *, prior, distance, rng):
    """Return the true probabilities of a label for rows with and without it."""
    scores = rng.normal(size=len(present)) + distance * present
    return expit(distance * scores - distance**2 / 2 + np.log(prior / (1 - prior)))


def f1(present, answered):
    """Return F1 of one label."""
    return 2 * np.sum(present & answered) / max(present.sum() + answered.sum(), 1)


def gains(*, prior, distance, positives, repetitions=200):
    """Return the mean gain of each rule in points of F1."""
    found = []
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        present = np.arange(round(positives / prior)) < positives
        chosen_on = probabilities_of(present, prior=prior, distance=distance, rng=rng)
        others = rng.random(10_000) < prior
        measured_on = probabilities_of(others, prior=prior, distance=distance, rng=rng)
        plain = f1(others, measured_on >= 0.5)
        thresholds = [
            choose_thresholds(present[:, None], chosen_on[:, None], worth_hits=worth)[0]
            for worth in RULES
        ]
        found.append([100 * (f1(others, measured_on >= t) - plain) for t in thresholds])
    return np.mean(found, axis=0)


def main():
    """Measure all kinds of labels."""
    print("share  distance  positives  as it is  plain maximum")
    rows = []
    for prior, distance, positives in itertools.product(PRIORS, DISTANCES, POSITIVES):
        rows.append(gains(prior=prior, distance=distance, positives=positives))
        print(f"{prior:5}  {distance:8}  {positives:9}  {rows[-1][0]:+8.1f}  {rows[-1][1]:+13.1f}")
    for name, summary in (("mean", np.mean), ("worst", np.min)):
        as_it_is, plain = summary(rows, axis=0)
        print(f"{name:26}  {as_it_is:+8.1f}  {plain:+13.1f}")


if __name__ == "__main__":
    main()
