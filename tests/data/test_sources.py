"""`load_table`: every kind of source, what they have in common, and what it says of bad ones."""

import numpy as np
import pytest
from PIL import Image

from kerastl.data.sources import load_table, subset, table_from_arrays
from kerastl.errors import ConfigError, DataError, KerasTLError


@pytest.fixture
def make_images(tmp_path):
    """Return a function that makes small images at paths below `tmp_path`."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = {".jpg": "JPEG"}.get(path.suffix.lower(), "PNG")
            Image.new("RGB", (4, 3), "red").save(path, kind)
        return tmp_path

    return make


def three_each(*folders):
    return [f"{folder}/{number}.png" for folder in folders for number in range(3)]


def test_folder_per_class(make_images):
    root = make_images(*three_each("photos/10", "photos/9", "photos/2 ü"))
    table = load_table(root / "photos")
    assert table.name == "photos"
    assert table.class_names == ("2 ü", "9", "10")
    assert np.bincount(table.labels).tolist() == [3, 3, 3]
    assert table.ids[0] == str(root / "photos" / "2 ü" / "0.png")
    assert table.contents is None
    assert table.splits is None
    assert not table.multi_label


def test_a_table_beside_its_images(make_images):
    root = make_images(*three_each("a", "b"))
    lines = [f"{name},{name[0]}" for name in three_each("a", "b")]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines]))
    table = load_table(str(root / "labels.csv"))
    assert (table.name, table.class_names) == ("labels", ("a", "b"))


def test_relative_paths_and_the_home_folder(make_images, monkeypatch):
    root = make_images(*three_each("a", "b"))
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    assert load_table(".").name == root.name
    assert load_table(".").ids[0] == "a/0.png"
    assert load_table("~").ids[0] == str(root / "a/0.png")


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        ("phtos", r"does not exist\. Expected a folder.*Did you mean 'photos'\?"),
        ("phtos/train", r"Did you mean 'photos'\?"),
        ("zzz", r"has: images\.zip, notes\.txt, one\.png, photos\."),
        ("images.zip", "neither a folder nor a table.*Unpack it first"),
        ("one.png", "This is one image; give the folder"),
        ("notes.txt", "neither a folder nor a table.*Save it as a CSV with the columns path and"),
        ("tdfs:mnist", r"'tdfs:' is no kind of source\..*Did you mean 'tfds'\?"),
        ("https://example.org/photos", "does not exist"),
        ("demo:sola", "must be one of demo:solar, demo:solar:P1.*Did you mean 'solar'"),
        ("demo:solar:P5", r"demo:solar:P4; received 'demo:solar:P5'\."),
        ("tfds:", "must be tfds:NAME or tfds:NAME:SPLIT"),
    ],
)
def test_sources_that_do_not_exist(make_images, monkeypatch, data, advice):
    root = make_images("photos/a/1.png", "one.png")
    (root / "images.zip").write_bytes(b"PK")
    (root / "notes.txt").write_text("cat")
    monkeypatch.chdir(root)
    with pytest.raises(KerasTLError, match=advice) as caught:
        load_table(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("group_column", "patient"), ("split_column", "fold"), ("label_column", "y"),
     ("path_column", "x"), ("label_separator", "|"), ("data_dir", "/data")],
)  # fmt: skip
@pytest.mark.parametrize(("data", "kind"), [("", "a folder"), ("demo:solar", "a demo")])
def test_options_of_tables_do_not_go_with_other_sources(make_images, data, kind, option, value):
    root = make_images(*three_each("a", "b"))
    with pytest.raises(ConfigError, match=f"`{option}` does not go with {kind}.*Leave it out"):
        load_table(data or root, **{option: value})


def test_labels_that_cannot_be_learnt(make_images):
    root = make_images(*three_each("a", "b"), "c/only.png")
    with pytest.raises(DataError, match=r"Class 'c' has 1 image; .*Add images or drop the class"):
        load_table(root)
    (root / "one.csv").write_text("path,label\na/0.png,a\na/1.png,a\na/2.png,a\n")
    with pytest.raises(DataError, match=r"has one class only.*needs at least two"):
        load_table(root / "one.csv")


def test_a_class_that_is_only_in_the_test(make_images):
    root = make_images(*three_each("train/a", "train/b", "test/a", "test/b"), "test/new/1.png")
    with pytest.raises(DataError, match="Class 'new' is in test but not in train"):
        load_table(root)


def test_subset_keeps_every_column(make_images):
    table = table_from_arrays(
        np.arange(4, dtype=np.uint8).reshape(4, 1, 1),
        ["a", "b", "a", "b"],
        groups=[1, 1, 2, 2],
        splits=["train", "", "test", "val"],
        strata=[0, 1, 2, 3],
    )
    part = subset(table, [3, 0])
    assert part.ids == ("arrays[3]", "arrays[0]")
    assert part.contents.ravel().tolist() == [3, 0]
    assert part.labels.tolist() == [1, 0]
    assert part.groups.tolist() == ["2", "1"]
    assert part.splits.tolist() == ["val", "train"]
    assert part.strata.tolist() == [3, 0]
    assert part.class_names == table.class_names
    assert subset(table, table.labels == 1).ids == ("arrays[1]", "arrays[3]")


def test_importing_sources_imports_no_tensorflow():
    import subprocess
    import sys

    code = "import sys, kerastl.data.sources as s; print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
