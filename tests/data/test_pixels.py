"""Images are read once; what cannot be read is named; memory and file give the same pixels."""

import numpy as np
import pytest
from PIL import Image

from kerastl.data.pixels import encoded_image, load_pixels
from kerastl.data.preparation import prepare_image
from kerastl.data.sources import ImageTable, load_table, table_from_arrays
from kerastl.errors import ConfigError, DataError


def test_pixels_are_those_of_the_one_decode_function(colour_folder):
    table = load_table(colour_folder)
    pixels = load_pixels(table, image_size=(20, 24))
    assert pixels.images.shape == (36, 20, 24, 3)
    assert pixels.rows.tolist() == list(range(36))
    for row in (0, 17, 35):
        content = encoded_image(table, row)
        expected = prepare_image(content, image_size=(20, 24), resize_mode="stretch")
        np.testing.assert_array_equal(pixels.images[row], expected)


def test_more_than_the_budget_goes_to_a_file(colour_folder, tmp_path):
    table = load_table(colour_folder)
    in_memory = load_pixels(table, image_size=(16, 16))
    in_file = load_pixels(table, image_size=(16, 16), memory_budget_bytes=1000, directory=tmp_path)
    assert in_file.cache == "disk"
    assert isinstance(in_file.images, np.memmap)
    np.testing.assert_array_equal(in_file.images, in_memory.images)
    # The file has no name any more: it goes with the process, however that ends.
    assert list(tmp_path.iterdir()) == []


def test_what_fits_nowhere_is_read_anew(colour_folder, tmp_path, monkeypatch):
    table = load_table(colour_folder)
    in_memory = load_pixels(table, image_size=(16, 16))
    full = type("Usage", (), {"__getitem__": lambda *_: 100})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    pixels = load_pixels(table, image_size=(16, 16), memory_budget_bytes=1000, directory=tmp_path)
    assert pixels.cache == "none"
    np.testing.assert_array_equal(pixels.images[:], in_memory.images)


def test_a_full_disk_is_one_clear_line(colour_folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=r"No space left on device\. Make room, .* --cache none"):
        load_pixels(load_table(colour_folder), image_size=(9, 9), cache="disk", directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_is_checked(colour_folder):
    table = load_table(colour_folder)
    with pytest.raises(ConfigError, match="Did you mean 'memory'"):
        load_pixels(table, image_size=(9, 9), cache="memroy")
    with pytest.raises(ConfigError, match="needs a `directory`"):
        load_pixels(table, image_size=(9, 9), cache="disk")


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_unreadable_rows_are_left_out_of_every_cache(painter, tmp_path, cache):
    folder = painter(tmp_path / "photos", per_class=10)
    whole = load_pixels(load_table(folder), image_size=(8, 8)).images.copy()
    (folder / "1" / "picture 3.png").write_bytes(b"")
    pixels = load_pixels(load_table(folder), image_size=(8, 8), cache=cache, directory=tmp_path)
    assert [fault.row for fault in pixels.unreadable] == [3]
    np.testing.assert_array_equal(pixels.images[:], np.delete(whole, 3, axis=0))


def test_unreadable_files_are_named_and_left_out(painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=10)
    whole = (folder / "1" / "picture 0.png").read_bytes()
    (folder / "1" / "picture 3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "2" / "picture 4.png").write_bytes(b"")
    table = load_table(folder)
    pixels = load_pixels(table, image_size=(8, 8))
    assert [(fault.id.split("/")[-2:], fault.reason) for fault in pixels.unreadable] == [
        (["1", "picture 3.png"], "damaged or truncated PNG"),
        (["2", "picture 4.png"], "the file is empty"),
    ]
    assert len(pixels.images) == len(pixels.rows) == 28
    assert {fault.row for fault in pixels.unreadable} | set(pixels.rows) == set(range(30))
    with pytest.raises(DataError, match="2 of 30 images cannot be read, more than 1%"):
        load_pixels(table, image_size=(8, 8), unreadable_fraction=0.01)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_and_their_png_give_the_same_pixels(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 20, 20, channels), np.uint8)
    table = table_from_arrays(images, [0, 1] * 3)
    encoded = ImageTable(
        name="encoded",
        ids=table.ids,
        labels=table.labels,
        class_names=table.class_names,
        contents=tuple(encoded_image(table, row) for row in range(6)),
    )
    np.testing.assert_array_equal(
        load_pixels(table, image_size=(12, 12)).images,
        load_pixels(encoded, image_size=(12, 12)).images,
    )


def test_a_file_that_vanished_is_said(painter, tmp_path):
    folder = painter(tmp_path / "photos", per_class=3)
    table = load_table(folder)
    Image.new("RGB", (4, 4)).save(folder / "1" / "picture 0.png")
    (folder / "1" / "picture 0.png").unlink()
    with pytest.raises(DataError, match="can no longer be read"):
        encoded_image(table, table.ids.index(str(folder / "1" / "picture 0.png")))
