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


def test_another_share_of_the_classes_is_no_other_treatment():
    """What is answered depends on the class alone; the groups have more of one or the other."""
    sure = named = apart = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        groups = np.repeat(["a", "b"], 200)
        labels = (random.random(400) < np.where(groups == "a", 0.2, 0.8)).astype(int)
        right = random.random(400) < np.array([0.95, 0.7])[labels]
        identity = np.eye(2, dtype=bool)
        result = subgroup_metrics(
            groups,
            truth=identity[labels],
            answered=identity[np.where(right, labels, 1 - labels)],
            right=right,
            confidence=np.full(400, 0.9),
            class_names=["cat", "dog"],
            column="place",
            seed=seed,
        )
        apart += result.accuracy_p_value < 0.05  # that is real
        sure += result.odds_p_value < 0.05
        named += "is found in" in result.words
    assert apart >= 30
    assert sure <= 6
    assert named <= 6


def test_a_gap_in_false_alarms_is_not_told_as_one_in_what_is_found():
    identity = np.eye(3, dtype=bool)
    groups = np.repeat(["g1", "g2"], 300)
    labels = np.tile(np.repeat([0, 1, 2], 100), 2)
    answered = labels.copy()
    answered[100:140] = 2  # of class 1 in g1, called 2
    answered[400:440] = 0  # in g2, called 0
    right = answered == labels
    result = subgroup_metrics(
        groups,
        truth=identity[labels],
        answered=identity[answered],
        right=right,
        confidence=np.full(600, 0.9),
        class_names=["A", "B", "C"],
        column="place",
    )
    assert result.odds_p_value < 0.01
    assert result.found_p_value == 1.0
    assert "is found in" not in result.words


def test_images_of_a_patient_are_no_independent_witnesses():
    """20 patients of 20 images, each of one hospital; patients differ, hospitals do not."""
    sure = held = 0
    identity = np.eye(2, dtype=bool)
    for seed in range(40):
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(20), 20)
        hospitals = np.array(["north", "south"])[patients % 2]
        right = random.random(400) < random.beta(8, 2, 20)[patients]
        labels = random.integers(2, size=400)
        result = subgroup_metrics(
            hospitals,
            truth=identity[labels],
            answered=identity[np.where(right, labels, 1 - labels)],
            right=right,
            confidence=np.full(400, 0.8),
            class_names=["ill", "well"],
            column="hospital",
            units=patients,
            seed=seed,
        )
        sure += result.accuracy_p_value < 0.05
        held += all(one.accuracy.low <= 0.8 <= one.accuracy.high for one in result.groups)
    assert sure <= 6  # images by themselves: 14 or so
    assert held >= 30  # both of two intervals over 10 patients each; else 18 or so


def test_units_in_several_groups_are_not_tested():
    groups = np.array(["day", "night"])[np.arange(120) % 2]
    found = answers(groups, {"day": 0.9, "night": 0.6})
    result = subgroup_metrics(groups, **found, units=np.arange(120) // 4)
    assert result.accuracy_gap > 0.1
    assert result.accuracy_p_value is result.odds_p_value is result.found_p_value is None
    assert "not tested" in result.words
