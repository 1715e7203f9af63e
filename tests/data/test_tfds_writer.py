"""What kerastl writes as a TFDS data set comes back the same, through TFDS and through kerastl."""

import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from kerastl.data import tfds_writer
from kerastl.data.decode import decode_image
from kerastl.data.folders import table_from_folder
from kerastl.data.pixels import encoded_image
from kerastl.data.table import ImageTable, subset, table_from_arrays
from kerastl.data.tfds import table_from_tfds
from kerastl.data.tfds_writer import write_tfds
from kerastl.errors import ConfigError, DataError

CLASSES = ("Käse 2", "naïve, wild", "ねこ 10")
FORMATS = ("jpg", "png", "webp", "bmp", "gif")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes with ten files each, two of each format, of different sizes."""
    folder = tmp_path_factory.mktemp("source") / "Meine Photos"
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (5 + number, 7, 3), np.uint8)
            suffix = FORMATS[number % 5]
            Image.fromarray(pixels).save(folder / name / f"bild ü{number}.{suffix}")
    return folder


def by_name(table):
    """Return label, group and decoded pixels of each image, by the end of its name."""
    return {
        "/".join(name.split("/")[-2:]): (
            table.class_names[table.labels[row]],
            None if table.groups is None else table.groups[row],
            decode_image(encoded_image(table, row)).numpy().tolist(),
        )
        for row, name in enumerate(table.ids)
    }


def test_a_folder_comes_back_the_same(photos, tmp_path, monkeypatch):
    table = table_from_folder(photos)
    groups = np.array([f"größe {row % 3}" for row in range(30)])
    table = ImageTable(**{**vars(table), "groups": groups})
    splits = np.tile(["train", "train", "val", "test", "train"], 6)
    path = write_tfds(table, splits, tmp_path / "data")
    assert path == tmp_path / "data" / "meine_photos" / "1.0.0"
    assert [one.name for one in (tmp_path / "data").iterdir()] == ["meine_photos"]

    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    back = table_from_tfds("meine_photos", data_dir=tmp_path / "data", group_column="group")
    assert back.class_names == table.class_names
    assert by_name(back) == by_name(table)
    rows = {name: row for row, name in enumerate(back.ids)}
    names = ["/".join(name.split("/")[-2:]) for name in table.ids]
    assert [back.splits[rows[name]] for name in names] == splits.tolist()


def test_jpeg_and_png_keep_their_bytes_and_others_become_png(photos, tmp_path):
    write_tfds(table_from_folder(photos), None, tmp_path)
    table = table_from_tfds("meine_photos", data_dir=tmp_path)
    for name, content in zip(table.ids, table.contents, strict=True):
        if name.endswith(("jpg", "png")):
            assert content == (photos / name).read_bytes()
        else:
            assert content.startswith(b"\x89PNG")
    assert sum(name.endswith(("jpg", "png")) for name in table.ids) == 12


def test_tfds_reads_it_in_a_process_without_our_code(photos, tmp_path):
    write_tfds(table_from_folder(photos), ["train"] * 20 + ["test"] * 10, tmp_path, version="2.1.0")
    code = """
import sys
import tensorflow_datasets as tfds
data, info = tfds.load("meine_photos", data_dir=sys.argv[1], as_supervised=True, with_info=True)
assert info.features["label"].names == ["Käse 2", "naïve, wild", "ねこ 10"], info.features
assert {name: split.num_examples for name, split in info.splits.items()} == \\
    {"train": 20, "test": 10}
heights = sorted(image.shape[0] for image, label in data["train"])
assert heights == sorted([*range(5, 15)] * 2), heights
assert {int(label) for _, label in data["test"]} == {2}
builder = tfds.builder_from_directory(sys.argv[1] + "/meine_photos/2.1.0")
assert len(list(builder.as_dataset(split="train[:50%]+test"))) == 20
assert "kerastl" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_arrays_keep_size_and_order_of_classes(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 1), np.uint8)
    table = table_from_arrays(images, [0, 1, 0, 1, 0, 1], class_names=["zebra", "a/b c"])
    write_tfds(table, None, tmp_path, name="2 grey")
    data = tfds.load("images_2_grey", data_dir=tmp_path, split="train", as_supervised=True)
    assert data.batch(6).element_spec[0].shape == (None, 4, 5, 3)
    back = table_from_tfds("images_2_grey", data_dir=tmp_path)
    assert back.class_names == ("zebra", "a/b c")
    assert back.splits is None
    for name, label, content in zip(back.ids, back.labels, back.contents, strict=True):
        row = table.ids.index(name)
        assert label == table.labels[row]
        assert (tf.io.decode_png(content).numpy() == images[row]).all()


def test_several_labels_come_back(tmp_path):
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    table = table_from_arrays(
        np.arange(4 * 12, dtype=np.uint8).reshape(4, 3, 4), labels, class_names=["x", "y", "z"]
    )
    write_tfds(table, ["train", "train", "val", "test"], tmp_path)
    data = tfds.load("arrays", data_dir=tmp_path, as_supervised=True)
    assert sorted(label.numpy().tolist() for _, label in data["train"]) == [[], [0, 2]]
    back = table_from_tfds("arrays", data_dir=tmp_path)
    assert back.multi_label
    order = [back.ids.index(name) for name in table.ids]
    assert back.labels[order].tolist() == labels.tolist()
    assert back.splits[order].tolist() == ["train", "train", "val", "test"]


