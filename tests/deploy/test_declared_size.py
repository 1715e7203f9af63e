"""What headers promise, against Pillow and against what decoders would do."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kerastl.serving.declared_size import declared_size
from kerastl.serving.limits import RefusedError, require_small_images


def encoded(kind, size=(37, 211), **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_of(width, height, *chunks):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + b"".join(chunks)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "icc_profile": b"x" * 200_000}),
        ("JPEG", {"exif": b"Exif\0\0" + b"\xff\xc0" * 500}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_it_is_what_pillow_reads(kind, options):
    assert declared_size(encoded(kind, **options)) == (37, 211)


def test_bmp_from_the_top():
    content = bytearray(encoded("BMP"))
    content[22:26] = struct.pack("<i", -37)
    assert declared_size(bytes(content)) == (37, 211)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"x"])
def test_what_ends_early_is_nothing(content):
    assert sum(declared_size(content)) <= 2


def test_a_size_behind_a_million_segments_is_not_looked_for():
    assert declared_size(b"\xff\xd8" + b"\xff\xe0\0\x02" * 10**6 + encoded("JPEG")[2:]) is None


def refuse(*contents, signature="serving_default", image_size=(224, 224)):
    values = np.empty(len(contents), object)
    values[:] = contents
    require_small_images(values, signature, image_size=image_size)


def test_what_unpacks_to_gigabytes_is_refused():
    refuse(encoded("PNG"), b"no image", png_of(5_000, 4_000))
    with pytest.raises(RefusedError, match="Image 1 is 13000 x 13000, 169 megapixels"):
        refuse(encoded("PNG"), png_of(13_000, 13_000))
    # Pillow refuses it for its text, which libpng reads.
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 2**20)))
    with pytest.raises(RefusedError, match="144 megapixels"):
        refuse(png_of(12_000, 12_000, text))
    # One row of pixels becomes 224 rows before it is made narrow.
    with pytest.raises(RefusedError, match=r"200000 x 1, .* 35,714 pixels in width"):
        refuse(png_of(200_000, 1))
    refuse(png_of(30_000, 1))
    with pytest.raises(RefusedError, match="does not say how large"):
        refuse(b"\xff\xd8" + b"\xff\xe0\0\x02" * 10**4)


def test_so_are_pixels():
    flat = np.zeros((1, 1, 1), np.uint8)
    wide = np.broadcast_to(flat, (1, 1, 40_000, 1))
    with pytest.raises(RefusedError, match="40000 x 1"):
        require_small_images(wide, "pixels", image_size=(224, 224))
    require_small_images(np.zeros((2, 90, 80, 3), np.uint8), "pixels", image_size=(224, 224))
