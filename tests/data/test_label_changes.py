"""What a person decided about labels is done, and what cannot be done is one clear line."""

from dataclasses import replace

import numpy as np
import pytest

from kerastl.data.label_changes import read_label_changes, with_label_changes
from kerastl.data.table import subset, table_from_arrays
from kerastl.data_options import DataOptions
from kerastl.errors import DataError
from kerastl.plan import split_table

TABLE = table_from_arrays(np.zeros((4, 8, 8), np.uint8), ["cat", "dog", "cat", "dog"], name="x")


def written(tmp_path, text, header="path,suggested,action"):
    path = tmp_path / "label_candidates.csv"
    path.write_text(f"{header}\n{text}\n", encoding="utf-8")
    return path


def test_each_action_is_done(tmp_path):
    path = written(tmp_path, "x[0],dog,Relabel \nx[1],cat,keep\nx[2],dog,drop\nx[3],cat,")
    changes = read_label_changes(path)
    assert (changes.named("keep"), changes.named("drop")) == (("x[1]",), ("x[2]",))
    changed = with_label_changes(TABLE, changes)
    assert changed.ids == ("x[0]", "x[1]", "x[3]")
    assert [changed.class_names[label] for label in changed.labels] == ["dog", "dog", "dog"]
    assert changed.class_names == TABLE.class_names  # though no cat is left
    assert TABLE.labels.tolist() == [0, 1, 0, 1]  # what the user gave is as it was


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x[0],dog,delet", "line 2: 'delet'"),
        ("x[9],dog,drop", "name the image 'x\\[9\\]', which is not in the data"),
        ("x[0],dgo,relabel", "name the class 'dgo'.*Did you mean 'dog'"),
        ("x[0],,relabel", "name the class ''"),
        ("x[0],dog,relabel\nx[0],dog,drop", "say two things of 'x\\[0\\]'"),
    ],
)
def test_what_cannot_be_done_is_named(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        with_label_changes(TABLE, read_label_changes(written(tmp_path, text)))


def test_files_that_are_no_such_table(tmp_path):
    with pytest.raises(DataError, match="must have the columns path, suggested and action"):
        read_label_changes(written(tmp_path, "x[0],cat", header="path,label"))
    with pytest.raises(DataError, match="cannot be read"):
        read_label_changes(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="cannot be read"):
        read_label_changes(tmp_path / "empty.csv")
    several = table_from_arrays(np.zeros((2, 8, 8), np.uint8), [[1, 1], [0, 1]])
    with pytest.raises(DataError, match="one label per image"):
        with_label_changes(several, read_label_changes(written(tmp_path, "x[0],a,drop")))


@pytest.mark.parametrize("options", [{}, {"fold": "2/3"}])
def test_changed_labels_move_no_image_to_another_side(tmp_path, options):
    labels = np.random.default_rng(0).choice(["cat", "dog", "owl"], 90)
    table = table_from_arrays(np.zeros((90, 8, 8), np.uint8), labels, name="x")
    to_dog = [row for row in range(90) if labels[row] == "cat"][:7]
    owls = [row for row in range(90) if labels[row] == "owl" and row != 50][:2]
    lines = [f"x[{row}],dog,relabel" for row in to_dog] + [f"x[{row}],dog,drop" for row in owls]
    changed = with_label_changes(table, read_label_changes(written(tmp_path, "\n".join(lines))))
    config = DataOptions("x", **options)
    # A file that cannot be read is in neither run.
    readable = np.flatnonzero(np.arange(90) != 50)
    sides = dict(zip(subset(table, readable).ids, split_table(subset(table, readable), config),
                     strict=True))  # fmt: skip
    left = subset(changed, [row for row, id_ in enumerate(changed.ids) if id_ != "x[50]"])
    assert len(left.ids) == 87
    found = split_table(left, config)
    assert found.tolist() == [sides[id_] for id_ in left.ids]
    # Without what the table remembers, they would move.
    anew = split_table(replace(left, before=None), config)
    assert anew.tolist() != found.tolist()


def test_a_class_that_is_left_in_the_test_alone_is_refused(tmp_path):
    table = table_from_arrays(np.zeros((60, 8, 8), np.uint8), ["cat", "dog"] * 30, name="x")
    config = DataOptions("x")
    sides = split_table(table, config)
    trained = [row for row in range(0, 60, 2) if sides[row] == "train"]
    lines = "\n".join(f"x[{row}],dog,relabel" for row in trained)
    changed = with_label_changes(table, read_label_changes(written(tmp_path, lines)))
    with pytest.raises(DataError, match="'cat'"):
        split_table(changed, config)