def test_a_tfds_data_set_can_be_written_again(photos, tmp_path):
    write_tfds(table_from_folder(photos), None, tmp_path)
    table = table_from_tfds("meine_photos:train[:50%]", data_dir=tmp_path)
    assert set(table.labels.tolist()) == {0, 1, 2}, "rows of a split are not shuffled"
    write_tfds(table, None, tmp_path, version="1.0.1")
    back = table_from_tfds("meine_photos:1.0.1", data_dir=tmp_path)
    assert by_name(back) == by_name(table)


def test_many_bytes_become_many_shards(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    table = table_from_arrays(images, np.arange(20) % 2)
    monkeypatch.setattr(tfds_writer, "SHARD_BYTES", 8 * 900)
    path = write_tfds(table, None, tmp_path)
    assert len(list(path.glob("arrays-train.tfrecord-*"))) == 3
    back = table_from_tfds("arrays:train[25%:75%]", data_dir=tmp_path)
    assert len(back.ids) == 10
    for name, content in zip(back.ids, back.contents, strict=True):
        assert (tf.io.decode_png(content).numpy() == images[table.ids.index(name)]).all()


def test_what_cannot_be_read_is_left_out_and_named(photos, tmp_path, caplog):
    table = table_from_folder(photos)
    bad = tmp_path / "broken.jpg"
    bad.write_bytes((photos / CLASSES[0] / "bild ü0.jpg").read_bytes()[:100])
    ids = (*table.ids[:-2], str(bad), str(tmp_path / "gone.png"))
    table = ImageTable(**{**vars(table), "ids": ids})
    write_tfds(table, None, tmp_path / "data")
    assert "broken.jpg: damaged or truncated JPEG" in caplog.text
    assert "gone.png" in caplog.text
    assert len(table_from_tfds("meine_photos", data_dir=tmp_path / "data").ids) == 28
    with pytest.raises(DataError, match=r"None of the 2 images of the split 'test' can be read"):
        write_tfds(table, ["train"] * 28 + ["test"] * 2, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_sideways_photos_are_counted(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / "phone" / name).mkdir(parents=True)
        Image.new("RGB", (8, 4)).save(tmp_path / "phone" / name / "1.jpg", exif=exif)
        Image.new("RGB", (8, 4)).save(tmp_path / "phone" / name / "2.jpg")
    write_tfds(table_from_folder(tmp_path / "phone"), None, tmp_path)
    assert "2 images are turned by their EXIF orientation" in caplog.text


def small_table(**changes):
    table = table_from_arrays(np.zeros((4, 2, 2), np.uint8), [0, 1, 0, 1], class_names=["a", "b"])
    return ImageTable(**{**vars(table), **changes})


def test_a_version_is_never_overwritten(tmp_path):
    path = write_tfds(small_table(), None, tmp_path)
    before = {one: one.read_bytes() for one in path.iterdir()}
    with pytest.raises(DataError, match=r"exists already.*--as-tfds DIR.*version='1\.0\.1'"):
        write_tfds(small_table(), None, tmp_path)
    assert {one: one.read_bytes() for one in path.iterdir()} == before
    write_tfds(small_table(), None, tmp_path, version="1.0.1")
    assert table_from_tfds("arrays:1.0.0", data_dir=tmp_path).name == "arrays"


def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(tfds_writer, "_portable", interrupt)
    monkeypatch.setattr(tfds_writer, "_mean_bytes", lambda table: 1)
    with pytest.raises(KeyboardInterrupt):
        write_tfds(small_table(), None, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("table", "options", "advice"),
    [
        ({}, {"name": "写真"}, "letters from a to z; received '写真'"),
        ({}, {"name": "MNIST"}, "TFDS has a data set 'mnist' of its own.*name='my_mnist'"),
        ({}, {"version": "1.0"}, "such as 1.0.0; received '1.0'"),
        ({}, {"version": "01.0.0"}, "such as 1.0.0; received '01.0.0'"),
        ({"class_names": ("a", "b\nc")}, {}, r"one per line.*received 'b\\nc'. Rename that class"),
        ({"class_names": ("a", " b")}, {}, "without spaces around them; received ' b'"),
        ({"class_names": ("", "b")}, {}, "received ''"),
    ],
)
def test_what_tfds_cannot_keep(tmp_path, table, options, advice):
    with pytest.raises((ConfigError, DataError), match=advice) as caught:
        write_tfds(small_table(**table), None, tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_table_makes_way_for_a_known_one(tmp_path):
    assert write_tfds(small_table(name="CatsVsDogs"), None, tmp_path).parts[-2] == "my_cats_vs_dogs"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot be written to .*Choose another folder"):
        write_tfds(small_table(), None, tmp_path / "file")


def test_rows_without_a_split_are_train(tmp_path):
    write_tfds(small_table(splits=np.array(["", "test", "train", ""])), None, tmp_path)
    table = table_from_tfds("arrays", data_dir=tmp_path)
    assert sorted(table.splits) == ["test", "train", "train", "train"]
    assert subset(table, table.splits == "test").ids == ("arrays[1]",)
