"""Recall@k, mAP, ROC and thresholds, against scikit-learn and brute force."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kerastl.data.nearest import unit_rows
from kerastl.errors import ConfigError, DataError
from kerastl.retrieval.ranking_measures import ranking_measures
from kerastl.retrieval.verification import _rounded_up, draw_pairs, verify_pairs
from kerastl.retrieval.whitening import (
    fit_whitening,
    read_whitening,
    write_whitening,
)
from kerastl.retrieval.words import ranking_lines


def clusters(count, num_classes, *, width=12, apart=2.0, seed=0):
    """Vectors that are near to those of their class, more or less."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    centres = rng.normal(size=(num_classes, width))
    return unit_rows(apart * centres[labels] + rng.normal(size=(count, width)) * 2), labels


def drawn_pairs(units, labels):
    everything = np.arange(len(units))
    return draw_pairs(
        units, labels, everything, same=everything, groups=None, random=np.random.default_rng(0)
    )


def test_recall_and_precision_are_those_of_brute_force():
    units, labels = clusters(150, 5)
    found = ranking_measures(units, labels, same=np.arange(150))
    cosines = units.astype(np.float64) @ units.T.astype(np.float64)
    precisions, hits = [], []
    for image in range(150):
        others = np.delete(np.arange(150), image)
        relevant = labels[others] == labels[image]
        precisions.append(average_precision_score(relevant, cosines[image, others]))
        order = np.argsort(-cosines[image, others], kind="stable")
        hits.append([relevant[order[:depth]].any() for depth in (1, 5, 10)])
    assert found.mean_average_precision.value == pytest.approx(np.mean(precisions), abs=1e-6)
    assert [one.value for one in found.recall_at.values()] == np.mean(hits, axis=0).tolist()
    for estimate in (*found.recall_at.values(), found.mean_average_precision):
        assert estimate.low <= estimate.value <= estimate.high
    assert found.chance_at[1] == pytest.approx(29 / 149)


def test_several_labels_are_alike_where_one_is_shared():
    units = unit_rows([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]], np.int8)
    found = ranking_measures(units, labels, same=np.arange(4), depths=(1,))
    assert (found.num_asked, found.num_alone) == (2, 2)
    assert found.recall_at[1].value == 1


def test_copies_and_images_of_one_group_do_not_find_each_other():
    units = unit_rows([[1, 0], [1, 0], [0, 1], [0.3, 1], [0.2, 1]])
    labels = np.array([0, 0, 1, 1, 0])
    as_copies = ranking_measures(units, labels, same=np.array([0, 0, 1, 2, 3]), depths=(1,))
    alone = ranking_measures(units, labels, same=np.arange(5), depths=(1,))
    assert alone.recall_at[1].value > as_copies.recall_at[1].value
    grouped = ranking_measures(
        units, labels, same=np.arange(5), groups=np.array(list("xxyzw")), depths=(1,)
    )
    assert grouped.grouped
    assert grouped.recall_at[1].value == as_copies.recall_at[1].value


def test_of_many_images_some_are_asked():
    units, labels = clusters(300, 3)
    found = ranking_measures(units, labels, same=np.arange(300), most_asked=40)
    assert found.num_asked == 40


def test_labels_that_nobody_shares_measure_nothing():
    with pytest.raises(DataError, match="No two images that count have the same label"):
        ranking_measures(unit_rows(np.eye(3)), np.arange(3), same=np.arange(3))


def test_the_false_accept_rate_is_kept_on_other_images():
    """Over 40 draws the mean rate is what was stated; each lies in its interval mostly."""
    rates, inside = [], 0
    for seed in range(40):
        units, labels = clusters(240, 6, seed=seed)
        found = verify_pairs(units, labels, false_accept_rate=0.05, seed=seed)
        rates.append(found.false_accepts.value)
        inside += found.false_accepts.low <= 0.05 <= found.false_accepts.high
    assert np.mean(rates) == pytest.approx(0.05, abs=0.01)
    assert inside >= 34


def test_the_area_is_that_of_scikit_learn():
    units, labels = clusters(120, 4)
    found = verify_pairs(units, labels, false_accept_rate=0.1)
    assert found.parted_by == "images"
    curve = np.array(found.curve)
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(found.area.value, abs=0.01)
    pairs = drawn_pairs(units, labels)
    assert len(pairs.same) == 120 * 119 // 2
    assert np.array_equal(pairs.same, labels[pairs.images[:, 0]] == labels[pairs.images[:, 1]])
    both = units.astype(np.float64)
    expected = np.sum(both[pairs.images[:, 0]] * both[pairs.images[:, 1]], axis=1)
    np.testing.assert_allclose(pairs.cosines, expected, atol=1e-6)
    area = roc_auc_score(pairs.same, pairs.cosines)
    assert area == pytest.approx(found.area.value, abs=0.05)


@pytest.mark.parametrize(
    ("num_classes", "grouped", "apart"), [(30, False, "classes"), (3, True, "groups")]
)
def test_the_two_parts_share_nothing(num_classes, grouped, apart):
    units, labels = clusters(240, num_classes)
    groups = np.arange(240) // 6 if grouped else None
    found = verify_pairs(units, labels, false_accept_rate=0.05, groups=groups)
    assert found.parted_by == apart


