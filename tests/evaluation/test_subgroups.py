"""Measures group by group: against scikit-learn, planted weak groups, and none."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from kerastl.errors import DataError
from kerastl.evaluation.subgroups import LEAST_IMAGES, subgroup_metrics


def answers(groups, accuracy_of, *, num_classes=2, seed=0):
    """Return what a model answers that is right as often as its group says."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=len(groups))
    right = random.random(len(groups)) < np.array([accuracy_of[name] for name in groups])
    other = (labels + random.integers(1, num_classes, size=len(groups))) % num_classes
    identity = np.eye(num_classes, dtype=bool)
    return {
        "truth": identity[labels],
        "answered": identity[np.where(right, labels, other)],
        "right": right,
        "confidence": np.full(len(groups), 0.9),
        "class_names": [f"class {index}" for index in range(num_classes)],
        "column": "camera",
    }


def test_rates_are_those_of_the_confusion_matrix():
    groups = np.array(["a", "b", "c"])[np.random.default_rng(1).integers(3, size=600)]
    found = answers(groups, {"a": 0.9, "b": 0.8, "c": 0.6}, num_classes=3)
    result = subgroup_metrics(groups, **found)
    assert [one.name for one in result.groups] == ["c", "b", "a"]
    for group in result.groups:
        rows = groups == group.name
        matrix = confusion_matrix(
            found["truth"][rows].argmax(axis=1), found["answered"][rows].argmax(axis=1)
        )
        assert group.n == rows.sum() == matrix.sum()
        assert group.accuracy.value == pytest.approx(np.trace(matrix) / matrix.sum())
        assert group.sureness.value == pytest.approx(0.9 - group.accuracy.value)
        for index, rates in enumerate(group.rates):
            wanted = matrix[index, index] / matrix[index].sum()
            assert rates.found.value == pytest.approx(wanted)
            others = np.delete(matrix, index, axis=0)
            wanted = others[:, index].sum() / others.sum()
            assert rates.false_alarms.value == pytest.approx(wanted)
    values = [one.accuracy.value for one in result.groups]
    assert result.accuracy_gap == pytest.approx(max(values) - min(values))
    odds = [
        max(getattr(g.rates[i], kind).value for g in result.groups)
        - min(getattr(g.rates[i], kind).value for g in result.groups)
        for i in range(3)
        for kind in ("found", "false_alarms")
    ]
    assert result.odds_gap == pytest.approx(max(odds))


def test_a_weak_group_is_named_and_sure():
    groups = np.repeat(["day", "dusk", "night"], [200, 100, 60])
    result = subgroup_metrics(groups, **answers(groups, {"day": 0.95, "dusk": 0.93, "night": 0.7}))
    assert result.groups[0].name == "night"
    assert result.accuracy_p_value < 0.01
    assert result.odds_p_value < 0.05
    assert "worst for night" in result.words
    assert "more than chance" in result.words


def test_groups_without_meaning_are_seldom_sure():
    sure = 0
    for seed in range(40):
        groups = np.random.default_rng(seed).permutation(np.arange(240) % 8).astype(str)
        found = answers(groups, dict.fromkeys(groups, 0.85), seed=1000 + seed)
        result = subgroup_metrics(groups, **found, seed=seed)
        assert result.accuracy_gap > 0.05  # the largest of many differences is large
        sure += result.accuracy_p_value < 0.05
    assert sure <= 6  # 2 expected; 7 and more have a probability of 0.3 %


def test_few_images_are_not_judged():
    groups = np.repeat(["many", "some", "few"], [100, LEAST_IMAGES, LEAST_IMAGES - 1])
    result = subgroup_metrics(groups, **answers(groups, {"many": 0.9, "some": 0.8, "few": 0.1}))
    assert [one.name for one in result.groups][-1] == "few"
    assert not result.groups[-1].judged
    assert result.accuracy_gap < 0.5
    assert "1 of 3 have under 20 images and are not judged" in result.words
    alone = subgroup_metrics(
        groups[:100],
        **{
            key: value[:100] if isinstance(value, np.ndarray) else value
            for key, value in answers(groups, {"many": 0.9, "some": 0.8, "few": 0.1}).items()
        },
    )
    assert alone.accuracy_gap is None
    assert "Fewer than two groups by camera" in alone.words
    assert alone.to_dict()["groups"][0]["n"] == 100
    with pytest.raises(DataError, match="one value for each"):
        subgroup_metrics(groups[:5], **answers(groups, {"many": 0.9, "some": 0.8, "few": 0.1}))
