"""Sisters on both sides of a split are noticed; chance, and splits by groups, are not."""

import numpy as np
import pytest

from kerastl.data.candidate_groups import (
    folder_groups,
    merge_copies,
    name_groups,
    run_groups,
    suggest_groups,
)
from kerastl.data.demo import table_from_demo
from kerastl.data.duplicates import centred_units
from kerastl.data.leakage import file_ranks, group_test, nearest_training_rows, order_test
from kerastl.data.nearest import Neighbours, nearest_rows, unit_rows
from kerastl.data.scan import scan_images
from kerastl.data.splits import split_rows
from kerastl.data.table import subset


def series(*, length, count, noise=0.5, seed=0):
    """Return unit features of images that come in series, and the series of each."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(count), length)
    features = rng.normal(size=(count, 32))[numbers] + noise * rng.normal(size=(len(numbers), 32))
    return unit_rows(features), numbers


def random_split(count, seed=0):
    return np.where(np.random.default_rng(seed).random(count) < 0.3, "test", "train")


def test_series_in_order_are_noticed_and_their_length_is_read():
    units, numbers = series(length=20, count=40)
    classes = numbers % 2
    ids = tuple(f"scan_{row}.png" for row in range(800))
    splits = random_split(800)
    nearest = nearest_training_rows(classes, splits, units=units)
    test = order_test(nearest, classes, splits, ranks=file_ranks(ids))
    assert test.suspicious
    assert test.observed > 0.6
    # Exactly: the mean over held-out rows of the share of training rows within ten places.
    train = splits == "train"
    chances = []
    for row in np.flatnonzero(nearest >= 0):
        members = np.flatnonzero(classes == classes[row])
        place = {member: number for number, member in enumerate(members.tolist())}
        standing = [one for one in members.tolist() if train[one]]
        chances.append(np.mean([abs(place[one] - place[row]) <= 10 for one in standing]))
    assert test.expected == pytest.approx(np.mean(chances))
    groups = run_groups(ids, classes, nearest)
    sizes = np.unique(groups, return_counts=True)[1]
    assert 12 <= np.median(sizes) <= 30


@pytest.mark.parametrize("seed", range(5))
def test_images_without_series_are_no_leak(seed):
    units, _ = series(length=1, count=600, seed=seed)
    classes = np.arange(600) % 3
    splits = random_split(600, seed=seed)
    nearest = nearest_training_rows(classes, splits, units=units)
    ranks = np.arange(600)
    order = order_test(nearest, classes, splits, ranks=ranks)
    assert not order.suspicious
    assert order.observed == pytest.approx(order.expected, abs=0.08)
    groups = (ranks // 20).astype(str)
    assert not group_test(nearest, classes, splits, groups=groups, by="groups").suspicious


def test_a_split_by_groups_is_no_leak():
    units, numbers = series(length=20, count=40)
    classes = numbers % 2
    splits = split_rows(classes, val_fraction=0.15, test_fraction=0.2, seed=0, groups=numbers)
    nearest = nearest_training_rows(classes, splits, units=units)
    test = order_test(nearest, classes, splits, ranks=np.arange(800))
    assert test.num_rows > 200
    assert not test.suspicious


def test_neighbours_and_units_agree():
    units, numbers = series(length=10, count=20)
    classes, splits = numbers % 2, random_split(200)
    by_units = nearest_training_rows(classes, splits, units=units)
    all_of_all = nearest_rows(units, num_neighbours=199)
    np.testing.assert_array_equal(
        nearest_training_rows(classes, splits, neighbours=all_of_all), by_units
    )
    held_out = splits == "test"
    assert (by_units[~held_out] == -1).all()
    assert (splits[by_units[held_out]] == "train").all()
    assert (classes[by_units[held_out]] == classes[held_out]).all()
    none = Neighbours(np.full((200, 1), -1), np.full((200, 1), -1, np.float32))
    assert (nearest_training_rows(classes, splits, neighbours=none) == -1).all()


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("patient{series:02}_{number:03}.png", "file names"),
        ("patient {series}/{number}.png", "folders"),
        ("{row}.png", "runs of rows"),
    ],
)
def test_groups_are_read_from_folders_names_or_runs(pattern, source):
    units, numbers = series(length=12, count=30)
    classes = numbers % 2
    ids = tuple(
        f"data/{'ab'[classes[row]]}/"
        + pattern.format(series=numbers[row], number=row % 12, row=row)
        for row in range(360)
    )
    splits = random_split(360)
    nearest = nearest_training_rows(classes, splits, units=units)
    tests = {"order": order_test(nearest, classes, splits, ranks=file_ranks(ids))}
    for by, groups in (("folders", folder_groups(ids)), ("file names", name_groups(ids))):
        tests[by] = group_test(nearest, classes, splits, groups=groups, by=by)
    copies = np.arange(360)
    copies[100] = copies[0]
    groups, found = suggest_groups(ids, classes, nearest, tests=tests, copies=copies)
    assert found == source
    assert groups[100] == groups[0]
    if source != "runs of rows":
        for number in set(range(30)) - {0, 8}:
            assert len(set(groups[numbers == number])) == 1
        assert len(set(groups)) == 29


def test_copies_unite_groups_in_chains():
    groups = np.array(["a", "a", "b", "b", "c", "d"])
    united = merge_copies(groups, np.array([0, 1, 1, 2, 2, 3]))
    assert united.tolist() == ["a"] * 5 + ["d"]


def test_solar_cells_leak_unless_modules_stay_whole():
    """The first 720 cells of ELPV by thumbnails, so that it is quick."""
    pytest.importorskip("elpv_dataset")
    table = subset(table_from_demo("solar:P2"), np.arange(720))
    units = centred_units(scan_images(table).thumbnails)
    tests = []
    for groups in (None, table.groups):
        splits = split_rows(
            table.labels, val_fraction=0.15, test_fraction=0.2, seed=0, groups=groups
        )
        nearest = nearest_training_rows(table.labels, splits, units=units)
        tests.append(order_test(nearest, table.labels, splits, ranks=file_ranks(table.ids)))
    torn, whole = tests
    assert torn.suspicious
    assert torn.observed > 0.3
    assert not whole.suspicious
    assert whole.observed < 0.1
