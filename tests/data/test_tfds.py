"""TFDS data sets that were prepared are read without the network; others say what to do."""

import shutil
import socket
import tracemalloc
import urllib.request
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerastl.data.lazy_contents import LazyContents
from kerastl.data.pixels import encoded_image, load_pixels
from kerastl.data.sources import load_table
from kerastl.data.table import subset, table_from_arrays
from kerastl.data.tfds import table_from_tfds
from kerastl.data.tfds_writer import write_tfds
from kerastl.errors import ConfigError, DataError, KerasTLError

FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=["zebra", "cat", "never"]),
    "kind": tfds.features.ClassLabel(names=["wild", "tame"]),
    "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["sun", "sea"])),
    "owner": tfds.features.Text(),
    "boxes": tfds.features.Tensor(shape=(2,), dtype=np.float32),
}


class KerastlShapes(tfds.core.GeneratorBasedBuilder):
    """Grey images; `label` is that of the row, or hidden in the split "secret"."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(FEATURES),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(8, label=lambda row: row % 2),
            "validation": self._generate_examples(4, label=lambda row: row % 2),
            "test": self._generate_examples(4, label=lambda row: row % 2),
            "secret": self._generate_examples(2, label=lambda row: -1),
        }

    def _generate_examples(self, count, *, label):
        for row in range(count):
            yield (
                row,
                {
                    "image": np.full((3, 4, 3), row, np.uint8),
                    "label": label(row),
                    "kind": row % 4 // 2,
                    "tags": [[], [0], [0, 1], [1]][row % 4],
                    "owner": f"owner {row}",
                    "boxes": [0, 0],
                },
            )


class KerastlRemote(tfds.core.GeneratorBasedBuilder):
    """A data set whose server does not answer."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": FEATURES["image"]})
        )

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")

    def _generate_examples(self):
        raise NotImplementedError


