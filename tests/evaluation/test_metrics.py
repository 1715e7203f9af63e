"""The numbers are scikit-learn's, and the intervals hold what they promise."""

import json
import time
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from kerastl.errors import ConfigError, DataError
from kerastl.evaluation.comparison import accuracy_difference
from kerastl.evaluation.intervals import (
    Estimate,
    bootstrap_weights,
    percentile_estimate,
    wilson_interval,
)
from kerastl.evaluation.metrics import (
    classification_metrics,
    most_confused,
    multi_label_metrics,
)


def simulate(num_rows, num_classes, *, seed=0, signal=1.5, digits=None):
    """Labels and softmax answers; `digits` rounds the answers so that ties appear."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=num_rows)
    logits = random.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), labels] += signal
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if digits is not None:
        probabilities = np.round(probabilities, digits)
        probabilities[:, -1] = 1 - probabilities[:, :-1].sum(axis=1)
        probabilities = np.abs(probabilities)
    return labels, probabilities


def names(num_classes):
    return [f"class {index}" for index in range(num_classes)]


def estimates(metrics):
    """Every estimate in a result, whole and per class."""
    found = [value for value in vars(metrics).values() if isinstance(value, Estimate)]
    for row in metrics.per_class:
        found += [value for value in vars(row).values() if isinstance(value, Estimate)]
    return found


@pytest.mark.parametrize(("num_classes", "digits"), [(2, None), (2, 2), (3, 1), (7, None)])
def test_values_are_those_of_scikit_learn(num_classes, digits):
    labels, probabilities = simulate(300, num_classes, digits=digits)
    answered = probabilities.argmax(axis=1)
    metrics = classification_metrics(labels, probabilities, class_names=names(num_classes))
    areas = probabilities[:, 1] if num_classes == 2 else probabilities
    expected = {
        "accuracy": reference.accuracy_score(labels, answered),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, answered),
        "macro_f1": reference.f1_score(labels, answered, average="macro"),
        "log_loss": -np.log(probabilities[np.arange(300), labels].clip(1e-7)).mean(),
    }
    if digits is None:
        expected["auroc"] = reference.roc_auc_score(labels, areas, multi_class="ovr")
        expected["log_loss"] = reference.log_loss(labels, probabilities)
    for name, value in expected.items():
        assert getattr(metrics, name).value == pytest.approx(value, abs=1e-12), name
    np.testing.assert_array_equal(metrics.confusion, reference.confusion_matrix(labels, answered))
    per_class = reference.precision_recall_fscore_support(labels, answered)
    for index, row in enumerate(metrics.per_class):
        values = (row.precision.value, row.recall.value, row.f1.value, row.support)
        assert values == pytest.approx([column[index] for column in per_class])
        truth, scores = labels == index, probabilities[:, index]
        assert row.auroc.value == pytest.approx(reference.roc_auc_score(truth, scores))
        assert row.average_precision.value == pytest.approx(
            reference.average_precision_score(truth, scores)
        )
    assert all(e.low <= e.value <= e.high for e in estimates(metrics))


def test_multi_label_values_are_those_of_scikit_learn():
    random = np.random.default_rng(3)
    labels = (random.random((200, 4)) < 0.3).astype(np.int64)
    probabilities = 1 / (1 + np.exp(-random.normal(size=(200, 4)) - 2 * labels + 1))
    metrics = multi_label_metrics(labels, probabilities, class_names=names(4))
    answered = probabilities >= 0.5
    assert metrics.accuracy.value == pytest.approx(reference.accuracy_score(labels, answered))
    assert metrics.macro_f1.value == pytest.approx(
        reference.f1_score(labels, answered, average="macro")
    )
    assert metrics.auroc.value == pytest.approx(reference.roc_auc_score(labels, probabilities))
    assert metrics.mean_average_precision.value == pytest.approx(
        reference.average_precision_score(labels, probabilities)
    )
    assert metrics.log_loss.value == pytest.approx(
        np.mean([reference.log_loss(labels[:, c], probabilities[:, c]) for c in range(4)])
    )
    expected = reference.precision_recall_fscore_support(labels, answered)
    for index, row in enumerate(metrics.per_class):
        values = (row.precision.value, row.recall.value, row.f1.value, row.support)
        assert values == pytest.approx([column[index] for column in expected])
    json.dumps(metrics.to_dict(), allow_nan=False)


def test_weighted_areas_are_those_of_the_resampled_rows():
    """What the bootstrap sees is what scikit-learn would say of the drawn rows."""
    from kerastl.evaluation.ranking import rank_rows, ranking_areas

    labels, probabilities = simulate(60, 2, digits=1)
    (weights,) = bootstrap_weights(60, num_resamples=20, seed=1)
    roc, precision = ranking_areas(rank_rows(labels == 1, probabilities[:, 1]), weights)
    for column in range(20):
        drawn = np.repeat(np.arange(60), weights[:, column].astype(int))
        args = (labels[drawn], probabilities[drawn, 1])
        assert roc[column] == pytest.approx(reference.roc_auc_score(*args))
        assert precision[column] == pytest.approx(reference.average_precision_score(*args))


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 7), (7, 7), (88, 100), (1, 3)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_that_of_scipy(hits, trials, confidence):
    expected = binomtest(hits, trials).proportion_ci(confidence, method="wilson")
    received = wilson_interval(hits, trials, confidence=confidence)
    assert received == pytest.approx((expected.low, expected.high), abs=1e-12)


def coverage(measure, truth, *, repetitions=200):
    """Share of simulated test sets whose interval holds the true value."""
    inside = 0
    for seed in range(repetitions):
        estimate = measure(seed)
        inside += estimate.low <= truth <= estimate.high
    return inside / repetitions


def test_intervals_cover():
    """95 % intervals of 80 rows hold the value that 200,000 rows show in about 95 % of cases."""
    kept = {}

    def measure(seed, name):
        if seed not in kept:
            labels, probabilities = simulate(80, 3, seed=seed + 100)
            kept[seed] = classification_metrics(
                labels, probabilities, class_names=names(3), num_resamples=300, seed=seed
            )
        metrics = kept[seed]
        return metrics.per_class[1].f1 if name == "f1" else getattr(metrics, name)

    labels, probabilities = simulate(200_000, 3, seed=1)
    answered = probabilities.argmax(axis=1)
    f1 = reference.f1_score(labels, answered, average=None)
    truth = {
        "accuracy": np.mean(labels == answered),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, answered),
        "f1": f1[1],
        "macro_f1": f1.mean(),
        "auroc": reference.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "log_loss": reference.log_loss(labels, probabilities),
    }
    for name, value in truth.items():
        share = coverage(lambda seed, name=name: measure(seed, name), value)
        # 200 tries of a true 92 % stay above 88 % with probability 0.98.
        assert 0.88 <= share <= 0.995, (name, share)


def test_groups_widen_the_interval_to_what_is_true():
    """Copies of a row are no new knowledge: 20 groups of 30 copies are 20 rows."""

    def measure(seed, grouped):
        labels, probabilities = simulate(40, 2, seed=seed)
        rows = np.repeat(np.arange(40), 20)
        return classification_metrics(
            labels[rows],
            probabilities[rows],
            class_names=names(2),
            groups=rows if grouped else None,
            num_resamples=200,
        ).accuracy

    labels, probabilities = simulate(200_000, 2, seed=1)
    truth = np.mean(labels == probabilities.argmax(axis=1))
    assert coverage(lambda seed: measure(seed, True), truth, repetitions=100) >= 0.86
    assert coverage(lambda seed: measure(seed, False), truth, repetitions=100) <= 0.6


def test_names_of_groups_do_not_matter():
    labels, probabilities = simulate(60, 3)
    numbers = np.arange(60) % 25
    args = {"class_names": names(3), "seed": 4}
    first = classification_metrics(labels, probabilities, groups=numbers, **args)
    words = np.array([f"module {n:02}" for n in numbers])
    assert classification_metrics(labels, probabilities, groups=words, **args) == first
    assert first.num_groups == 25
    assert first.notes == ()


def test_the_seed_decides():
    labels, probabilities = simulate(60, 3)
    one, same, other = (
        classification_metrics(labels, probabilities, class_names=names(3), seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one.macro_f1 != other.macro_f1
    assert one.macro_f1.value == other.macro_f1.value


def test_all_right_is_not_certainty():
    labels = np.arange(20) % 2
    metrics = classification_metrics(labels, np.eye(2)[labels], class_names=names(2))
    assert metrics.log_loss.value == pytest.approx(0, abs=1e-6)
    assert metrics.log_loss.high > 0.5
    for estimate in [e for e in estimates(metrics) if e is not metrics.log_loss]:
        assert estimate.value == estimate.high == 1
        assert 0.6 < estimate.low < 0.9


def test_a_rare_class_makes_macro_averages_unsure():
    """99 right of one class and one of the other say little of their mean recall."""
    labels = (np.arange(100) == 0).astype(int)
    metrics = classification_metrics(labels, np.eye(2)[labels], class_names=names(2))
    assert metrics.accuracy.low > 0.96
    assert metrics.balanced_accuracy.low == pytest.approx(wilson_interval(1, 1)[0], abs=0.35)
    assert metrics.balanced_accuracy.low < 0.6


@pytest.mark.parametrize("right", [True, False])
def test_one_row(right):
    metrics = classification_metrics(
        np.array([0]), np.array([[0.9, 0.1] if right else [0.1, 0.9]]), class_names=["cat", "dog"]
    )
    assert metrics.accuracy.value == float(right)
    assert metrics.accuracy.high - metrics.accuracy.low > 0.7
    assert metrics.log_loss.high - metrics.log_loss.low > 10
    assert metrics.auroc is None
    dog = metrics.per_class[1]
    assert (dog.recall, dog.support, dog.average_precision) == (None, 0, None)
    assert (dog.precision is None) == right
    assert "No image here is of 'dog'" in metrics.notes[0]
    assert "Give more to measure on" in metrics.notes[1]
    json.dumps(metrics.to_dict(), allow_nan=False)


def test_an_absent_class_leaves_the_rest():
    labels, probabilities = simulate(90, 3)
    present = labels != 2
    labels, probabilities = labels[present], probabilities[present]
    metrics = classification_metrics(labels, probabilities, class_names=names(3))
    answered = probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert metrics.balanced_accuracy.value == pytest.approx(
            reference.balanced_accuracy_score(labels, answered)
        )
    assert metrics.macro_f1.value == pytest.approx(
        reference.f1_score(labels, answered, average="macro")
    )
    assert metrics.auroc is None
    assert metrics.per_class[0].auroc is not None
    assert metrics.per_class[2].recall is None
    assert metrics.per_class[2].precision.value == 0
    assert metrics.confusion.shape == (3, 3)


def test_multi_label_edges():
    none = multi_label_metrics(np.zeros((3, 2)), np.full((3, 2), 0.1), class_names=names(2))
    assert (none.macro_f1, none.auroc, none.mean_average_precision) == (None, None, None)
    assert none.accuracy.value == 1
    everything = multi_label_metrics(np.ones((3, 1)), np.full((3, 1), 0.9), class_names=["one"])
    assert everything.auroc is None
    assert everything.mean_average_precision.value == 1
    stricter = multi_label_metrics(
        np.ones((3, 1)), np.full((3, 1), 0.9), class_names=["one"], threshold=0.95
    )
    assert stricter.accuracy.value == 0


def test_few_groups_are_told():
    labels, probabilities = simulate(60, 2)
    metrics = classification_metrics(
        labels, probabilities, class_names=names(2), groups=np.arange(60) % 4
    )
    assert "Only 4 independent groups" in metrics.notes[0]
    single = classification_metrics(
        labels, probabilities, class_names=names(2), groups=np.zeros(60)
    )
    assert single.accuracy.high - single.accuracy.low > 0.5
    assert "1 independent group of" in single.notes[0]


def test_much_work_takes_fewer_resamples_and_says_so():
    labels, probabilities = simulate(20_000, 100)
    started = time.process_time()
    metrics = classification_metrics(
        labels, probabilities.astype(np.float32), class_names=names(100), num_resamples=1000
    )
    assert time.process_time() - started < 30
    assert metrics.num_resamples == 500
    assert "500 bootstrap resamples were drawn, not 1,000" in metrics.notes[0]
    answered = probabilities.argmax(axis=1)
    assert metrics.macro_f1.value == pytest.approx(
        reference.f1_score(labels, answered, average="macro")
    )


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"labels": np.zeros((4, 2), int)}, "use `multi_label_metrics`"),
        ({"labels": np.zeros(4)}, "must be integers"),
        ({"labels": np.array([0, 1, 2, 0])}, "in the order of `class_names`, from 0"),
        ({"labels": np.array([0, -1, 1, 0])}, "received -1 to 1"),
        ({"probabilities": np.full((4, 3), 1 / 3)}, r"\(n, 2\), one column for each"),
        ({"probabilities": np.full((4, 2), 5.0)}, "give their softmax"),
        ({"probabilities": np.full((4, 2), np.nan)}, "must be finite"),
        ({"probabilities": np.full((4, 2), 0.9)}, "If an image can have several classes"),
        ({"probabilities": np.zeros((0, 2)), "labels": np.zeros(0, int)}, "Give at least one row"),
        ({"groups": np.zeros(3)}, r"`groups` must have the shape \(4,\)"),
    ],
)
def test_wrong_arrays_are_named(changed, advice):
    arguments = {"labels": np.array([0, 1, 1, 0]), "probabilities": np.full((4, 2), 0.5)}
    arguments |= {"class_names": ["cat", "dog"]} | changed
    with pytest.raises(DataError, match=advice):
        classification_metrics(arguments.pop("labels"), arguments.pop("probabilities"), **arguments)


def test_wrong_options_are_named():
    labels, probabilities = np.array([0, 1]), np.full((2, 2), 0.5)
    with pytest.raises(ConfigError, match=r"Write 0\.95"):
        classification_metrics(labels, probabilities, class_names=["a", "b"], confidence=95)
    with pytest.raises(ConfigError, match="at least 100"):
        classification_metrics(labels, probabilities, class_names=["a", "b"], num_resamples=0)
    with pytest.raises(DataError, match="use `classification_metrics`"):
        multi_label_metrics(labels, probabilities, class_names=["a", "b"])
    with pytest.raises(DataError, match="their sigmoid"):
        multi_label_metrics(np.eye(2), np.full((2, 2), -3.0), class_names=["a", "b"])


def test_difference_of_two_models_on_the_same_rows():
    random = np.random.default_rng(0)
    first = random.random(400) < 0.85
    # The second is right wherever the first is, and on half of the rest.
    second = first | (random.random(400) < 0.5)
    difference = accuracy_difference(first, second)
    assert difference.value == pytest.approx(second.mean() - first.mean())
    assert difference.low > 0
    low, high = wilson_interval(int(second.sum()), 400), wilson_interval(int(first.sum()), 400)
    assert difference.high - difference.low < (low[1] - low[0]) + (high[1] - high[0])
    reversed_ = accuracy_difference(second, first)
    assert reversed_.high == pytest.approx(-difference.low)
    same = accuracy_difference(first, first)
    assert (same.value, same.low < 0 < same.high) == (0, True)
    few = accuracy_difference(first, second, groups=np.arange(400) % 40)
    assert few.low <= difference.value <= few.high
    with pytest.raises(DataError, match="answer the same split"):
        accuracy_difference(first, second[:10])


def test_difference_covers():
    random = np.random.default_rng(5)

    def measure(_seed):
        kind = random.choice(4, p=[0.6, 0.15, 0.1, 0.15], size=60)
        return accuracy_difference((kind == 0) | (kind == 2), (kind == 0) | (kind == 1))

    assert 0.91 <= coverage(measure, 0.05, repetitions=500) <= 0.99


def test_most_confused():
    confusion = np.array([[5, 3, 0], [1, 9, 0], [3, 0, 7]])
    pairs = most_confused(confusion, ["a", "b", "c"])
    assert [(p["true"], p["answered"], p["count"]) for p in pairs] == [
        ("a", "b", 3),
        ("c", "a", 3),
        ("b", "a", 1),
    ]
    assert pairs[1]["share"] == pytest.approx(0.3)
    assert len(most_confused(confusion, ["a", "b", "c"], limit=2)) == 2
    assert confusion[0, 0] == 5


def test_undefined_is_none():
    assert percentile_estimate(float("nan"), np.ones(3), units=3) is None


def test_each_estimate_says_whose_interval_it_has():
    labels, answers = simulate(60, 3)
    metrics = classification_metrics(labels, answers, class_names=["a", "b", "c"])
    methods = {name: getattr(metrics, name).method for name in ("accuracy", "macro_f1", "auroc")}
    assert methods == {"accuracy": "wilson", "macro_f1": "bootstrap", "auroc": "bootstrap"}
    assert {metrics.per_class[0].f1.method, metrics.per_class[0].recall.method} == {"wilson"}
    grouped = classification_metrics(
        labels, answers, class_names=["a", "b", "c"], groups=np.arange(60) // 4
    )
    assert grouped.accuracy.method == grouped.per_class[0].recall.method == "bootstrap"


def test_one_answer_to_everything_is_no_certainty():
    """Balanced accuracy is 1/3 in every resample that has all classes: almost in all."""
    metrics = classification_metrics(
        np.arange(18) % 3, np.tile([0.8, 0.1, 0.1], (18, 1)), class_names=["a", "b", "c"]
    )
    estimate = metrics.balanced_accuracy
    assert estimate.method == "wilson-for-bootstrap"
    assert estimate.low < 0.2 < 1 / 3 < 0.5 < estimate.high
