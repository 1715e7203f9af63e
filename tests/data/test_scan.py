"""One pass tells what every file is, and no bytes stop it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerastl.data.scan import scan_images, scan_pixels
from kerastl.data.table import ImageTable, table_from_arrays


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def table_of(contents):
    return ImageTable(
        name="bytes",
        ids=tuple(f"{row}.jpg" for row in range(len(contents))),
        labels=np.zeros(len(contents), np.int64),
        class_names=("one",),
        contents=tuple(contents),
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_facts_of_every_format(kind, textures):
    pictures = [Image.fromarray(one) for one in textures(2, size=(300, 400))]
    pictures[1] = pictures[1].convert("L")
    facts = scan_images(table_of([encoded(one, kind) for one in pictures]))
    assert facts.formats.tolist() == ["WebP" if kind == "WEBP" else kind] * 2
    assert (facts.widths.tolist(), facts.heights.tolist()) == ([400] * 2, [300] * 2)
    assert facts.colour.tolist() == [True, False]
    assert facts.unreadable == ()
    for row, picture in enumerate(pictures):
        grey = np.asarray(picture.convert("L"), np.float64)
        assert facts.mean[row] == pytest.approx(grey.mean(), abs=2)
        assert facts.spread[row] == pytest.approx(grey.std(), rel=0.1)


def test_files_as_a_person_sees_them(tmp_path, textures):
    image = Image.fromarray(textures(1, size=(40, 90))[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "turned.png.jpg", exif=exif, quality=95)
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.convert("P").save(tmp_path / "palette.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    names = ["turned.png.jpg", "deep.png", "alpha.png", "palette.png", "cmyk.jpg", "gone.png"]
    table = ImageTable(
        name="files",
        ids=tuple(str(tmp_path / name) for name in names),
        labels=np.zeros(6, np.int64),
        class_names=("one",),
    )
    facts = scan_images(table)
    assert facts.formats.tolist() == ["JPEG", "PNG", "PNG", "PNG", "JPEG", ""]
    assert (facts.widths[0], facts.heights[0]) == (40, 90)
    upright = np.rot90(np.asarray(image.convert("L").resize((32, 32), Image.BILINEAR)), -1)
    assert np.abs(facts.thumbnails[0].astype(int) - upright).mean() < 5
    assert facts.mean[1] == pytest.approx(127.5, abs=1)
    assert facts.colour.tolist() == [True, False, True, True, True, False]
    assert [fault.row for fault in facts.unreadable] == [5]
    assert "No such file" in facts.unreadable[0].reason
    assert facts.readable.tolist() == [True] * 5 + [False]


def test_damaged_files_have_a_reason(textures):
    jpeg = encoded(Image.fromarray(textures(1)[0]), "JPEG")
    png = encoded(Image.fromarray(textures(1)[0]), "PNG")
    facts = scan_images(table_of([jpeg[: len(jpeg) // 2], png[: len(png) // 2], b"", b"text"]))
    assert [fault.reason for fault in facts.unreadable] == [
        "damaged or truncated JPEG",
        "damaged or truncated PNG",
        "the file is empty",
        "text, not an image",
    ]
    assert not facts.thumbnails.any()
    assert len(set(facts.digests.tolist())) == 4


STARTS = [encoded(Image.new("RGB", (9, 7)), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(STARTS), st.integers(0, 200), st.binary(max_size=60))
def test_no_bytes_stop_it(start, cut, tail):
    facts = scan_images(table_of([start[:cut] + tail]))
    assert facts.readable[0] == (not facts.unreadable)
    assert len(facts.digests[0]) == 64


def test_pixels_in_memory_have_the_same_facts(textures):
    images = textures(5)
    by_table = scan_images(table_from_arrays(images, [0, 1, 0, 1, 0]))
    by_pixels = scan_pixels(images)
    for name in ("hashes", "thumbnails", "digests", "mean", "spread", "colour", "widths"):
        np.testing.assert_array_equal(getattr(by_table, name), getattr(by_pixels, name))
    grey = scan_images(table_from_arrays(images[..., 0], [0, 1, 0, 1, 0]))
    assert not grey.colour.any()