def test_pairs_of_very_many_images_are_drawn(monkeypatch):
    monkeypatch.setattr("kerastl.retrieval.verification._MOST_SAME", 200)
    monkeypatch.setattr("kerastl.retrieval.verification._MOST_DIFFERENT", 300)
    units, labels = clusters(600, 5)
    pairs = drawn_pairs(units, labels)
    assert (np.sum(pairs.same), np.sum(~pairs.same)) == (200, 300)
    assert np.array_equal(pairs.same, labels[pairs.images[:, 0]] == labels[pairs.images[:, 1]])
    assert len(np.unique(pairs.images, axis=0)) == 500


def test_a_rate_that_so_few_pairs_cannot_show():
    units, labels = clusters(40, 4)
    with pytest.raises(ConfigError, match=r"`false_accept_rate` must be .* or more"):
        verify_pairs(units, labels, false_accept_rate=1e-6)
    for number in (96, 97, 1_003):
        assert float(_rounded_up(1 / (number + 1))) >= 1 / (number + 1)
    assert _rounded_up(1 / 97) == "0.011"
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        verify_pairs(units, labels, false_accept_rate=0)
    with pytest.raises(DataError, match="of different labels"):
        verify_pairs(units, np.zeros(40, int))


def test_whitened_vectors_are_white():
    rng = np.random.default_rng(0)
    units = unit_rows(rng.normal(size=(5_000, 9)) * np.array([9, 7, 5, 3, 2, 1, 1, 1, 1]) + 3)
    whitening = fit_whitening(units, np.arange(5_000), dimensions=4)
    projected = (units - whitening.mean) @ whitening.projection
    np.testing.assert_allclose(np.cov(projected.T), np.eye(4), atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(whitening.apply(units), axis=1), 1, atol=1e-5)


def test_whitening_comes_back_from_its_file(tmp_path):
    units = unit_rows(np.random.default_rng(0).normal(size=(50, 6)))
    whitening = fit_whitening(units, np.arange(50), dimensions=3)
    write_whitening(tmp_path / "w.npz", whitening)
    again = read_whitening(tmp_path / "w.npz")
    np.testing.assert_array_equal(again.apply(units), whitening.apply(units))
    (tmp_path / "w.npz").write_bytes(b"PK nothing")
    with pytest.raises(ConfigError, match="missing or damaged"):
        read_whitening(tmp_path / "w.npz")


def test_directions_that_are_not_there_cannot_be_whitened():
    units = unit_rows(np.random.default_rng(0).normal(size=(50, 2)) @ np.ones((2, 6)))
    with pytest.raises(ConfigError, match="differ in no more directions"):
        fit_whitening(units, np.arange(50), dimensions=4)


def test_copies_of_a_file_prove_nothing():
    """Features that say nothing, every file twice: copies would be pairs that are told exactly."""
    random = np.random.default_rng(0)
    units = unit_rows(random.normal(size=(200, 64)))
    labels = np.arange(200) % 40
    twice, both = np.repeat(units, 2, axis=0), np.repeat(labels, 2)
    pictures = np.repeat(np.arange(200), 2)
    found = verify_pairs(twice, both, same=pictures, false_accept_rate=0.05)
    assert found.area.low < 0.5 < found.area.high
    assert found.true_accepts.low < 0.05 < found.true_accepts.high
    fooled = verify_pairs(twice, both, false_accept_rate=0.05)
    assert fooled.area.value > found.area.value + 0.03
    # A file under two labels is no pair of different ones either.
    pairs = draw_pairs(
        twice,
        np.arange(400) % 2,
        np.arange(400),
        same=pictures,
        groups=None,
        random=random,
    )
    assert pairs.cosines.max() < 0.9


def test_pairs_are_drawn_from_all_classes_alike(monkeypatch):
    monkeypatch.setattr("kerastl.retrieval.verification._MOST_SAME", 3_000)
    monkeypatch.setattr("kerastl.retrieval.verification._MOST_DIFFERENT", 3_000)
    labels = np.concatenate(
        [np.repeat(np.arange(1_000), 2), np.repeat(np.arange(1_000, 1_010), 60)]
    )
    units = unit_rows(np.random.default_rng(0).normal(size=(len(labels), 4)))
    pairs = drawn_pairs(units, labels)
    small = labels[pairs.images[pairs.same, 0]] < 1_000
    # 1,000 of 18,700 pairs of one label are of the small classes.
    assert small.mean() == pytest.approx(1_000 / 18_700, rel=0.25)


def test_what_chance_gives_is_not_praised():
    index = SimpleNamespace(settings=SimpleNamespace(options={"backbone": "any"}))
    units, labels = clusters(60, 3)
    one = ranking_measures(units, np.zeros(60, int), same=np.arange(60))
    assert "these numbers say nothing" in " ".join(ranking_lines(index, one))
    # Every image beside one of another class, and far from its own.
    pairs = unit_rows(np.repeat(np.random.default_rng(0).normal(size=(40, 30)), 2, axis=0))
    found = ranking_measures(pairs, np.arange(80) % 2, same=np.arange(80))
    assert "less than chance" in " ".join(ranking_lines(index, found))
    usual = " ".join(ranking_lines(index, ranking_measures(units, labels, same=np.arange(60))))
    assert "say nothing" not in usual
    assert "less than chance" not in usual
