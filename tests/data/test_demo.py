"""The demo tasks have the numbers of the publication."""

import importlib.util
import os

import numpy as np
import pytest

from kerastl.data.demo import table_from_demo
from kerastl.data.sources import load_table
from kerastl.data.splits import split_rows
from kerastl.errors import DataError

needs_demo = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="pip install kerastl[demo]"
)


@needs_demo
@pytest.mark.parametrize(
    ("task", "class_names", "counts"),
    [
        ("P1", ("functional", "defective"), [1508 + 295, 106 + 715]),
        ("P2", ("functional", "defective"), [1508 + 295, 106 + 715]),
        ("P3", ("functional", "defective"), [1508, 715]),
        ("P4", ("0%", "33%", "67%", "100%"), [1508, 295, 106, 715]),
    ],
)
def test_tasks_have_the_published_counts(task, class_names, counts):
    table = load_table(f"demo:solar:{task}")
    assert table.name == f"solar-{task}"
    assert table.class_names == class_names
    assert np.bincount(table.labels).tolist() == counts
    assert all(os.path.isfile(path) for path in table.ids)
    assert len(set(table.strata)) == (4 if task == "P3" else 8)


@needs_demo
def test_without_a_task_it_is_the_first():
    assert load_table("demo:solar").name == "solar-P1"
    assert load_table("demo:solar").groups is None


@needs_demo
def test_pseudo_modules_are_as_many_as_the_paper_has():
    table = load_table("demo:solar:P2")
    names, sizes = np.unique(table.groups, return_counts=True)
    assert len(names) == 44
    assert sum(name.startswith("mono") for name in names) == 18
    assert (sizes.min(), sizes.max()) == (48, 72)
    runs = 1 + (table.groups[1:] != table.groups[:-1]).sum()
    assert runs == 44


@needs_demo
def test_the_protocol_split_is_stratified_by_probability_and_type():
    table = load_table("demo:solar:P1")
    split = split_rows(
        table.labels, val_fraction=0.15, test_fraction=0.25, seed=0, strata=table.strata
    )
    assert abs((split == "test").sum() - 656) <= 1
    for stratum in set(table.strata):
        here = table.strata == stratum
        assert abs((split[here] == "test").sum() - 0.25 * here.sum()) <= 2


@needs_demo
def test_whole_modules_keep_the_share_of_defects():
    table = load_table("demo:solar:P2")
    for seed in range(3):
        split = split_rows(
            table.labels, val_fraction=0.15, test_fraction=0.25, seed=seed,
            strata=table.strata, groups=table.groups,
        )  # fmt: skip
        for name, fraction in (("val", 0.15), ("test", 0.25)):
            here = split == name
            assert here.mean() == pytest.approx(fraction, abs=0.03)
            assert table.labels[here].mean() == pytest.approx(table.labels.mean(), abs=0.05)


def test_without_the_package_it_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install kerastl\[demo\] .*CC BY-NC-SA"):
        table_from_demo("solar")
