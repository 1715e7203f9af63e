"""Folders as people have them: nested, linked, cluttered, divided, or wrong."""

import logging
import os
import unicodedata

import pytest

from kerastl.data.folders import table_from_folder
from kerastl.errors import DataError

from .corpus import BOTH, PILLOW_ONLY


@pytest.fixture
def touch(tmp_path):
    """Return a function that makes empty files below a folder."""

    def make(*names):
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path / "data"

    return make


def relative(table, root):
    return [os.path.relpath(one, root) for one in table.ids]


def test_nested_folders_belong_to_the_class(touch):
    root = touch("cat/a.jpg", "cat/2020/b.jpg", "cat/2020/spring/c.jpg", "dog/d.jpg")
    table = table_from_folder(root)
    assert table.class_names == ("cat", "dog")
    assert table.labels.tolist() == [0, 0, 0, 1]


def test_all_image_suffixes_in_any_case_and_in_natural_order(touch):
    names = ["1.jpg", "2.JPEG", "3.jpe", "4.jfif", "5.PNG", "6.gif", "7.bmp", "10.WebP"]
    names += ["11.tif", "12.TIFF", "13.ppm", "14.pgm", "15.jp2", "16.heic", "17.avif", "18.mpo"]
    root = touch(*(f"a/{name}" for name in names), "b/ü mit Leer zeichen.png")
    assert relative(table_from_folder(root), root) == [
        *(f"a/{name}" for name in names),
        "b/ü mit Leer zeichen.png",
    ]


def test_clutter_is_ignored_and_counted(touch, caplog):
    root = touch(
        "a/1.png", "a/.DS_Store", "a/._1.png", "a/Thumbs.db", "a/notes.txt", "a/x.psd", "a/README",
        "b/1.png", "__MACOSX/a/1.png", ".git/x.png", "a/.cache/2.png", "stray.png", "labels.csv",
        "a/desktop.ini", "a/1.png~", "@eaDir/1.png", "a/Icon\r",
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        table = table_from_folder(root)
    assert relative(table, root) == ["a/1.png", "b/1.png"]
    assert "Ignored 9 files that are no images (hidden 2, no suffix 2, " in caplog.text


def test_images_without_their_suffix_are_taken_and_counted(touch, caplog):
    root = touch("a/1.png", "b/2.png", "b/IMG_2", "b/text.bak")
    contents = {
        "a/IMG_1234": BOTH["jpeg.jpg"], "a/photo.jpg.download": BOTH["rgb.png"],
        "b/a.JPG.1": BOTH["lossy.webp"], "b/x.cr2": PILLOW_ONLY["rgb.tif"][0],
        "b/.hidden": BOTH["rgb.png"],
    }  # fmt: skip
    for name, content in contents.items():
        (root / name).write_bytes(content)
    with caplog.at_level(logging.INFO):
        table = table_from_folder(root)
    assert relative(table, root) == [
        "a/1.png", "a/IMG_1234", "a/photo.jpg.download", "b/2.png", "b/a.JPG.1"
    ]  # fmt: skip
    assert "Took 3 files without the suffix of an image for images, by their first" in caplog.text
    assert "IMG_1234" in caplog.text
    assert "Ignored 4 files that are no images" in caplog.text


def test_one_class_has_one_name_however_its_letters_are_made(touch):
    composed = unicodedata.normalize("NFC", "Café é")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    root = touch(
        f"train/{composed}/1 ü.png", "train/b/1.png", f"test/{decomposed}/2.png", "test/b/2.png"
    )
    table = table_from_folder(root)
    assert table.class_names == ("b", composed)
    assert sorted(table.labels.tolist()) == [0, 0, 1, 1]


def test_an_empty_class_folder_is_named_in_the_log(touch, caplog):
    root = touch("a/1.png", "b/1.png")
    (root / "empty").mkdir()
    assert table_from_folder(root).class_names == ("a", "b")
    assert "empty has no images and is not taken for a class" in caplog.text


def test_links_are_followed_but_not_in_circles(touch, tmp_path):
    root = touch("a/1.png", "b/1.png")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"")
    (root / "a" / "linked").symlink_to(elsewhere)
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "gone.png").symlink_to(tmp_path / "missing.png")
    (root / "c").symlink_to(elsewhere)
    table = table_from_folder(root)
    assert sorted(relative(table, root)) == ["a/1.png", "a/linked/2.png", "b/1.png", "c/2.png"]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Train", "Valid", "TEST"), ("training", "validation", "testing"),
     ("train", "dev", "test")],
)  # fmt: skip
def test_divided_folders(touch, train, val, test):
    root = touch(f"{train}/2/a.png", f"{train}/10/b.png", f"{val}/2/c.png", f"{test}/10/d.png")
    table = table_from_folder(root)
    assert table.class_names == ("2", "10")
    assert dict(zip(relative(table, root), table.splits, strict=True)) == {
        f"{train}/2/a.png": "train",
        f"{train}/10/b.png": "train",
        f"{val}/2/c.png": "val",
        f"{test}/10/d.png": "test",
    }


def test_divided_folders_without_validation_and_with_others_beside(touch, caplog):
    root = touch("train/a/1.png", "train/b/1.png", "test/a/2.png", "unlabelled/x.png")
    table = table_from_folder(root)
    assert sorted(table.splits) == ["test", "train", "train"]
    assert table.class_names == ("a", "b")
    assert "Ignored beside train, val and test" in caplog.text
    assert "unlabelled" in caplog.text


@pytest.mark.parametrize("names", [("train/1.png", "bus/1.png"), ("train/1.png", "test/1.png")])
def test_classes_may_be_called_train_or_test(touch, names):
    table = table_from_folder(touch(*names))
    assert "train" in table.class_names
    assert table.splits is None


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        ((), r"has no images in it\. Expected one folder per class"),
        (("1.png", "2.png"), r"2 images directly in it \(such as '1.png'\).*one folder per class"),
        (("1.png", "y.csv"), "It holds the table 'y.csv': give that as DATA"),
        (("a/x.psd", "b/y.psd"), r"no images, only other files \(\.psd\).*convert others"),
        (("a/1.png", "a/2.png"), r"one class only, 'a'.*Add a folder with images of another"),
        (("in/a/1.png", "in/b/1.png"), "Did you mean the folder '.*in', which has 2 folders"),
    ],
)
def test_folders_without_classes(touch, tmp_path, names, advice):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=advice) as caught:
        table_from_folder(touch(*names))
    assert "\n" not in str(caught.value)


def test_a_file_name_that_is_not_text(touch):
    root = touch("a/1.png", "b/1.png")
    (root / "a" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(DataError, match=r"is not UTF-8 text\. Rename the file"):
        table_from_folder(root)
