"""Scores of doubt: by hand, against scikit-learn, and on pictures that are planted."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kerastl.errors import DataError
from kerastl.evaluation.unknown import (
    FALSE_ALARMS,
    doubt_scores,
    known_kind_words,
    unknown_metrics,
)


def answers(random, count, *, sureness, num_classes=4):
    logits = random.normal(size=(count, num_classes))
    logits[np.arange(count), random.integers(num_classes, size=count)] += sureness
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_scores_by_hand():
    found = doubt_scores(np.array([[0.7, 0.2, 0.1]]))
    assert found["largest probability (MSP)"] == pytest.approx([0.3])
    expected = sum((p * (1 - p)) ** 0.1 for p in (0.7, 0.2, 0.1))
    assert found["generalised entropy (GEN)"] == pytest.approx([expected])
    # Of two classes both order pictures alike.
    assert list(doubt_scores(np.array([[0.7, 0.3]]))) == ["largest probability (MSP)"]


def test_areas_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    known, unknown = answers(random, 300, sureness=5), answers(random, 200, sureness=1)
    found = unknown_metrics(known, unknown)
    is_unknown = np.repeat([0, 1], [300, 200])
    for doubt in found.doubts:
        own, other = doubt_scores(known)[doubt.name], doubt_scores(unknown)[doubt.name]
        expected = roc_auc_score(is_unknown, np.concatenate([own, other]))
        assert doubt.auroc.value == pytest.approx(expected)
        assert doubt.auroc.low < expected < doubt.auroc.high
        assert np.mean(own > doubt.threshold) <= FALSE_ALARMS
        assert np.mean(own >= doubt.threshold) >= FALSE_ALARMS
        assert doubt.found.value == pytest.approx(np.mean(other > doubt.threshold))
    assert found.mean_confidence == pytest.approx(unknown.max(axis=1).mean())


@pytest.mark.parametrize(
    ("sureness", "words"), [(0, "well told"), (4.5, "in part told"), (6, "hardly told")]
)
def test_it_says_how_well(sureness, words):
    random = np.random.default_rng(1)
    known, unknown = answers(random, 600, sureness=6), answers(random, 300, sureness=sureness)
    assert words in unknown_metrics(known, unknown).words


def test_intervals_hold_the_truth():
    random = np.random.default_rng(2)
    many = answers(random, 20000, sureness=4), answers(random, 20000, sureness=2)
    scores = [doubt_scores(one)["largest probability (MSP)"] for one in many]
    truth = roc_auc_score(np.repeat([0, 1], 20000), np.concatenate(scores))
    held = 0
    for trial in range(100):
        known, unknown = answers(random, 80, sureness=4), answers(random, 60, sureness=2)
        area = unknown_metrics(known, unknown, seed=trial).doubts[0].auroc
        held += area.low <= truth <= area.high
    assert 88 <= held <= 100  # 95 expected, give or take 2.2


def test_groups_widen_the_interval():
    random = np.random.default_rng(3)
    hard = np.repeat(random.normal(4, 2, 12), 20)
    known = np.concatenate([answers(random, 1, sureness=one) for one in hard])
    unknown = answers(random, 200, sureness=1)
    alone = unknown_metrics(known, unknown).doubts[0].auroc
    grouped = unknown_metrics(known, unknown, groups=np.arange(240) // 20).doubts[0].auroc
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 1.3 * (alone.high - alone.low)


def test_nothing_to_compare_is_refused():
    with pytest.raises(DataError, match="received 0 and 1"):
        unknown_metrics(np.zeros((0, 2)), np.ones((1, 2)) / 2)


def test_a_run_says_what_it_calls_unknown():
    told = {
        "num_known": 1000, "num_neighbours": 10, "threshold": 0.1234, "num_validation": 300,
        "false_alarms": 0.05, "grouped": False, "likely_false_alarms": 0.071, "num_test": 400,
        "test_called_unknown": {"value": 0.04, "low": 0.02, "high": 0.07},
    }  # fmt: skip
    words = known_kind_words(told)
    assert "to the 10th nearest of 1,000 training images" in words
    assert "Above 0.123 it is called unknown. As 300 validation images have it" in words
    assert "on average at most 5%" in words
    assert "likely under 7%" in words
    assert "of the 400 test images that were asked 4.0 % (2.0 to 7.0) are" in words
    assert "to the nearest of" in known_kind_words({**told, "num_neighbours": 1})
    assert "far larger" in known_kind_words({**told, "grouped": True})
    assert "far larger" not in words


def test_what_a_model_itself_calls_unknown():
    random = np.random.default_rng(4)
    known, unknown = answers(random, 120, sureness=6), answers(random, 80, sureness=6)
    far = random.normal(0, 1, 120), random.normal(4, 1, 80)
    called = far[0] > 1.6, far[1] > 1.6
    found = unknown_metrics(known, unknown, novelty=far, called=called)
    first = found.doubts[0]
    assert first.name == "distance to what was trained on (kNN)"
    assert first.auroc.value == pytest.approx(
        roc_auc_score(np.repeat([0, 1], [120, 80]), np.concatenate(far))
    )
    assert found.called_unknown.value == called[1].mean()
    assert found.false_alarms.value == called[0].mean()
    assert "By its own threshold it calls" in found.words
    groups = np.argsort(far[0]) // 20  # alike within, as the frames of a film are
    grouped = unknown_metrics(known, unknown, novelty=far, called=called, groups=groups)
    assert grouped.false_alarms.value == found.false_alarms.value
    assert grouped.false_alarms.method == "bootstrap"
    assert unknown_metrics(known, unknown, novelty=far).called_unknown is None
