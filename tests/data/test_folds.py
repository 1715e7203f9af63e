"""Cross-validation as runs: every image is tested once."""

import numpy as np
import pytest

from kerastl.data.folds import split_rows_of_fold
from kerastl.errors import DataError

LABELS = np.array([0] * 40 + [1] * 60)
OPTIONS = {"num_folds": 5, "val_fraction": 0.2, "seed": 4}


def folds(**options):
    return [split_rows_of_fold(LABELS, fold=k, **(OPTIONS | options)) for k in range(1, 6)]


def test_every_image_is_tested_once_and_classes_stay_in_proportion():
    splits = folds()
    assert (np.sum([split == "test" for split in splits], axis=0) == 1).all()
    for split in splits:
        assert np.bincount(LABELS[split == "test"]).tolist() == [8, 12]
        assert np.bincount(LABELS[split == "val"]).tolist() == [8, 12]


def test_groups_stay_whole():
    groups = np.arange(100) // 5
    for split in folds(groups=groups):
        assert all(len(set(split[groups == group])) == 1 for group in range(20))
        assert set(split) == {"train", "val", "test"}


def test_given_training_rows_stay_and_a_given_test_split_is_refused():
    given = np.full(100, "")
    given = given.astype("<U5")
    given[::10] = "train"
    splits = folds(given=given)
    assert all((split[::10] == "train").all() for split in splits)
    assert np.sum([split == "test" for split in splits], axis=0).sum() == 90
    given[1] = "test"
    with pytest.raises(DataError, match="Leave --fold or the given split out"):
        folds(given=given)


def test_too_few_groups():
    with pytest.raises(DataError, match=r"5 folds need at least 5 groups; there are 3.*--fold 1/3"):
        folds(groups=np.arange(100) % 3)