class KerastlManual(KerastlRemote):
    """A data set that people must download by hand."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Register, then download."


class KerastlTexts(KerastlRemote):
    """A data set without images."""

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
        )

    def _split_generators(self, dl_manager):
        return {"train": iter([(0, {"text": "hello"})])}


class KerastlSecondKeys(KerastlShapes):
    """Two configurations; its supervised keys are neither the first image nor the first label."""

    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, version="1.0.0", description="") for name in "ab"
    ]

    def _info(self):
        mask = tfds.features.Image(shape=(None, None, 1))
        depth = tfds.features.Image(shape=(None, None, 1), dtype=np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    **{key: FEATURES[key] for key in ("kind", "label")},
                    "image": mask,
                    "depth": depth,
                    "photo": FEATURES["image"],
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("photo", "kind"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6, label=lambda row: 0)}

    def _generate_examples(self, count, *, label):
        for row in range(count):
            yield (
                row,
                {
                    "image": np.zeros((3, 4, 1), np.uint8),
                    "depth": np.zeros((3, 4, 1), np.float32),
                    "photo": np.full((3, 4, 3), row, np.uint8),
                    "kind": row % 2,
                    "label": label(row),
                    "file_name": f"photo {row}.png",
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (KerastlShapes, KerastlTexts, KerastlSecondKeys):
        builder(data_dir=folder).download_and_prepare()
    return folder


def test_official_splits_and_encoded_images_are_kept(data_dir, caplog):
    table = load_table("tfds:kerastl_shapes", data_dir=data_dir)
    assert table.name == "kerastl_shapes"
    assert table.class_names == ("zebra", "cat")
    counts = {name: int((table.splits == name).sum()) for name in ("train", "val", "test")}
    assert counts == {"train": 8, "val": 4, "test": 4}
    assert "secret" in caplog.text
    for label, contents in zip(table.labels, table.contents, strict=True):
        pixels = tf.io.decode_image(contents).numpy()
        assert pixels.shape == (3, 4, 3)
        assert pixels[0, 0, 0] % 2 == label
    assert len(set(table.ids)) == 16
    assert table.ids[0] == "train[0]"


def test_the_order_is_the_same_each_time(data_dir):
    tables = [table_from_tfds("kerastl_shapes", data_dir=data_dir) for _ in range(2)]
    assert list(tables[0].contents) == list(tables[1].contents)
    assert tables[0].ids == tables[1].ids


@pytest.mark.parametrize(
    ("name", "count"),
    [("kerastl_shapes:train", 8), ("kerastl_shapes:1.0.0", 16), ("kerastl_shapes:train[:50%]", 4),
     ("kerastl_shapes:1.0.0:train+test", 12)],
)  # fmt: skip
def test_versions_and_splits(data_dir, name, count):
    table = table_from_tfds(name, data_dir=data_dir)
    assert len(table.ids) == count
    assert (table.splits is None) == (count != 16)


def test_labels_that_are_not_published_are_left_out(data_dir, caplog):
    table = table_from_tfds("kerastl_shapes:train+secret", data_dir=data_dir)
    assert len(table.ids) == 8
    assert "2 images without a label were left out" in caplog.text


def test_another_feature_may_be_the_label_or_the_group(data_dir):
    table = table_from_tfds(
        "kerastl_shapes", data_dir=data_dir, label_column="kind", group_column="owner"
    )
    assert table.class_names == ("wild", "tame")
    assert sorted(set(table.groups)) == [f"owner {row}" for row in range(8)]
    table = table_from_tfds("kerastl_shapes:test", data_dir=data_dir, label_column="tags")
    assert table.multi_label
    assert table.class_names == ("sun", "sea")
    assert sorted(map(tuple, table.labels)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    table = table_from_tfds("kerastl_shapes:test", data_dir=data_dir, label_column="owner")
    assert table.class_names == ("owner 0", "owner 1", "owner 2", "owner 3")


@pytest.mark.parametrize("split", ["train[2:5]", "train[25%:]+test[:2]", "all", "train+train[:1]"])
def test_slices_are_those_of_tfds(data_dir, split):
    """Image by image; `secret` has no labels."""
    builder = tfds.builder_from_directory(data_dir / "kerastl_shapes" / "1.0.0")
    examples = tfds.as_numpy(builder.as_dataset(split))
    expected = [one["image"].tolist() for one in examples if one["label"] >= 0]
    table = table_from_tfds(f"kerastl_shapes:{split}", data_dir=data_dir)
    assert [tf.io.decode_png(one).numpy().tolist() for one in table.contents] == expected
    assert table.ids[0] == f"{split}[0]"


def test_an_empty_slice_is_an_empty_table(data_dir):
    table = table_from_tfds("kerastl_shapes:train[:0]", data_dir=data_dir)
    assert (len(table.ids), len(table.contents), table.class_names) == (0, 0, ())


def test_supervised_keys_configurations_and_file_names(data_dir):
    table = table_from_tfds("kerastl_second_keys/b", data_dir=data_dir)
    assert table.class_names == ("wild", "tame")
    assert sorted(table.ids) == [f"photo {row}.png" for row in range(6)]
    for name, label, content in zip(table.ids, table.labels, table.contents, strict=True):
        number = int(name[6])
        assert label == number % 2
        assert (tf.io.decode_png(content).numpy() == np.full((3, 4, 3), number)).all()
    with pytest.raises(
        DataError, match=r"several configurations: a, b\..*tfds:kerastl_second_keys/a"
    ):
        table_from_tfds("kerastl_second_keys", data_dir=data_dir)


@pytest.fixture
def big_table(tmp_path):
    """128 images of 49 kB that cannot be compressed."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 128, 3), np.uint8)
    table = table_from_arrays(pixels, np.arange(128) % 2, name="big")
    write_tfds(table, None, tmp_path)
    return tmp_path


def test_images_stay_on_disk(big_table):
    table_from_tfds("big", data_dir=big_table)  # what is imported or traced once
    tracemalloc.start()
    try:
        table = table_from_tfds("big", data_dir=big_table)
        part = subset(subset(table, np.arange(100, 0, -1)), np.arange(100) % 2 == 0)
        assert sum(map(len, part.contents)) > 50 * 49_000
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert isinstance(part.contents, LazyContents)
    assert [part.contents[row] for row in (0, -1)] == [table.contents[100], table.contents[2]]
    assert list(table.contents[3:5]) == [table.contents[3], table.contents[4]]
    assert len(load_pixels(part, image_size=(8, 8)).rows) == 50


