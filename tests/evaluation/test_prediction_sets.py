"""Prediction sets: the coverage that they promise, in simulations, and where they do not."""

import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.evaluation.prediction_sets import (
    LEAST_IMAGES,
    SetRule,
    choose_set_rule,
    set_metrics,
    sets_of,
)


def drawn(random, count, num_classes, *, sureness=1.0):
    """Return labels, and what a model says whose logits are too large by a factor."""
    logits = 2 * random.normal(size=(count, num_classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    said = np.exp(sureness * logits)
    return labels, said / said.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_classes", [3, 40])
@pytest.mark.parametrize("sureness", [1.0, 2.5])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_new_images_are_covered_as_often_as_promised(num_classes, sureness, coverage):
    # However sure the model is: that is the point of it.
    random = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        labels, said = drawn(random, 300, num_classes, sureness=sureness)
        rule = choose_set_rule(labels, said, coverage=coverage)
        assert rule.kind == ("LAC" if num_classes == 3 else "RAPS")
        labels, said = drawn(random, 500, num_classes, sureness=sureness)
        covered.append(sets_of(rule, said)[np.arange(500), labels].mean())
    # Of one rule it varies by 2 points; the mean of 60 rules by 0.3.
    assert coverage - 0.01 < np.mean(covered) < coverage + (0.015 if num_classes == 3 else 0.03)


def test_lac_is_the_quantile_by_hand():
    labels, said = drawn(np.random.default_rng(1), 399, 4)
    rule = choose_set_rule(labels, said, coverage=0.9)
    own = np.sort(1 - said[np.arange(399), labels])
    assert rule.threshold == own[359]  # the 360th of 399: 0.9 times 400
    assert rule.num_images == 399
    sets = sets_of(rule, said)
    np.testing.assert_array_equal(sets, said >= 1 - own[359])


def test_raps_adds_classes_by_rank_and_is_never_empty():
    labels, said = drawn(np.random.default_rng(2), 300, 30)
    rule = choose_set_rule(labels, said, coverage=0.9)
    sets = sets_of(rule, said)
    assert sets[np.arange(300), said.argmax(axis=1)].all()
    for row, held in zip(said, sets, strict=True):
        assert row[held].min() >= row[~held].max(initial=0.0)
    sharp = SetRule("RAPS", 0.9, 0.0, 300)
    assert (sets_of(sharp, said).sum(axis=1) == 1).all()


def test_metrics_say_what_the_sets_are_worth():
    random = np.random.default_rng(3)
    rule = choose_set_rule(*drawn(random, 400, 5), coverage=0.9)
    labels, said = drawn(random, 600, 5)
    found = set_metrics(rule, labels, said)
    sets = sets_of(rule, said)
    assert found.coverage.value == pytest.approx(sets[np.arange(600), labels].mean())
    assert found.size.value == pytest.approx(sets.sum(axis=1).mean())
    assert found.single == pytest.approx(np.mean(sets.sum(axis=1) == 1))
    assert found.coverage.low < 0.9 < found.coverage.high
    assert "90% of all images" in found.words
    assert "less than promised" not in found.words
    # Images of another kind: the model knows nothing of them.
    other = set_metrics(rule, random.permutation(labels), said)
    assert "That is less than promised" in other.words
    sure = np.eye(3)[np.zeros(300, int)] * 0.9 + 0.1 / 3
    sure[:20] = [0.5, 0.3, 0.2]
    whole = set_metrics(SetRule("LAC", 0.9, 0.2, 300), np.zeros(300, int), sure)
    assert (whole.empty, whole.single) == (20 / 300, 280 / 300)
    assert "7% of the sets are empty" in whole.words
    grouped = set_metrics(rule, labels, said, groups=np.arange(600) // 60)
    assert "nothing is promised for a new group" in grouped.words
    assert grouped.coverage.value == pytest.approx(found.coverage.value)


def test_few_images_promise_nothing():
    labels, said = drawn(np.random.default_rng(4), LEAST_IMAGES - 1, 3)
    assert choose_set_rule(labels, said) is None
    with pytest.raises(ConfigError, match="between 0 and 1"):
        choose_set_rule(labels, said, coverage=1.0)
    # More coverage than so many images can promise is all classes.
    labels, said = drawn(np.random.default_rng(4), LEAST_IMAGES, 3)
    rule = choose_set_rule(labels, said, coverage=0.999)
    assert sets_of(rule, said).all()
