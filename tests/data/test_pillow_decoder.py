"""Every kind of file, upright and in the right colours, by Pillow and by the graph alike."""

import io
import sys
import threading
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerastl.data.decode import decode_error_reason, decode_image
from kerastl.data.exif import exif_orientation
from kerastl.data.image_limits import LARGEST_PIXELS
from kerastl.data.pillow_decoder import decode_with_pillow
from kerastl.errors import UnreadableImageError

from . import corpus
from .corpus import encode, oriented, stored, with_jpeg_segment, with_png_chunk

decode_in_graph = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
READABLE = {name: (content, expected) for name, content, expected in corpus.readable()}


@pytest.mark.parametrize("name", READABLE)
def test_pixels_are_the_expected_ones(name):
    content, expected = READABLE[name]
    pixels = decode_with_pillow(content)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    if expected is not None:
        np.testing.assert_array_equal(pixels, expected)
    else:  # AVIF is never without loss
        assert pixels.shape == (corpus.WIDTH, corpus.HEIGHT, 3)
        turned = np.asarray(corpus.RGB.transpose(corpus.TRANSPOSED[6])).astype(int)
        assert np.abs(pixels - turned).mean() < 8


# One test for all: seeding Keras in front of each makes TensorFlow prepare the graph anew, 1 s.
def test_the_graph_gives_the_same_pixels():
    for name in (*corpus.BOTH, *corpus.BOTH_OTHERWISE):
        content, _ = READABLE[name]
        pixels = decode_with_pillow(content)
        np.testing.assert_array_equal(decode_in_graph(content), pixels, err_msg=name)


def test_the_graph_refuses_what_it_would_get_wrong():
    for name in corpus.PILLOW_ONLY:
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decode_in_graph(READABLE[name][0])
        reason = decode_error_reason(caught.value)
        assert ("BMP" if name.endswith("bmp") else "unknown image file format") in reason


def orient(kind, orientation, *, big_endian=False):
    """Encode a picture with an EXIF, the ways that programs do it."""
    tiff = oriented(orientation, big_endian=big_endian)
    jpeg, png = encode(corpus.RGB, "JPEG"), encode(corpus.RGB, "PNG")
    icc = with_jpeg_segment(jpeg, 0xE2, b"ICC_PROFILE\0\1\1" + bytes(3000))
    return {
        "jpeg, first": with_jpeg_segment(jpeg, 0xE1, b"Exif\0\0" + tiff),
        "jpeg, by Pillow": encode(corpus.RGB, "JPEG", exif=b"Exif\0\0" + tiff, progressive=True),
        "jpeg, behind others": with_jpeg_segment(
            with_jpeg_segment(icc, 0xE1, b"Exif\0\0" + tiff),
            0xE1,
            b"http://ns.adobe.com/xap/1.0/\0",
        ),
        "png": with_png_chunk(png, b"eXIf", tiff),
        "png, behind the pixels": with_png_chunk(png, b"eXIf", tiff, last=True),
        "webp": encode(corpus.RGB, "WEBP", lossless=True, exif=tiff),
        "webp with the prefix of jpeg": encode(corpus.RGBA, "WEBP", exif=b"Exif\0\0" + tiff),
        "tiff": encode(corpus.RGB, "TIFF", tiffinfo={0x112: orientation}, compression="tiff_lzw"),
    }[kind]


ORIENTED_KINDS = [
    "jpeg, first", "jpeg, by Pillow", "jpeg, behind others", "png", "png, behind the pixels",
    "webp", "webp with the prefix of jpeg", "tiff",
]  # fmt: skip


@pytest.mark.parametrize("kind", ORIENTED_KINDS)
def test_exif_orientation(kind):
    for orientation in range(1, 9):
        content = orient(kind, orientation, big_endian=orientation % 2 == 0)
        upright = stored(orient(kind, 1))
        if orientation > 1:
            picture = Image.fromarray(upright).transpose(corpus.TRANSPOSED[orientation])
            upright = np.asarray(picture)
        np.testing.assert_array_equal(decode_with_pillow(content), upright, str(orientation))
        if kind != "tiff":
            np.testing.assert_array_equal(decode_in_graph(content), upright, str(orientation))


TIFF = oriented(6)
WRONG_EXIF = {
    "empty": b"",
    "cut": TIFF[:15],
    "no TIFF": b"XX" + TIFF[2:],
    "no 42": TIFF[:2] + b"+\0" + TIFF[4:],
    "directory beyond the end": TIFF[:4] + b"\xff\xff\xff\xff" + TIFF[8:],
    "directory of 65535 entries": TIFF[:8] + b"\xff\xff" + TIFF[10:22],
    "orientation 0": oriented(0),
    "orientation 9": oriented(9),
    "type LONG": TIFF[:24] + b"\x04\0" + TIFF[26:],
    "two values": TIFF[:26] + b"\2" + TIFF[27:],
}


