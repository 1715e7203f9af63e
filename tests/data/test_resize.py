"""Any image to one size: the same pixels in a graph and compiled."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerastl.data.resampler import resampling_taps
from kerastl.data.resize import (
    _by_compiled_code,
    _by_pillow,
    _taps,
    compile_resizing,
    resize_image,
    resize_pixels,
)
from kerastl.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
PHOTO = np.kron(RANDOM.integers(0, 256, (7, 9, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("static", [True, False])
def test_an_image_of_the_size_is_unchanged(resize_mode, static):
    pixels = RANDOM.integers(0, 256, (23, 34, 3), dtype=np.uint8)
    resize = tf.function(
        lambda image: resize_image(image, image_size=(23, 34), resize_mode=resize_mode),
        input_signature=[tf.TensorSpec((23, 34, 3) if static else (None, None, None), tf.uint8)],
    )
    np.testing.assert_array_equal(resize(pixels), pixels)


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
def test_graph_and_arrays_agree_bit_for_bit(resize_mode):
    size = (37, 61)
    resize = tf.function(
        lambda image: resize_image(image, image_size=size, resize_mode=resize_mode),
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)],
    )
    compile_resizing()
    for height, width in [*RANDOM.integers(1, 300, (40, 2)).tolist(), (37, 400), (1, 1), (999, 2)]:
        pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = resize_pixels(pixels, image_size=size, resize_mode=resize_mode)
        np.testing.assert_array_equal(resize(pixels), expected)


@pytest.mark.parametrize("size", [(10, 10), (40, 25), (200, 300)])
def test_stretch_is_antialiased_as_tensorflow_does_it(size):
    # tf.image does the same in floating point and rounds once: off by one at most.
    resized = resize_pixels(PHOTO, image_size=size)
    expected = np.round(tf.image.resize(PHOTO, size, antialias=True))
    assert np.abs(resized.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(31, 20), (90, 13), (20, 100), (56, 72), (1, 1)])
def test_rows_then_columns_as_pillow_computes_each(size):
    image = Image.fromarray(PHOTO)
    expected = image.resize((image.width, size[0]), Image.Resampling.BILINEAR)
    expected = expected.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_pixels(PHOTO, image_size=size), expected)


def test_pillow_and_compiled_code_agree_bit_for_bit():
    for height, width in RANDOM.integers(2, 400, (60, 2)).tolist():
        pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
        top, left = int(RANDOM.integers(height)), int(RANDOM.integers(width))
        window = (top, left, height - top, width - left)
        size = tuple(RANDOM.integers(1, 300, 2).tolist())
        expected, compiled = np.zeros((2, *size, 3), np.uint8)
        _by_pillow(pixels, window, expected)
        _by_compiled_code(pixels, window, compiled)
        np.testing.assert_array_equal(compiled, expected)


def test_without_numba_pillow_goes_on(monkeypatch, caplog):
    """Numba refuses a NumPy that is newer than it knows, and its cache can be damaged."""
    monkeypatch.setitem(sys.modules, "kerastl.data.resampler", None)  # importing it fails
    with caplog.at_level("INFO"):
        compile_resizing()
    assert "resized by Pillow" in caplog.text


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
def test_a_given_array_takes_the_result_whatever_was_in_it(resize_mode):
    for shape in ((20, 30), (48, 40)):  # the second one is of that size already
        pixels = RANDOM.integers(0, 256, (*shape, 3), dtype=np.uint8)
        out = RANDOM.integers(0, 256, (48, 40, 3), dtype=np.uint8)
        same = resize_pixels(pixels, image_size=(48, 40), resize_mode=resize_mode, out=out)
        assert same is out
        expected = resize_pixels(pixels, image_size=(48, 40), resize_mode=resize_mode)
        np.testing.assert_array_equal(out, expected)


def test_few_images_do_not_wait_for_the_compiler():
    code = (
        "import sys, numpy as np, kerastl.data.stream as stream; "
        "from kerastl.data.table import table_from_arrays; "
        "read = lambda n: stream.image_reader("
        "table_from_arrays(np.zeros((n, 4, 4), np.uint8), [0] * n),"
        " image_size=(2, 2), resize_mode='pad'); "
        "out = np.empty((2, 2, 3), np.uint8); "
        "read(999)(0, out); print('numba' in sys.modules); "
        "read(1000)(0, out); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_graph_and_the_compiled_code_use_the_same_weights():
    for size in (1, 7, 32, 224, 299, 331):
        for length in [*range(1, 40), *RANDOM.integers(40, 9000, 60).tolist()]:
            first, count, weights = resampling_taps(length, size)
            places, expected = (part.numpy() for part in _taps(tf.constant(length), size))
            np.testing.assert_array_equal(weights.T, expected)
            np.testing.assert_array_equal(first, places[0])
            assert not any(weights[i, count[i] :].any() for i in range(size))


def test_it_runs_where_compiled_code_cannot_be_kept(tmp_path):
    """A container without a home, its packages read-only."""
    # The only place allowed is a zip archive, which this is not.
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    code = (
        "import numpy as np; from kerastl.data.resampler import resample; "
        "out = np.empty((1, 2, 3), np.uint8); "
        "resample(np.full((9, 9, 3), 7, np.uint8), window=(0, 0, 9, 9), out=out); print(out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.replace("\n", "") == "[[[7 7 7]  [7 7 7]]]", done.stderr


def test_crop_takes_the_largest_window_in_the_middle():
    pixels = np.zeros((10, 30, 1), np.uint8)
    pixels[:, 10:20] = 200
    square = resize_image(pixels, image_size=(5, 5), resize_mode="crop").numpy()
    assert (square == 200).all()
    upright = resize_image(pixels.transpose(1, 0, 2), image_size=(5, 5), resize_mode="crop")
    assert (upright.numpy() == 200).all()
    wide = resize_image(pixels, image_size=(5, 10), resize_mode="crop").numpy()
    assert wide.shape == (5, 10, 3)
    assert (wide[:, 3:7] == 200).all()
    assert not wide[:, [0, 1, -2, -1]].any()


def test_pad_keeps_all_of_the_image():
    pixels = np.full((10, 30, 3), 200, np.uint8)
    padded = resize_image(pixels, image_size=(30, 30), resize_mode="pad").numpy()
    assert (padded[10:20] == 200).all()
    assert (padded[:10] == 127).all()
    assert (padded[20:] == 127).all()
    upright = resize_image(pixels.transpose(1, 0, 2), image_size=(15, 15), resize_mode="pad")
    assert (upright.numpy()[:, 5:10] == 200).all()
    assert (upright.numpy()[:, [0, 4, 10, 14]] == 127).all()


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (3, 2)])
def test_extreme_shapes(resize_mode, shape):
    pixels = np.full(shape, 80, np.uint8)
    resized = resize_image(pixels, image_size=(7, 5), resize_mode=resize_mode).numpy()
    assert resized.shape == (7, 5, 3)
    assert set(np.unique(resized)) <= {80, 127}
    assert (resized == 80).any()


@pytest.mark.parametrize("resize_mode", ["stretch", "crop", "pad"])
def test_a_batch_is_resized_like_its_images(resize_mode):
    batch = RANDOM.integers(0, 256, (3, 29, 41, 3), dtype=np.uint8)
    together = resize_image(batch, image_size=(16, 12), resize_mode=resize_mode)
    alone = [resize_image(one, image_size=(16, 12), resize_mode=resize_mode) for one in batch]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_errors_say_what_to_do():
    with pytest.raises(DataError, match=r"received dtype float32.*astype\('uint8'\)"):
        resize_image(np.zeros((4, 4, 3), np.float32), image_size=(2, 2))
    for resize in (resize_image, resize_pixels):
        with pytest.raises(ConfigError, match="Did you mean 'stretch'"):
            resize(np.zeros((4, 4, 3), np.uint8), image_size=(2, 2), resize_mode="strech")
