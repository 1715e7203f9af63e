"""The table itself, and images that are in memory already."""

import numpy as np
import pytest

from kerastl.data.table import ImageTable, natural_order, table_from_arrays
from kerastl.errors import DataError

GREY = np.zeros((4, 5, 6), np.uint8)


def test_natural_order():
    names = ["img10", "img9", "Img1", "b", "B", "10", "2", "01", "1", "", "é"]
    assert natural_order([*names, "b"]) == (
        "", "01", "1", "2", "10", "B", "b", "Img1", "img9", "img10", "é"
    )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_are_kept_as_they_are(channels):
    images = np.full((4, 5, 6, channels), 200, np.uint8)
    assert table_from_arrays(images, [0, 0, 1, 1]).contents is images


def test_grey_images_get_a_channel():
    assert table_from_arrays(GREY, [0, 0, 1, 1]).contents.shape == (4, 5, 6, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint16"])
def test_other_numbers_from_0_to_255_are_rounded(dtype):
    images = (GREY + 199.6).astype(dtype)
    table = table_from_arrays(images, [0, 0, 1, 1])
    assert table.contents.dtype == np.uint8
    assert table.contents.max() == (200 if dtype.startswith("f") else 199)


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (np.full((4, 5, 6), 0.5), "looks scaled to 0..1. Pass .images . 255."),
        (np.full((4, 5, 6), -1.0), "values from -1.0 to -1.0. Undo any scaling"),
        (np.full((4, 5, 6), np.nan), "Undo any scaling"),
        (np.full((4, 5, 6), 4000, np.uint16), "values from 4000 to 4000"),
        (np.zeros((4, 5)), r"received shape \(4, 5\).*folder of files"),
        (np.zeros((4, 5, 6, 7), np.uint8), "1 to 4 channels"),
        (np.zeros((4, 5, 6), bool), "received dtype bool"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "Resize images to one size first"),
    ],
)
def test_what_is_no_pixels(images, advice):
    with pytest.raises(DataError, match=advice):
        table_from_arrays(images, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("labels", "class_names", "expected", "names"),
    [
        ([10, 2, 10, 2], None, [1, 0, 1, 0], ("2", "10")),
        (["b", "a", "b", "a"], None, [1, 0, 1, 0], ("a", "b")),
        ([[1], [0], [1], [0]], None, [1, 0, 1, 0], ("0", "1")),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], None, [1, 0, 1, 0], ("0", "1")),
        ([1, 0, 1, 0], ["z", "a"], [1, 0, 1, 0], ("z", "a")),
        (["z", "a", "a", "z"], ["z", "a"], [0, 1, 1, 0], ("z", "a")),
        ([True, False, True, False], None, [1, 0, 1, 0], ("False", "True")),
    ],
)
def test_labels_and_class_names(labels, class_names, expected, names):
    table = table_from_arrays(GREY, labels, class_names=class_names)
    assert table.labels.tolist() == expected
    assert table.labels.dtype == np.int64
    assert table.class_names == names
    assert not table.multi_label


def test_several_labels():
    labels = [[1, 1], [0, 0], [0, 1], [1, 0]]
    table = table_from_arrays(GREY, labels, class_names=["sea", "sun"])
    assert table.multi_label
    assert table.labels.dtype == np.int8
    assert table.labels.tolist() == labels


@pytest.mark.parametrize(
    ("labels", "class_names", "advice"),
    [
        ([0, 1, 2, 0], ["a", "b"], "`labels` has .*2.*, which is none of the 2 `class_names`"),
        (["a", "c", "a", "a"], ["a", "b"], "has .*'c'.*none of the 2 `class_names` 'a', 'b'"),
        ([0.5, 1, 0, 0], None, "class numbers or text.*received dtype float64"),
        ([0, 1], None, "received 4 images and 2 labels"),
        ([[1, 1], [0, 0], [0, 1], [1, 0]], ["a"], "one column for each of the 1 class names"),
        ([[1, 0], [0, 1], [0, 1], [1, 0]], ["a"], "one column for each of the 1 class names"),
    ],
)
def test_labels_that_do_not_fit(labels, class_names, advice):
    with pytest.raises(DataError, match=advice):
        table_from_arrays(GREY, labels, class_names=class_names)


def test_columns_of_another_length():
    with pytest.raises(DataError, match="`groups` must have one value for each of the 4 images"):
        table_from_arrays(GREY, [0, 0, 1, 1], groups=["a"])


def test_a_table_is_frozen():
    table = ImageTable(name="t", ids=("a",), labels=np.zeros(1, np.int64), class_names=("x",))
    with pytest.raises(AttributeError):
        table.name = "other"
