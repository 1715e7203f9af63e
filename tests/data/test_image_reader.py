"""Anything that people call an image: pixels, or one error with a reason, at no great cost."""

import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerastl.data.decode import decode_image
from kerastl.data.image_kinds import image_kind
from kerastl.data.image_reader import can_be_served, read_image, servable_image
from kerastl.errors import UnreadableImageError

from . import corpus

MEGABYTE = 2**20


def test_everything_readable_is_read():
    for name, content, expected in corpus.readable():
        pixels = read_image(content)
        if expected is not None:
            np.testing.assert_array_equal(pixels, expected, name)
        served = can_be_served(content)
        assert served == (name not in corpus.PILLOW_ONLY), name
        if served:
            np.testing.assert_array_equal(decode_image(content), pixels, name)
            assert servable_image(content) == content
        else:
            png = servable_image(content)
            assert image_kind(png) == "PNG"
            np.testing.assert_array_equal(decode_image(png), pixels, name)


def test_only_jpeg_comes_smaller():
    assert read_image(corpus.BOTH["jpeg.jpg"], at_least=(20, 20)).shape == (27, 36, 3)
    assert read_image(corpus.BOTH["rgb.png"], at_least=(20, 20)).shape == (53, 71, 3)


def test_every_broken_file_has_its_reason():
    for name, (content, expected) in corpus.BROKEN.items():
        with pytest.raises(UnreadableImageError) as caught:
            read_image(content)
        assert expected in caught.value.reason, name
        assert "\n" not in caught.value.reason
        assert not can_be_served(content), name
        with pytest.raises(UnreadableImageError):
            servable_image(content)


def largest_memory():
    """The most that this process had at a time since `forget_largest_memory`, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def forget_largest_memory():
    Path("/proc/self/clear_refs").write_text("5")


def test_bombs_are_refused_fast_and_without_memory():
    serve = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
    for content in corpus.BOTH.values():
        read_image(content)
        serve(content)
    forget_largest_memory()
    before = largest_memory()
    for name, (content, size) in corpus.BOMBS.items():
        started = time.monotonic()
        with pytest.raises(UnreadableImageError) as caught:
            read_image(content)
        expected = f"image of {size} pixels; more than 178,956,970 are refused"
        assert caught.value.reason == expected, name
        with pytest.raises(tf.errors.InvalidArgumentError):
            serve(content)
        assert time.monotonic() - started < 5, name
        assert largest_memory() - before < 50 * MEGABYTE, name


def test_only_the_first_frame_of_an_animation_is_unpacked():
    """A GIF of 200 frames of 4 megapixels: TensorFlow alone would take 800 MB and 2 s."""
    frame = corpus.Image.new("P", (2000, 2000), 1)
    frame.putpalette([0, 0, 0, 9, 99, 199] + [0] * 762)
    content = corpus.encode(frame, "GIF")
    start = content.index(b",\0\0\0\0")
    content = content[:-1] + content[start:-1] * 199 + b";"
    read_image(corpus.BOTH["palette.gif"])
    forget_largest_memory()
    before = largest_memory()
    pixels = read_image(content)
    assert (pixels == (9, 99, 199)).all()
    assert pixels.shape == (2000, 2000, 3)
    assert largest_memory() - before < 150 * MEGABYTE