def test_a_wrong_exif_fails_no_image():
    plain = {"jpeg": corpus.BOTH["jpeg.jpg"], "png": corpus.BOTH["rgb.png"]}
    for name, exif in WRONG_EXIF.items():
        for kind, content in {
            "jpeg": with_jpeg_segment(plain["jpeg"], 0xE1, b"Exif\0\0" + exif),
            "png": with_png_chunk(plain["png"], b"eXIf", exif),
        }.items():
            assert exif_orientation(content) == 1, name
            expected = stored(plain[kind])
            np.testing.assert_array_equal(decode_with_pillow(content), expected, name)
            np.testing.assert_array_equal(decode_in_graph(content), expected, name)


def test_orientation_is_read_where_pillow_reads_it():
    for orientation in range(1, 9):
        for kind in ORIENTED_KINDS[:-1]:
            content = orient(kind, orientation)
            assert exif_orientation(content) == orientation
            assert Image.open(io.BytesIO(content)).getexif().get(0x112, 1) == orientation


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("size", "at_least", "ratio"),
    [
        ((256, 320), (128, 160), 2), ((256, 320), (128, 161), 1), ((257, 321), (129, 161), 2),
        ((256, 320), (64, 64), 4), ((256, 320), (32, 40), 8), ((256, 320), (1, 1), 8),
        ((250, 317), (63, 80), 4), ((100, 90), (300, 300), 1), ((7, 300), (1, 1), 4),
    ],
)  # fmt: skip
def test_jpeg_is_decoded_smaller_but_large_enough(size, at_least, ratio, orientation):
    height, width = size if orientation == 1 else size[::-1]  # as stored
    blocks = np.kron(corpus.BLOCKS, np.ones((7, 7, 1), np.uint8))[:height, :width]
    for options in ({}, {"subsampling": 0}, {"progressive": True}):
        plain = encode(Image.fromarray(blocks), "JPEG", **options)
        content = with_jpeg_segment(plain, 0xE1, b"Exif\0\0" + oriented(orientation))
        pixels = decode_with_pillow(content, at_least=at_least)
        assert pixels.shape[:2] == (-(-size[0] // ratio), -(-size[1] // ratio))
        np.testing.assert_array_equal(decode_image(content, at_least=at_least), pixels)
        if orientation == 1:
            np.testing.assert_array_equal(decode_image(plain, at_least=at_least), pixels)
    png = encode(Image.fromarray(blocks), "PNG")
    np.testing.assert_array_equal(decode_image(png, at_least=(1, 1)), blocks)
    np.testing.assert_array_equal(decode_with_pillow(png, at_least=(1, 1)), blocks)


@pytest.mark.parametrize("name", corpus.BROKEN)
def test_the_reason_is_said(name):
    content, expected = corpus.BROKEN[name]
    with pytest.raises(UnreadableImageError) as caught:
        decode_with_pillow(content)
    assert expected in caught.value.reason
    assert str(caught.value) == f"The image cannot be read: {caught.value.reason}."


def test_the_limit_is_that_of_tensorflow_and_pillow():
    assert LARGEST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    width = 13377
    assert width * width <= LARGEST_PIXELS < (width + 1) * width
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_jpeg(corpus.jpeg_of_size(width + 1, width))


def test_heic(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(corpus.RGB).save(buffer, quality=-1, chroma=444, exif=oriented(6))
    turned = np.asarray(corpus.RGB.transpose(corpus.TRANSPOSED[6])).astype(int)
    assert np.abs(decode_with_pillow(buffer.getvalue()) - turned).mean() < 2
    with pytest.raises(UnreadableImageError, match="damaged or truncated HEIC"):
        decode_with_pillow(buffer.getvalue()[:400])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImageError, match=r"pip install 'kerastl\[heic\]'"):
        decode_with_pillow(buffer.getvalue())


def test_warnings_of_pillow_do_not_leak_and_filters_come_back():
    noisy = corpus.jpeg_of_size(10000, 9000)  # Image.open warns of it: 90 megapixels
    with warnings.catch_warnings(record=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        cut = corpus.PILLOW_ONLY["rgb.tif"][0][:-40]  # its directory is at the end: it warns
        names = ["palette.tif", "half-transparent-palette.png", "phone.mpo", "jpeg.jpg"]
        contents = [READABLE[name][0] for name in names] * 5

        def read():
            for content in contents:
                decode_with_pillow(content)
            with pytest.raises(UnreadableImageError):
                decode_with_pillow(cut)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        decode_with_pillow(noisy, at_least=(1, 1))
        for thread in threads:
            thread.join()
        assert warnings.filters == before


def test_many_threads_read_the_same():
    contents = [content for content, expected in READABLE.values() if expected is not None]
    expected = [decode_with_pillow(content) for content in contents]
    wrong = []

    def read():
        for content, pixels in zip(contents, expected, strict=True):
            if not np.array_equal(decode_with_pillow(content), pixels):
                wrong.append(content)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
