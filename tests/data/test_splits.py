"""Splits and folds: whole, stratified, grouped, seeded, and clear when they cannot be."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastl.data.splits import check_class_sizes, fold_rows, split_rows
from kerastl.errors import ConfigError, DataError

quick = settings(max_examples=30, deadline=None, derandomize=True, database=None)
fractions = st.sampled_from([(0.15, 0.2), (0.1, 0.1), (0.3, 0.3), (0.01, 0.01), (0.25, 0.5)])
seeds = st.integers(0, 2**31 - 1)


@st.composite
def class_labels(draw):
    """Shuffled labels of 2 to 5 classes with 3 to 40 rows each."""
    sizes = draw(st.lists(st.integers(3, 40), min_size=2, max_size=5))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(draw(seeds)).permutation(labels)


@st.composite
def label_sets(draw):
    """0 and 1 of 2 to 4 columns, each with at least three 1, and rows without any."""
    rng = np.random.default_rng(draw(seeds))
    labels = (rng.random((draw(st.integers(40, 80)), draw(st.integers(2, 4)))) < 0.3).astype(int)
    for column in range(labels.shape[1]):
        labels[rng.choice(len(labels), 6, replace=False), column] = 1
    return labels


def class_counts(labels, split, name):
    return np.bincount(labels[split == name], minlength=labels.max() + 1)


@quick
@given(labels=class_labels(), parts=fractions, seed=seeds)
def test_each_class_is_divided_by_the_fractions_within_one_row(labels, parts, seed):
    val_fraction, test_fraction = parts
    split = split_rows(labels, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    total = np.bincount(labels)
    by_name = {name: class_counts(labels, split, name) for name in ("train", "val", "test")}
    assert (sum(by_name.values()) == total).all()
    for name, fraction in (("val", val_fraction), ("test", test_fraction)):
        assert (by_name[name] >= 1).all()
        assert (np.abs(by_name[name] - fraction * total) <= 1).all()
    assert (by_name["train"] >= 1).all()


@quick
@given(labels=class_labels(), seed=seeds)
def test_the_same_seed_gives_the_same_split_and_folds(labels, seed):
    def divide():
        return split_rows(labels, val_fraction=0.15, test_fraction=0.2, seed=seed)

    assert (divide() == divide()).all()
    folds = [fold_rows(labels, num_folds=3, seed=seed) for _ in range(2)]
    assert (folds[0] == folds[1]).all()


def test_a_seed_means_the_same_split_on_every_machine():
    split = split_rows([0, 0, 0, 0, 1, 1, 1, 1], val_fraction=0.25, test_fraction=0.25, seed=7)
    assert " ".join(split) == "train test train val test train train val"
    other = split_rows([0, 0, 0, 0, 1, 1, 1, 1], val_fraction=0.25, test_fraction=0.25, seed=8)
    assert (split != other).any()


def test_strata_keep_their_proportions_even_when_they_are_small():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [400, 200]))
    strata = rng.choice(["a", "b", "c", "rare"], 600, p=[0.6, 0.3, 0.097, 0.003])
    split = split_rows(labels, val_fraction=0.15, test_fraction=0.25, seed=3, strata=strata)
    for label in (0, 1):
        for stratum in ("a", "b", "c"):
            here = (labels == label) & (strata == stratum)
            for name, fraction in (("val", 0.15), ("test", 0.25)):
                assert abs((split[here] == name).sum() - fraction * here.sum()) <= 2
    assert (class_counts(labels, split, "test") == [100, 50]).all()


@quick
@given(num_groups=st.integers(9, 40), num_classes=st.integers(2, 3), parts=fractions, seed=seeds)
def test_groups_stay_whole_and_every_class_is_everywhere(num_groups, num_classes, parts, seed):
    rng = np.random.default_rng(seed)
    group_class = rng.permutation(np.arange(num_groups) % num_classes)
    groups = np.repeat(np.arange(num_groups), rng.integers(1, 12, num_groups))
    labels = group_class[groups]
    order = rng.permutation(len(labels))
    groups, labels = groups[order], labels[order]
    split = split_rows(
        labels, val_fraction=parts[0], test_fraction=parts[1], seed=seed, groups=groups
    )
    for group in range(num_groups):
        assert len(set(split[groups == group])) == 1
    for name in ("train", "val", "test"):
        assert (class_counts(labels, split, name) > 0).all()


def test_many_groups_keep_fractions_classes_and_strata():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(120), rng.integers(3, 15, 120))
    kind = np.where(rng.random(120) < 0.3, "mono", "poly")[groups]
    labels = (rng.random(len(groups)) < np.where(kind == "mono", 0.7, 0.2)).astype(int)
    split = split_rows(
        labels, val_fraction=0.15, test_fraction=0.25, seed=0, groups=groups, strata=kind
    )
    for name, fraction in (("val", 0.15), ("test", 0.25)):
        for here in (labels == 0, labels == 1, kind == "mono", labels >= 0):
            assert (split[here] == name).mean() == pytest.approx(fraction, abs=0.015)


def test_seeds_give_different_groups_to_the_test_even_when_sizes_are_equal():
    labels, groups = np.tile([0, 0, 1, 1], 30), np.repeat(np.arange(30), 4)
    splits = {
        tuple(split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=seed, groups=groups))
        for seed in range(4)
    }
    assert len(splits) == 4


def test_a_class_in_three_groups_of_many_reaches_every_split():
    labels = np.array([0] * 60 + [1] * 3)
    groups = np.array([*np.repeat(np.arange(20), 3), 0, 7, 19])
    for seed in range(5):
        split = split_rows(labels, val_fraction=0.1, test_fraction=0.1, seed=seed, groups=groups)
        assert sorted(split[60:]) == ["test", "train", "val"]


@quick
@given(labels=label_sets(), seed=seeds)
def test_several_labels_are_divided_rarest_first(labels, seed):
    split = split_rows(labels, val_fraction=0.2, test_fraction=0.3, seed=seed)
    for name, fraction in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        here = split == name
        assert (labels[here].sum(axis=0) >= 1).all()
        assert abs(here.sum() - fraction * len(labels)) <= 3
        assert (np.abs(labels[here].sum(axis=0) - fraction * labels.sum(axis=0)) <= 4).all()


def test_several_labels_stay_whole_with_groups():
    rng = np.random.default_rng(0)
    labels = (rng.random((90, 3)) < 0.4).astype(np.int8)
    groups = np.repeat(np.arange(30), 3).astype(str)
    split = split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=0, groups=groups)
    assert all(len(set(split[groups == group])) == 1 for group in set(groups))
    assert all((labels[split == name].sum(axis=0) > 0).all() for name in ("train", "val", "test"))


def test_given_splits_stay_and_validation_is_cut_from_training():
    labels = np.tile([0, 1], 50)
    given_splits = np.array(["train"] * 80 + ["test"] * 20)
    split = split_rows(labels, val_fraction=0.25, test_fraction=0.5, seed=0, given=given_splits)
    assert (split[80:] == "test").all()
    assert (split[:80] == "val").sum() == 20
    assert (split == "test").sum() == 20


def test_complete_given_splits_stay_as_they_are():
    given_splits = np.array(["train", "val", "test"] * 6)
    split = split_rows([0] * 9 + [1] * 9, val_fraction=0.1, test_fraction=0.1, seed=0,
                       given=given_splits)  # fmt: skip
    assert (split == given_splits).all()


def test_free_rows_are_divided_before_given_training_rows():
    labels = np.tile([0, 1], 20)
    given_splits = np.array(["train"] * 20 + [""] * 20)
    split = split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=0, given=given_splits)
    assert (split[:20] == "train").all()
    assert [(split[20:] == name).sum() for name in ("train", "val", "test")] == [12, 4, 4]


def test_free_rows_follow_their_group():
    labels = np.tile([0, 1], 12)
    groups = np.repeat(np.arange(12), 2)
    given_splits = np.array(["test", ""] * 3 + ["train"] * 18)
    split = split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=0, groups=groups,
                       given=given_splits)  # fmt: skip
    assert (split[:6] == "test").all()


def test_given_splits_that_tear_a_group_apart_are_refused():
    with pytest.raises(DataError, match=r"put group 'p1' into both train and test.*whole groups"):
        split_rows([0, 1, 0, 1], val_fraction=0.2, test_fraction=0.2, seed=0,
                   groups=["p1", "p1", "p1", "p2"], given=["train", "train", "test", "train"],
                   )  # fmt: skip


def test_a_class_that_given_test_rows_lack_is_logged(caplog):
    given_splits = ["train", "val", "test"] * 2 + ["train", "val"]
    with caplog.at_level(logging.WARNING):
        split_rows([0] * 6 + [1] * 2, val_fraction=0.2, test_fraction=0.2, seed=0,
                   given=given_splits, class_names=["cat", "dog"])  # fmt: skip
    assert "given test split has no image of 1 of 2 classes, such as 'dog'" in caplog.text


@pytest.mark.parametrize(
    ("labels", "options", "advice"),
    [
        ([0, 0, 0, 1], {"class_names": ["cat", "dog"]}, "Class 'dog' has 1 image;.*Add images or"),
        ([0, 1, 1, 2, 2, 2], {}, "Classes 0 has 1 image, 1 has 2 images; .* at least 3.*drop"),
        ([0, 0, 0, 2, 2, 2], {"class_names": "abc"}, "Class 'b' has 0 images"),
        (list(range(9)), {}, "4 has 1 image and 4 more classes have too few"),
        ([0, 0, 1], {"given": ["train", "val", "test"]}, "Class 1 is in test but not in train"),
        ([0, 1], {"given": ["test", "test"]}, "leave no image for training"),
        ([0, 1], {"given": ["train", "tset"]}, "received 'tset'. Did you mean 'test'"),
        ([0] * 4 + [1] * 4, {"groups": [1, 2, 3, 4, 1, 1, 2, 2]}, "Class 1 is in 2 groups;.*finer"),
        ([[1, 0], [0, 1], [1, 1], [1, 0]], {}, "Class 1 has 2 images"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_divided_are_named(labels, options, advice):
    with pytest.raises(DataError, match=advice):
        check_class_sizes(labels, **options)
    with pytest.raises(DataError, match=advice):
        split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=0, **options)


def test_groups_that_cannot_be_divided_are_refused_after_all_tries():
    # Each class needs its three groups in three splits; no division does that for all three.
    labels = [[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]
    with pytest.raises(DataError, match=r"No division of groups in 20 tries.*split column"):
        split_rows(labels, val_fraction=0.3, test_fraction=0.3, seed=0, groups=[0, 1, 2, 3])


@pytest.mark.parametrize("parts", [(0, 0.2), (0.2, 0), (0.5, 0.5), (0.2, -1), (1.0, 0.1)])
def test_fractions_that_leave_a_split_empty_are_refused(parts):
    with pytest.raises(ConfigError, match="leave rows to train on"):
        split_rows([0, 1] * 9, val_fraction=parts[0], test_fraction=parts[1], seed=0)


@pytest.mark.parametrize("labels", [[0.5, 1.0], ["a", "b"], [], [[[1]]], [-1, 0], [[2, 0]]])
def test_labels_of_another_kind_are_refused(labels):
    with pytest.raises(DataError, match="`labels` must be class numbers"):
        split_rows(labels, val_fraction=0.2, test_fraction=0.2, seed=0)


def test_columns_of_another_length_are_refused():
    for column in ("strata", "groups", "given"):
        with pytest.raises(DataError, match=f"`{column}` must have one value for each of the 6"):
            split_rows([0, 1] * 3, val_fraction=0.2, test_fraction=0.2, seed=0, **{column: ["a"]})


@quick
@given(labels=class_labels(), num_folds=st.integers(2, 8), seed=seeds)
def test_folds_are_balanced_in_rows_and_classes(labels, num_folds, seed):
    folds = fold_rows(labels, num_folds=num_folds, seed=seed)
    num_folds = min(num_folds, len(labels))
    sizes = np.bincount(folds, minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
    for label in np.unique(labels):
        counts = np.bincount(folds[labels == label], minlength=num_folds)
        assert counts.max() - counts.min() <= 1


@quick
@given(num_groups=st.integers(2, 12), num_folds=st.integers(2, 6), seed=seeds)
def test_group_folds_are_whole_and_never_empty(num_groups, num_folds, seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), rng.integers(1, 9, num_groups))
    labels = rng.integers(0, 3, len(groups))
    folds = fold_rows(labels, num_folds=num_folds, seed=seed, groups=groups)
    assert set(folds) == set(range(min(num_folds, num_groups)))
    assert all(len(set(folds[groups == group])) == 1 for group in range(num_groups))


@quick
@given(labels=label_sets(), seed=seeds)
def test_folds_of_several_labels_are_balanced(labels, seed):
    folds = fold_rows(labels, num_folds=4, seed=seed)
    for fold in range(4):
        assert abs((folds == fold).sum() - len(labels) / 4) <= 3
        assert (np.abs(labels[folds == fold].sum(axis=0) - labels.sum(axis=0) / 4) <= 4).all()


def test_fewer_rows_or_groups_than_folds():
    assert sorted(fold_rows([0, 0, 1], num_folds=5, seed=0)) == [0, 1, 2]
    with pytest.raises(DataError, match=r"at least 2 groups.*received 1. Add images of other"):
        fold_rows([0, 1], num_folds=2, seed=0, groups=["a", "a"])
    with pytest.raises(DataError, match="at least 2 images"):
        fold_rows([0], num_folds=2, seed=0)
    with pytest.raises(ConfigError, match=r"whole number of 2 or more; received num_folds=1\."):
        fold_rows([0, 1], num_folds=1, seed=0)