def test_files_that_change_or_go_are_noticed(big_table):
    table = table_from_tfds("big", data_dir=big_table)
    (path,) = (big_table / "big" / "1.0.0").glob("*.tfrecord*")
    whole = path.read_bytes()
    path.write_bytes(whole[100:])
    with pytest.raises(DataError, match=r"can no longer be read.*was changed"):
        encoded_image(table, 1)
    with pytest.raises(DataError, match=r"missing or damaged.*Remove that folder") as caught:
        table_from_tfds("big", data_dir=big_table)
    assert "\n" not in str(caught.value)
    path.write_bytes(whole[:50_000] + b"?" + whole[50_001:])
    with pytest.raises(DataError, match="missing or damaged"):
        table_from_tfds("big", data_dir=big_table)
    path.unlink()
    with pytest.raises(DataError, match="can no longer be read"):
        encoded_image(table, 1)
    with pytest.raises(DataError, match="missing or damaged"):
        table_from_tfds("big", data_dir=big_table)


def test_array_records_are_read_too(data_dir, tmp_path):
    builder = KerastlShapes(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    assert list((tmp_path / "kerastl_shapes" / "1.0.0").glob("*.array_record-*"))
    for options in ({"group_column": "owner"}, {"label_column": "tags"}):
        tables = [
            table_from_tfds("kerastl_shapes:train[2:]+test", data_dir=folder, **options)
            for folder in (data_dir, tmp_path)
        ]
        assert list(tables[0].contents) == list(tables[1].contents)
        assert tables[0].labels.tolist() == tables[1].labels.tolist()
        assert tables[0].ids == tables[1].ids
        assert np.array_equal(tables[0].groups, tables[1].groups)


def test_other_files_are_refused(data_dir, tmp_path):
    folder = tmp_path / "kerastl_shapes" / "1.0.0"
    shutil.copytree(data_dir / "kerastl_shapes" / "1.0.0", folder)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"tfrecord"', '"riegeli"'))
    with pytest.raises(
        DataError, match=r"as riegeli files; .*Type: tfds build kerastl_shapes --file"
    ):
        table_from_tfds("kerastl_shapes", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "advice"),
    [
        ("kerastl_shape", {}, r"has kerastl_second.*kerastl_texts\)\. Did you mean 'kerastl_sha"),
        ("mnisst", {}, r"TFDS has no data set 'mnisst'.*Did you mean 'mnist'\?.*catalog"),
        ("kerastl_shapes:tset", {}, r"no split 'tset'.*train, validation, test, secret; write"),
        ("kerastl_shapes:2.0.0", {}, "TFDS cannot make 'kerastl_shapes:2.0.0': .*only: 1.0.0"),
        ("kerastl_remote", {}, r"not prepared in .*no route to host.*tfds build kerastl_remote"),
        ("kerastl_manual", {}, "downloaded by hand.*tfds build kerastl_manual"),
        ("kerastl_texts", {}, r"has no images; its features are text\. Choose an image"),
        ("kerastl_shapes", {"label_column": "lable"}, "Did you mean 'label'.*are boxes, image"),
        ("kerastl_remote/small", {}, r"has no configuration 'small'\. It has: none"),
        ("cycle_gan/horse2zebr", {}, r"no configuration .* Did you mean 'horse2zebra'\? It has:"),
        ("kerastl_shapes", {"group_column": "boxes"}, r"one value per image.*shape \(2,\)"),
        ("../secret", {}, "Write for example tfds:mnist"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(data_dir, name, options, advice):
    with pytest.raises(KerasTLError, match=advice) as caught:
        load_table(f"tfds:{name}", data_dir=data_dir, **options)
    assert isinstance(caught.value, DataError | ConfigError)
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_so_at_once(tmp_path, monkeypatch):
    def no_network(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    def refuse(*arguments):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(KerastlRemote, "url_infos", {"https://example.invalid/x.zip": None})
    monkeypatch.setattr(KerastlRemote, "_split_generators", refuse)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(DataError, match=r"example\.invalid: Name or service not known.*type: tfds"):
        table_from_tfds("kerastl_remote", data_dir=tmp_path)


def test_a_prepared_data_set_needs_no_network_and_no_code(data_dir, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tfds, "builder", refuse)
    assert len(load_table("tfds:kerastl_shapes:train", data_dir=data_dir).ids) == 8
