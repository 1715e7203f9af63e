"""Bytes to pixels of one size: what a served model sees is what training saw, bit for bit."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerastl.data.preparation import prepare_image, prepare_pixels

from . import corpus

SERVED = {**corpus.BOTH, **{name: pair[0] for name, pair in corpus.BOTH_OTHERWISE.items()}}


def phone_photo(orientation):
    """A large JPEG that lies on its side and is decoded 4 times smaller."""
    smooth = Image.fromarray(corpus.BLOCKS).resize((640, 480), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return corpus.encode(smooth, "JPEG", quality=90, exif=exif)


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
def test_training_and_serving_see_the_same_pixels(resize_mode):
    options = {"image_size": (20, 31), "resize_mode": resize_mode}
    graph = tf.function(
        lambda content: prepare_image(content, **options),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    for name, content in SERVED.items():
        np.testing.assert_array_equal(graph(content), prepare_pixels(content, **options), name)
    for orientation in (1, 3, 6):
        photo = phone_photo(orientation)
        np.testing.assert_array_equal(graph(photo), prepare_pixels(photo, **options))


def test_tiny_jpegs_are_the_same_in_training_and_serving():
    """Several reductions of a few pixels have the same size: all decoders must take the same."""
    rng = np.random.default_rng(0)
    graph = tf.function(
        lambda content: prepare_image(content, image_size=(1, 2)),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    for height, width in [
        (1, 1),
        (2, 2),
        (3, 3),
        (7, 5),
        (8, 8),
        (4, 15),
        (16, 16),
        (2, 33),
        (40, 9),
    ]:
        pixels = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for quality in (50, 95):
            content = corpus.encode(pixels, "JPEG", quality=quality)
            np.testing.assert_array_equal(
                graph(content), prepare_pixels(content, image_size=(1, 2)), f"{height} x {width}"
            )


def test_decoding_smaller_changes_little():
    photo = phone_photo(1)
    small = prepare_pixels(photo, image_size=(48, 64)).astype(float)
    whole = corpus.encode(Image.open(io.BytesIO(photo)), "PNG")
    exact = prepare_pixels(whole, image_size=(48, 64))
    assert np.abs(small - exact).mean() < 1
    assert np.abs(small - exact).max() < 12


def test_same_pixels_eagerly_in_data_set_map_fn_and_savedmodel(tmp_path):
    names = ["grey.jpg", "alpha.png", "palette.bmp", "alpha.webp"]
    images_bytes = [*(SERVED[name] for name in names), phone_photo(6)]

    def prepare(image_bytes):
        return prepare_image(image_bytes, image_size=(20, 31), resize_mode="crop")

    eager = np.stack([prepare(one) for one in images_bytes])
    assert eager.dtype == np.uint8
    assert eager.shape == (5, 20, 31, 3)

    in_data_set = list(tf.data.Dataset.from_tensor_slices(images_bytes).map(prepare))
    np.testing.assert_array_equal(np.stack(in_data_set), eager)

    module = tf.Module()
    spec = tf.TensorSpec((20, 31, 3), tf.uint8)
    module.serve = tf.function(
        lambda batch: tf.map_fn(prepare, batch, fn_output_signature=spec),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    np.testing.assert_array_equal(module.serve(tf.constant(images_bytes)), eager)
    tf.saved_model.save(module, tmp_path)
    restored = tf.saved_model.load(tmp_path)
    np.testing.assert_array_equal(restored.serve(tf.constant(images_bytes)), eager)
