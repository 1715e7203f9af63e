"""Every kind of image file that people have, made here, with the pixels that it must give."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(0)
HEIGHT, WIDTH = 53, 71  # odd sizes: JPEG and BMP pad their rows
_BLOCKS = RANDOM.integers(0, 256, (7, 9, 3), dtype=np.uint8)
BLOCKS = np.kron(_BLOCKS, np.ones((8, 8, 1), np.uint8))[:HEIGHT, :WIDTH]
ALPHA = RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
DEEP = RANDOM.integers(0, 2**16, (HEIGHT, WIDTH), dtype=np.uint16)
RGB = Image.fromarray(BLOCKS)
RGBA = Image.fromarray(np.dstack([BLOCKS, ALPHA]))
GREY = RGB.convert("L")
PALETTE = RGB.quantize(16)
TURNED = RGB.transpose(Image.Transpose.ROTATE_180)
FLOATS = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)

TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    # A copy: Pillow's writers leave settings of theirs in the image.
    image.copy().save(buffer, file_format, **options)
    return buffer.getvalue()


def stored(content):
    """What Pillow alone makes of a file, as it is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def oriented(orientation, *, big_endian=False):
    """An EXIF block with a maker in front of the orientation, and a thumbnail's behind it."""
    order = ">" if big_endian else "<"
    entries = struct.pack(order + "HHII", 0x010F, 2, 6, 50) + struct.pack(
        order + "HHIHH", 0x0112, 3, 1, orientation, 0
    )
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    return (
        head
        + struct.pack(order + "H", 2)
        + entries
        + struct.pack(order + "I", 0)
        + b"\0" * 12
        + b"Maker\0"
    )


def with_jpeg_segment(content, marker, payload):
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload
    return content[:2] + segment + content[2:]


def with_png_chunk(content, name, payload, *, last=False):
    place = len(content) - 12 if last else 33
    return content[:place] + _png_chunk(name, payload) + content[place:]


def _png_chunk(name, payload):
    checksum = struct.pack(">I", zlib.crc32(name + payload))
    return struct.pack(">I", len(payload)) + name + payload + checksum


