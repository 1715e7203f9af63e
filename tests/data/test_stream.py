"""Images that are read when asked for are those that are kept in memory."""

import numpy as np
import pytest

from kerastl.data.batches import training_batches
from kerastl.data.pixels import load_pixels
from kerastl.data.sources import load_table, table_from_arrays
from kerastl.data.stream import ImageStream, in_threads
from kerastl.errors import DataError


def test_a_stream_gives_what_an_array_gives(colour_folder):
    table = load_table(colour_folder)
    kept = load_pixels(table, image_size=(16, 12)).images
    stream = ImageStream(table, image_size=(16, 12))
    assert stream.shape == kept.shape
    assert len(stream) == len(kept)
    np.testing.assert_array_equal(stream[7], kept[7])
    np.testing.assert_array_equal(stream[-3:], kept[-3:])
    rows = np.array([35, 0, 0, 11])
    np.testing.assert_array_equal(stream[rows], kept[rows])
    assert stream[np.array([], np.int64)].shape == (0, 16, 12, 3)
    part = ImageStream(table, image_size=(16, 12), rows=np.array([30, 4]))
    np.testing.assert_array_equal(part[:], kept[[30, 4]])


def test_arrays_stream_too():
    rng = np.random.default_rng(0)
    table = table_from_arrays(rng.integers(0, 256, (5, 9, 9, 4), np.uint8), [0, 1, 0, 1, 0])
    stream = ImageStream(table, image_size=(9, 9))
    np.testing.assert_array_equal(stream[:], table.contents[..., :3])


def test_batches_are_the_same_from_memory_and_from_a_stream(colour_folder):
    table = load_table(colour_folder)
    targets = np.eye(3, dtype=np.float32)[table.labels]
    options = {"batch_size": 8, "augment": "light", "seed": 3}
    rows = np.arange(36)
    kept = load_pixels(table, image_size=(16, 16)).images
    stream = ImageStream(table, image_size=(16, 16))
    for one, other in zip(
        training_batches(kept, targets, rows, **options),
        training_batches(stream, targets, rows, **options),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_a_file_that_goes_bad_during_a_run_is_named(painter, tmp_path):
    table = load_table(painter(tmp_path / "photos", per_class=4))
    pixels = load_pixels(table, image_size=(8, 8), cache="none")
    assert pixels.cache == "none"
    with open(table.ids[3], "wb") as file:
        file.write(b"gone")
    assert pixels.images[:3].shape == (3, 8, 8, 3)
    with pytest.raises(DataError, match="Files must not change during a run"):
        pixels.images[:5]


def test_results_come_in_order_and_errors_through():
    assert list(in_threads(lambda row: row * row, range(1500))) == [n * n for n in range(1500)]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda row: 1 // (row - 700), range(1500)))
