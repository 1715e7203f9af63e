import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerastl.data.decode import (
    decode_error_reason,
    decode_image,
    to_rgb,
)
from kerastl.errors import DataError

from .corpus import BOMBS

RANDOM = np.random.default_rng(0)
BLOCKS = np.kron(RANDOM.integers(0, 256, (7, 9, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
RGB = Image.fromarray(BLOCKS[:53, :71])  # odd sizes: JPEG and BMP pad their rows
ALPHA = RANDOM.integers(0, 256, (53, 71), dtype=np.uint8)
RGBA = Image.fromarray(np.dstack([BLOCKS[:53, :71], ALPHA]))
PALETTE = RGB.quantize(16)
TURNED = RGB.transpose(Image.Transpose.ROTATE_180)


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


READABLE = {
    "jpeg": encode(RGB, "JPEG", quality=90),
    "jpeg without chroma subsampling": encode(RGB, "JPEG", quality=95, subsampling=0),
    "jpeg of low quality": encode(RGB, "JPEG", quality=30),
    "progressive jpeg": encode(RGB, "JPEG", progressive=True),
    "grey jpeg": encode(RGB.convert("L"), "JPEG"),
    "cmyk jpeg": encode(RGB.convert("CMYK"), "JPEG", quality=95),
    "png": encode(RGB, "PNG"),
    "png with alpha": encode(RGBA, "PNG"),
    "grey png": encode(RGB.convert("L"), "PNG"),
    "grey png with alpha": encode(RGB.convert("LA"), "PNG"),
    "palette png": encode(PALETTE, "PNG"),
    "palette png with transparency": encode(PALETTE, "PNG", transparency=3),
    "1-bit png": encode(RGB.convert("1"), "PNG"),
    "gif": encode(PALETTE, "GIF"),
    "animated gif": encode(PALETTE, "GIF", save_all=True, append_images=[TURNED.quantize(16)]),
    "bmp": encode(RGB, "BMP"),
    "bmp with alpha": encode(RGBA, "BMP"),
    "grey bmp": encode(RGB.convert("L"), "BMP"),
    "palette bmp": encode(PALETTE, "BMP"),
    "palette bmp of 256 colours": encode(RGB.quantize(256), "BMP"),
    "webp": encode(RGB, "WEBP", quality=80),
    "webp with alpha": encode(RGBA, "WEBP", lossless=True),
    "animated webp": encode(RGB, "WEBP", lossless=True, save_all=True, append_images=[TURNED]),
}


@pytest.mark.parametrize("name", READABLE)
def test_pixels_equal_pillow(name):
    image_bytes = READABLE[name]
    expected = np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(image_bytes), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_the_high_byte(channels):
    values = RANDOM.integers(0, 2**16, (6, 5, channels), dtype=np.uint16)
    pixels = decode_image(tf.io.encode_png(values)).numpy()
    np.testing.assert_array_equal(pixels, to_rgb((values >> 8).astype(np.uint8)))


def test_transparent_gif_pixels_are_black():
    image_bytes = encode(PALETTE, "GIF", transparency=2)
    transparent = np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGBA"))[..., 3] == 0
    assert transparent.any()
    assert not decode_image(image_bytes).numpy()[transparent].any()


DAMAGED = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello world", "unknown image file format (JPEG, PNG, GIF, BMP and WebP can be"),
    "tiff": (encode(RGB, "TIFF"), "unknown image file format"),
    "jpeg": (READABLE["jpeg"][:300], "damaged or truncated JPEG"),
    "jpeg without its end": (READABLE["jpeg"][:-2], "damaged or truncated JPEG"),
    "png": (READABLE["png"][:200], "damaged or truncated PNG"),
    "gif": (READABLE["gif"][:100], "damaged or truncated GIF"),
    "bmp": (READABLE["bmp"][:1000], "damaged, truncated or compressed BMP"),
    "palette bmp": (READABLE["palette bmp"][:1000], "damaged, truncated or compressed BMP"),
    "bmp of a few bytes": (b"BM", "damaged or truncated BMP"),
    "1-bit bmp": (encode(RGB.convert("1"), "BMP"), "BMP with fewer than 8"),
    "webp": (READABLE["webp"][:60], "damaged or truncated WebP"),
}


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_in_function(image_bytes):
    return decode_image(image_bytes)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode_in_map_fn(images_bytes):
    spec = tf.TensorSpec([None, None, 3], tf.uint8)
    return tf.map_fn(decode_image, images_bytes, fn_output_signature=spec)


def decode_in_data_set(image_bytes):
    # A data set of its own for each takes 1 s: the errors do not end this one.
    if not FROM_DATA_SET:
        contents = [content for content, _ in DAMAGED.values()]
        data_set = tf.data.Dataset.from_tensor_slices(contents).map(decode_image)
        FROM_DATA_SET.append(iter(data_set))
    return next(FROM_DATA_SET[0])


FROM_DATA_SET = []


@pytest.mark.parametrize(
    "decode",
    [
        decode_image,
        decode_in_function,
        decode_in_data_set,
        lambda image_bytes: decode_in_map_fn([image_bytes]),
    ],
    ids=["eager", "function", "data set", "map_fn"],
)
def test_damage_is_named_everywhere(decode):
    for name, (image_bytes, expected) in DAMAGED.items():
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decode(tf.constant(image_bytes))
        reason = decode_error_reason(caught.value)
        assert reason.startswith(expected), name
        assert 0 < len(reason) < 100
        assert "{{" not in reason
        assert "\n" not in reason


def test_bombs_are_refused_everywhere():
    for name, (image_bytes, size) in BOMBS.items():
        for decode in (decode_image, decode_in_function):
            with pytest.raises(tf.errors.InvalidArgumentError) as caught:
                decode(tf.constant(image_bytes))
            reason = decode_error_reason(caught.value)
            assert reason == f"image of {size} pixels; more than 178,956,970 are refused", name


def test_unknown_kernel_words_are_kept():
    message = "{{function_node f}} Error in it: Iterator::Root::Map: Disk is tired. [Op:Read]"
    error = tf.errors.InvalidArgumentError(None, None, message)
    assert decode_error_reason(error) == "Disk is tired."


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_known_or_not(channels):
    pixels = RANDOM.integers(0, 256, (2, 4, 5, channels), dtype=np.uint8)
    expected = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(to_rgb(pixels), expected)
    spec = tf.TensorSpec([None, None, None, None], tf.uint8)
    np.testing.assert_array_equal(tf.function(to_rgb, input_signature=[spec])(pixels), expected)


def test_grey_without_a_channel_axis():
    pixels = RANDOM.integers(0, 256, (4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(pixels), np.dstack([pixels] * 3))


def test_errors_say_what_to_do():
    with pytest.raises(DataError, match=r"numpy\.moveaxis"):
        to_rgb(np.zeros((3, 16, 16), np.uint8))
    spec = tf.TensorSpec([None, None, None], tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have 1 to 4 channels"):
        tf.function(to_rgb, input_signature=[spec])(np.zeros((3, 16, 16), np.uint8))