def png(width, height, *, bits=8, colour=2):
    """A PNG that announces a size, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def gif(screen, frame, corner=(0, 0)):
    """A GIF of one frame of 1 pixel, whatever sizes it announces."""
    return (
        b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\x28\x50\x78\xff\xff\xff"
        + b"," + struct.pack("<HHHHB", *corner, *frame, 0) + b"\x02\x02\x44\x01\x00;"
    )  # fmt: skip


def bmp(width, height, *, bits=24, compression=0, body=b"\0" * 100, extra=b""):
    offset = 54 + len(extra)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
        + extra + body
    )  # fmt: skip


def animated_webp(width, height):
    """An animation of small frames on a canvas as large as one likes."""
    content = bytearray(encode(RGB, "WEBP", lossless=True, save_all=True, append_images=[TURNED]))
    content[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(content)


def jpeg_of_size(width, height, **options):
    content = bytearray(encode(RGB, "JPEG", **options))
    place = content.find(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def lossless_webp_of_size(width, height):
    content = bytearray(encode(RGB, "WEBP", lossless=True))
    bits = struct.unpack("<I", content[21:25])[0] & ~0xFFFFFFF
    content[21:25] = struct.pack("<I", bits | (width - 1) | (height - 1) << 14)
    return bytes(content)


def _bmp_with_masks():
    """32 bits per pixel, the unused byte first: TensorFlow would take that for blue."""
    values = np.dstack([np.zeros((HEIGHT, WIDTH, 1), np.uint8), BLOCKS[..., ::-1]])[::-1]
    masks = struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)
    return bmp(WIDTH, HEIGHT, bits=32, compression=3, extra=masks, body=values.tobytes())


def _os2_bmp():
    """The oldest header, of 12 bytes."""
    rows = np.pad(BLOCKS[::-1, :, ::-1].reshape(HEIGHT, -1), [(0, 0), (0, 3)])
    head = struct.pack("<IHHI", 26 + rows.size, 0, 0, 26) + struct.pack(
        "<IHHHH", 12, WIDTH, HEIGHT, 1, 24
    )
    return b"BM" + head + rows.tobytes()


def _ycck(content):
    """A CMYK JPEG that says it is YCCK: the colours are odd, but both must see the same."""
    content = bytearray(content)
    content[content.find(b"Adobe") + 11] = 2
    return bytes(content)


def _without_adobe(content):
    """CMYK without the mark of Adobe, so not inverted."""
    place = content.find(b"\xff\xee")
    return content[:place] + content[place + 16 :]


def _inks_to_rgb(light):
    """Every colour is what its ink and the black one let through."""
    return light[..., :3].astype(int) * light[..., 3:] // 255


def _pages(first, *others, file_format="TIFF", **options):
    others = [image.copy() for image in others]
    return encode(first, file_format, save_all=True, append_images=others, **options)


# What the graph and Pillow both read: name -> contents; expected is what Pillow alone gives.
BOTH = {
    "jpeg.jpg": encode(RGB, "JPEG", quality=90),
    "no-subsampling.jpg": encode(RGB, "JPEG", quality=95, subsampling=0),
    "half-subsampling.jpeg": encode(RGB, "JPEG", subsampling=1),
    "low-quality.JPG": encode(RGB, "JPEG", quality=30),
    "progressive.jpg": encode(RGB, "JPEG", progressive=True),
    "grey.jpg": encode(GREY, "JPEG"),
    "restart.jpg": encode(RGB, "JPEG", restart_marker_blocks=2),
    "phone.mpo": _pages(RGB, TURNED, file_format="MPO"),
    "rgb.png": encode(RGB, "PNG"),
    "alpha.png": encode(RGBA, "PNG"),
    "grey.png": encode(GREY, "PNG"),
    "grey-alpha.png": encode(RGBA.convert("LA"), "PNG"),
    "palette.png": encode(PALETTE, "PNG"),
    "transparent-palette.png": encode(PALETTE, "PNG", transparency=3),
    "half-transparent-palette.png": encode(PALETTE, "PNG", transparency=bytes(range(0, 256, 16))),
    "transparent-grey.png": encode(GREY, "PNG", transparency=100),
    "bilevel.png": encode(RGB.convert("1"), "PNG"),
    "2-bit.png": encode(RGB.quantize(4), "PNG", bits=2),
    "animated.png": _pages(RGB, TURNED, file_format="PNG"),
    "rgb.bmp": encode(RGB, "BMP"),
    "alpha.bmp": encode(RGBA, "BMP"),
    "grey.bmp": encode(GREY, "BMP"),
    "palette.bmp": encode(PALETTE, "BMP"),
    "256-colours.bmp": encode(RGB.quantize(256), "BMP"),
    "top-down.bmp": bmp(WIDTH, -HEIGHT, body=np.pad(
        BLOCKS[..., ::-1].reshape(HEIGHT, -1), [(0, 0), (0, 3)]).tobytes()),
    "palette.gif": encode(PALETTE, "GIF"),
    "interlaced.gif": encode(PALETTE, "GIF", interlace=1),
    "animated.gif": _pages(PALETTE, TURNED.quantize(16), file_format="GIF"),
    "commented.gif": encode(PALETTE, "GIF", comment=b"x" * 1000),
    "lossy.webp": encode(RGB, "WEBP", quality=80),
    "lossless.webp": encode(RGB, "WEBP", lossless=True),
    "alpha.webp": encode(RGBA, "WEBP", lossless=True),
    "lossy-alpha.webp": encode(RGBA, "WEBP", quality=70),
    "animated.webp": encode(RGB, "WEBP", lossless=True, save_all=True, append_images=[TURNED]),
    "really-a-png.jpg": encode(RGB, "PNG"),
    "really-a-jpeg.png": encode(RGB, "JPEG"),
}  # fmt: skip

# Which of 16 bits is kept, how inks mix and what is transparent, TensorFlow decides:
# name -> (contents, pixels).
_TRANSPARENT_GIF = encode(PALETTE, "GIF", transparency=2)
_SEEN = np.asarray(Image.open(io.BytesIO(_TRANSPARENT_GIF)).convert("RGBA"))
_INKS = Image.fromarray(
    np.kron(RANDOM.integers(0, 256, (7, 9, 4), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)),
    "CMYK",
)
_INKS_JPEG = encode(_INKS, "JPEG", quality=95)
_INKS_SEEN = np.asarray(Image.open(io.BytesIO(_INKS_JPEG)))
_INKS_YCCK = Image.open(io.BytesIO(_ycck(_INKS_JPEG)))
_ONE_PIXEL = np.zeros((6, 9, 3), np.uint8)
_ONE_PIXEL[2, 3] = (0x28, 0x50, 0x78)
BOTH_OTHERWISE = {
    "cmyk.jpg": (_INKS_JPEG, _inks_to_rgb(255 - _INKS_SEEN)),
    "plain-cmyk.jpg": (_without_adobe(_INKS_JPEG), _inks_to_rgb(_INKS_SEEN)),
    "ycck.jpg": (_ycck(_INKS_JPEG), _inks_to_rgb(255 - np.asarray(_INKS_YCCK))),
    "16-bit-grey.png": (encode(Image.fromarray(DEEP), "PNG"), np.dstack([DEEP >> 8] * 3)),
    "transparent.gif": (_TRANSPARENT_GIF, np.where(_SEEN[..., 3:] > 0, _SEEN[..., :3], 0)),
    "small-frame.gif": (gif((9, 6), (1, 1), (3, 2)), _ONE_PIXEL),
    "frame-beyond-the-screen.gif": (gif((1, 1), (1, 1), (8, 5)),
                                    np.roll(_ONE_PIXEL, (3, 5), (0, 1))),
}  # fmt: skip


def _tiff(image, **options):
    return encode(image, "TIFF", **options)


# What Pillow alone reads: name -> (contents, pixels).
_DEEP_RGB = np.dstack([DEEP >> 8] * 3)
_BLACK_AND_WHITE = np.asarray(RGB.convert("1").convert("RGB"))
_FROM_FLOATS = np.dstack([np.rint(FLOATS * 255)] * 3)
_CMYK = RGB.convert("CMYK")
PILLOW_ONLY = {
    "rgb.tif": (_tiff(RGB), BLOCKS),
    "lzw.tiff": (_tiff(RGB, compression="tiff_lzw"), BLOCKS),
    "deflate.tif": (_tiff(RGB, compression="tiff_adobe_deflate"), BLOCKS),
    "packbits.tif": (_tiff(RGB, compression="packbits"), BLOCKS),
    "alpha.tif": (_tiff(RGBA), BLOCKS),
    "grey.tif": (_tiff(GREY), np.asarray(GREY.convert("RGB"))),
    "bilevel.tif": (_tiff(RGB.convert("1")), _BLACK_AND_WHITE),
    "fax.tif": (_tiff(RGB.convert("1"), compression="group4"), _BLACK_AND_WHITE),
    "palette.tif": (_tiff(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "cmyk.tif": (_tiff(_CMYK), np.asarray(_CMYK.convert("RGB"))),
    "16-bit.tif": (_tiff(Image.fromarray(DEEP)), _DEEP_RGB),
    "16-bit-lzw.tif": (_tiff(Image.fromarray(DEEP), compression="tiff_lzw"), _DEEP_RGB),
    "float-to-1.tif": (_tiff(Image.fromarray(FLOATS)), _FROM_FLOATS),
    "float-to-255.tif": (_tiff(Image.fromarray(FLOATS * 255)), _FROM_FLOATS),
    "float-to-65535.tif": (_tiff(Image.fromarray(FLOATS * 65535)),
                           np.dstack([(FLOATS * 65535).astype(int) >> 8] * 3)),
    "32-bit.tif": (_tiff(Image.fromarray(DEEP.astype(np.int32))), _DEEP_RGB),
    "pages.tif": (_pages(RGB, TURNED), BLOCKS),
    "turned.tif": (_tiff(RGB, tiffinfo={0x112: 6}), np.asarray(RGB.transpose(TRANSPOSED[6]))),
    "bilevel.bmp": (encode(RGB.convert("1"), "BMP"), _BLACK_AND_WHITE),
    "masks.bmp": (_bmp_with_masks(), BLOCKS),
    "os2.bmp": (_os2_bmp(), BLOCKS),
    "rgb.ppm": (encode(RGB, "PPM"), BLOCKS),
    "grey.pgm": (encode(GREY, "PPM"), np.asarray(GREY.convert("RGB"))),
    "text.ppm": (b"P3 2 1 255\n1 2 3 4 5 6\n", np.array([[[1, 2, 3], [4, 5, 6]]])),
    "rgb.jp2": (encode(RGB, "JPEG2000", irreversible=False), BLOCKS),
    "stream.j2k": (encode(RGB, "JPEG2000", irreversible=False, no_jp2=True), BLOCKS),
    "icon.ico": (encode(RGBA.resize((32, 32)), "ICO", sizes=[(32, 32)]),
                 np.asarray(RGBA.resize((32, 32)))[..., :3]),
    "turned.avif": (encode(RGB, "AVIF", quality=100, subsampling="4:4:4", exif=oriented(6)), None),
}  # fmt: skip

_PNG = BOTH["rgb.png"]
_JPEG = BOTH["jpeg.jpg"]
# Nobody can read these: name -> (contents, what the reason says).
BROKEN = {
    "empty.jpg": (b"", "the file is empty"),
    "page.jpg": (b"<!DOCTYPE html>\n<html><body>404 not there", "an HTML page, not an image"),
    "drawing.png": (b'<?xml version="1.0"?>\n<svg xmlns="http://x"/>', "an SVG drawing, not an"),
    "paper.jpg": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document, not an image"),
    "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video, not an image"),
    "notes.png": (b"hello world, this is no image", "text, not an image"),
    "zeros.jpg": (bytes(5000), "nothing but zeros, not an image"),
    "noise.jpg": (b"\x01\x02" + RANDOM.bytes(500), "unknown image file format (JPEG, PNG, "),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "Photoshop.jpg": (b"8BPS\0\1" + bytes(100), "a Photoshop file, not an image"),
    "cut.jpg": (_JPEG[: len(_JPEG) // 2], "damaged or truncated JPEG"),
    "start.jpg": (_JPEG[:3], "damaged or truncated JPEG"),
    "cut.png": (_PNG[: len(_PNG) // 2], "damaged or truncated PNG"),
    "start.png": (_PNG[:20], "damaged or truncated PNG"),
    "cut.gif": (BOTH["palette.gif"][:300], "damaged or truncated GIF"),
    "cut.bmp": (BOTH["rgb.bmp"][:1000], "damaged or truncated BMP"),
    "start.bmp": (b"BM", "damaged or truncated BMP"),
    "cut.webp": (BOTH["lossless.webp"][:60], "damaged or truncated WebP"),
    "cut.tif": (PILLOW_ONLY["lzw.tiff"][0][:500], "damaged or truncated TIFF"),
    "cut.jp2": (PILLOW_ONLY["rgb.jp2"][0][:300], "damaged or truncated JPEG 2000"),
    "cut.ppm": (PILLOW_ONLY["rgb.ppm"][0][:300], "damaged or truncated PPM"),
    "cut.avif": (PILLOW_ONLY["turned.avif"][0][:200], "damaged or truncated AVIF"),
    "negative.tif": (_tiff(Image.fromarray(FLOATS - 1)), "floating-point image with values"),
    "nan.tif": (_tiff(Image.fromarray(FLOATS * np.nan)), "floating-point image with values"),
    "preview-of-raw.tif": (_tiff(RGB, tiffinfo={254: 1}), "camera raw file"),
    "really-raw.jpg": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(100), "camera raw file"),
}  # fmt: skip

# A few bytes that ask for a great deal of memory: name -> (contents, the size in the reason).
BOMBS = {
    "jpeg": (jpeg_of_size(60000, 50000), "60000 x 50000"),
    "progressive jpeg": (jpeg_of_size(60000, 50000, progressive=True), "60000 x 50000"),
    "png": (png(60000, 50000), "60000 x 50000"),
    "grey png": (png(30000, 30000, colour=0), "30000 x 30000"),
    "gif screen": (gif((60000, 50000), (1, 1)), "60000 x 50000"),
    "gif frame": (gif((1, 1), (60000, 50000)), "60000 x 50000"),
    "bmp": (bmp(60000, 50000), "60000 x 50000"),
    "top-down bmp": (bmp(60000, -50000), "60000 x 50000"),
    "animated webp": (animated_webp(60000, 50000), "60000 x 50000"),
    "animated webp of a possible size": (animated_webp(16383, 16383), "16383 x 16383"),
    "lossless webp": (lossless_webp_of_size(16384, 16384), "16384 x 16384"),
}


def readable():
    """Yield (name, contents, expected pixels or None) of all that can be read."""
    for name, content in BOTH.items():
        yield name, content, stored(content)
    for name, (content, expected) in (BOTH_OTHERWISE | PILLOW_ONLY).items():
        yield name, content, expected


def write_corpus(folder, *, broken=True):
    """Write the corpus, mixed, into two class folders; return the names of the broken files."""
    files = [(name, content) for name, content, _ in readable()]
    if broken:
        files += [(name, content) for name, (content, _) in BROKEN.items()]
    for number, (name, content) in enumerate(files):
        path = Path(folder) / "ab"[number % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sorted(BROKEN) if broken else []
