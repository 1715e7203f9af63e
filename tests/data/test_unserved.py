"""What an export cannot decode is counted by the first bytes, whatever a file is called."""

import io

import numpy as np
import pytest
from PIL import Image

from kerastl.data.image_reader import can_be_served, read_image
from kerastl.data.sources import load_table, subset
from kerastl.data.table import ImageTable, table_from_arrays
from kerastl.data.unserved import unserved_kinds, unserved_words

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8))


def encoded(kind):
    content = io.BytesIO()
    PICTURE.save(content, kind)
    return content.getvalue()


def test_files_are_counted_by_what_they_are(tmp_path):
    names = {"a.jpg": "TIFF", "b.tif": "PNG", "c.tif": "TIFF", "d.ppm": "PPM", "e.jpg": "JPEG"}
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for name, kind in names.items():
            (tmp_path / label / name).write_bytes(encoded(kind))
    table = load_table(str(tmp_path))
    assert unserved_kinds(table) == {"TIFF": 4, "PPM": 2}
    assert unserved_kinds(subset(table, np.arange(5))) == {"TIFF": 2, "PPM": 1}
    (tmp_path / "cat" / "c.tif").unlink()
    assert unserved_kinds(table) == {"TIFF": 3, "PPM": 2}


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "JPEG2000"]
)
def test_it_agrees_with_the_graph_that_is_exported(kind):
    content = encoded(kind)
    assert read_image(content).size
    table = ImageTable("one", ("a",), np.zeros(1, np.int64), ("cat",), (content,))
    assert (unserved_kinds(table) == {}) == can_be_served(content)


def test_arrays_have_no_kind():
    assert unserved_kinds(table_from_arrays(np.zeros((3, 8, 8), np.uint8), [0, 1, 0])) == {}


def test_the_words():
    assert unserved_words({}) == ""
    assert unserved_words({"TIFF": 1}).startswith("1 image (TIFF) was read by Pillow")
    several = unserved_words({"TIFF": 1200, "HEIC": 3})
    assert several.startswith("1,203 images (1,200 TIFF, 3 HEIC) were read by Pillow")
    assert "Send it PNG or pixels" in several
