"""Calibration against scikit-learn, hand-made cases, and a simulation of its intervals."""

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from kerastl.errors import DataError
from kerastl.evaluation.calibration import calibration_metrics
from kerastl.evaluation.reliability_picture import reliability_figure


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def draw(rng, count, *, sharpness=1.0, num_classes=3):
    """Labels from softmax(logits), and answers that are `sharpness` times as sure."""
    logits = 2 * rng.normal(size=(count, num_classes))
    labels = (rng.random(count)[:, None] > softmax(logits).cumsum(axis=1)).sum(axis=1)
    return labels, softmax(sharpness * logits)


def test_bins_and_ece_are_those_of_scikit_learn():
    labels, answers = draw(np.random.default_rng(0), 700, sharpness=1.6)
    measured = calibration_metrics(labels, answers, num_resamples=100)
    sure, right = answers.max(axis=1), answers.argmax(axis=1) == labels
    shares, confidences = calibration_curve(right, sure, n_bins=15)
    known = [one for one in measured.bins if one.n]
    np.testing.assert_allclose([one.accuracy.value for one in known], shares)
    np.testing.assert_allclose([one.mean_confidence for one in known], confidences)
    counts = np.array([one.n for one in known])
    ece = np.sum(counts * np.abs(shares - confidences)) / counts.sum()
    assert measured.ece.value == pytest.approx(ece)
    assert measured.gap.value == pytest.approx(sure.mean() - right.mean())
    assert counts.sum() == measured.n == 700


def test_brier_score_is_that_of_scikit_learn():
    labels, answers = draw(np.random.default_rng(1), 300)
    expected = brier_score_loss(labels, answers, scale_by_half=False)
    assert calibration_metrics(labels, answers).brier.value == pytest.approx(expected)
    several = (np.random.default_rng(2).random((300, 3)) < answers).astype(int)
    expected = np.mean([brier_score_loss(several[:, c], answers[:, c]) for c in range(3)])
    assert calibration_metrics(several, answers).brier.value == pytest.approx(expected)


def test_with_several_labels_every_label_is_an_answer():
    rng = np.random.default_rng(3)
    answers = rng.random((400, 2))
    labels = (rng.random((400, 2)) < answers).astype(int)
    measured = calibration_metrics(labels, answers)
    shares, _ = calibration_curve(labels.ravel(), answers.ravel(), n_bins=15)
    np.testing.assert_allclose([one.accuracy.value for one in measured.bins], shares)
    assert measured.n == 800
    assert measured.ece.low == 0.0


@pytest.mark.parametrize(
    ("sharpness", "words"),
    [(1.0, "no more than chance makes"), (3.0, "points surer than it is right"),
     (0.4, "points less sure than it is right")],
)  # fmt: skip
def test_the_words_say_which_way_it_is_wrong(sharpness, words):
    labels, answers = draw(np.random.default_rng(4), 1000, sharpness=sharpness)
    measured = calibration_metrics(labels, answers)
    assert words in measured.words
    assert (measured.ece.value <= measured.ece_if_calibrated) == (sharpness == 1.0)
    assert measured.ece.low <= measured.ece.value <= measured.ece.high


@pytest.mark.parametrize("sharpness", [1.0, 1.6])
def test_the_intervals_hold_the_truth_as_often_as_they_say(sharpness):
    rng = np.random.default_rng(5)
    labels, answers = draw(rng, 400_000, sharpness=sharpness)
    true = calibration_metrics(labels, answers, num_resamples=1)
    held = {"ece": 0, "gap": 0}
    flagged = 0
    for seed in range(100):
        labels, answers = draw(rng, 150, sharpness=sharpness)
        found = calibration_metrics(labels, answers, num_resamples=200, seed=seed)
        flagged += found.ece.value > found.ece_if_calibrated
        for name in held:
            estimate = getattr(found, name)
            held[name] += estimate.low <= getattr(true, name).value <= estimate.high
    # 95 of 100, less what 100 draws differ by chance (three standard deviations).
    assert min(held.values()) >= 88
    assert flagged <= 12 if sharpness == 1.0 else flagged >= 40


def test_of_many_answers_chance_is_what_it_is_of_few():
    labels, answers = draw(np.random.default_rng(8), 20_001)
    many = calibration_metrics(labels, answers, num_resamples=100).ece_if_calibrated
    few = calibration_metrics(labels[:-1], answers[:-1], num_resamples=100).ece_if_calibrated
    assert many == pytest.approx(few, rel=0.05)


def test_groups_widen_the_intervals():
    labels, answers = draw(np.random.default_rng(6), 60, sharpness=2)
    rows = np.repeat(np.arange(60), 10)
    alone = calibration_metrics(labels[rows], answers[rows])
    grouped = calibration_metrics(labels[rows], answers[rows], groups=rows)
    assert grouped.num_groups == 60
    assert grouped.gap.high - grouped.gap.low > 2 * (alone.gap.high - alone.gap.low)


def test_certainty_is_in_the_highest_bin_and_nothing_is_refused():
    measured = calibration_metrics(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert measured.bins[-1].n == 2
    assert measured.ece.value == 0.0
    with pytest.raises(DataError, match="one row for each image"):
        calibration_metrics(np.zeros(0, int), np.zeros((0, 2)))
    with pytest.raises(DataError, match="no answer in any bin"):
        reliability_figure([])


def test_the_picture_shows_every_bin_with_answers():
    labels, answers = draw(np.random.default_rng(7), 200)
    measured = json.loads(json.dumps(calibration_metrics(labels, answers).to_dict()))
    figure = reliability_figure(measured["bins"])
    bars = figure.axes[1].patches
    assert [bar.get_height() for bar in bars] == [one["n"] for one in measured["bins"] if one["n"]]
