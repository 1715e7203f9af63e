"""Out of memory: the same answers with fewer images at once, or one clear line."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.errors import DataError
from kerastl.features.extract import predict_probabilities
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.halving import halving, is_out_of_memory, with_fewer_images

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 12, 12, 3), np.uint8)


class Hungry(keras.layers.Layer):
    """Has no memory for more than so many images at once."""

    def __init__(self, most, **kwargs):
        super().__init__(**kwargs)
        self.most = most

    def call(self, inputs):
        zero = tf.numpy_function(self._take, [tf.shape(inputs)[0]], tf.float32)
        return inputs + tf.ensure_shape(zero, ())

    def _take(self, count):
        if count > self.most:
            raise MemoryError
        return np.float32(0)

    def compute_output_shape(self, input_shape):
        return input_shape


def network(most):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(pixels)
    x = x if most is None else Hungry(most)(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x), name="net")


def op_error(kind, message):
    return kind(None, None, message)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        op_error(tf.errors.ResourceExhaustedError, "OOM when allocating tensor"),
        op_error(tf.errors.InternalError, "Failed to call CUDA: CUDA_ERROR_OUT_OF_MEMORY"),
        op_error(tf.errors.InternalError, "Dst tensor is not initialized."),
        op_error(tf.errors.UnknownError, "CUDNN_STATUS_ALLOC_FAILED"),
        op_error(tf.errors.AbortedError, "Operation received an exception:Status: 1, message: c"),
    ],
)
def test_words_for_out_of_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),
        op_error(tf.errors.InternalError, "Blas GEMM launch failed"),
        op_error(tf.errors.InvalidArgumentError, "out of memory of its own"),
        op_error(tf.errors.AbortedError, "Operation received an exception:Status: 3, message: c"),
    ],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)

    def fail(_count):
        raise error

    with pytest.raises(type(error)):
        with_fewer_images(fail, 8, what="a test", then="again")


def test_numpy_inside_a_graph_counts_too():
    def fail(_value):
        raise MemoryError("Unable to allocate 3 GiB")

    graph = tf.function(lambda x: tf.numpy_function(fail, [x], tf.float32))
    with pytest.raises(tf.errors.OpError) as raised:
        graph(1.0)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 10])
def test_answers_are_the_same_and_the_log_says_so(most, caplog):
    with caplog.at_level(logging.WARNING):
        answers = predict_probabilities(network(most), PIXELS, batch_size=8)
    np.testing.assert_allclose(
        answers, predict_probabilities(network(None), PIXELS, batch_size=8), rtol=1e-6
    )
    first = "Out of memory in running 'net' with 8 images at once: now 4, which changes no answer."
    assert caplog.messages[:1] == ([first] if most < 8 else [])
    assert len(caplog.messages) == {1: 3, 2: 2, 3: 2, 5: 1, 10: 0}[most]


def test_tensorflows_own_allocator_says_so_too():
    """More than any machine can address; TensorFlow waits for 10 s whether some comes free."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
    def forward(numbers):
        too_many = tf.shape(numbers)[0] > 2
        taken = tf.random.uniform([tf.where(too_many, tf.constant(2**48, tf.int64), 1)])
        return numbers + tf.cast(tf.reduce_sum(taken) < 0, tf.float32)

    answers = halving(forward, what="a test")(tf.range(4.0))
    np.testing.assert_array_equal(answers, np.arange(4))


def test_what_it_has_learnt_is_not_forgotten():
    sizes = []

    def forward(numbers, others):
        sizes.append(len(numbers))
        if len(numbers) > 3:
            raise MemoryError
        return numbers + others

    split = halving(forward, what="a test")
    for _ in range(2):
        total = split(tf.range(7), tf.range(7))
        np.testing.assert_array_equal(total, 2 * np.arange(7))
    assert sizes == [7, 4, 2, 2, 2, 1, 2, 2, 2, 1]
    assert split(tf.range(2), tf.range(2)).shape == (2,)


def test_one_image_too_much_is_one_clear_line():
    with pytest.raises(DataError, match=r"with one image at a time\. Try a smaller --image-size"):
        predict_probabilities(network(0), PIXELS, batch_size=4)


def test_an_empty_batch_is_a_batch():
    assert halving(lambda x: x + 1, what="a test")(tf.zeros((0, 3))).shape == (0, 3)


def test_kept_views_are_those_of_the_whole_batch():
    """The frozen part runs over fewer images; which views are drawn does not change."""
    kept = {}
    for most in (None, 3):
        frozen = network(most)
        once = FrozenPass(frozen, PIXELS, augment="light", batch_size=8)
        kept[most] = once.views(np.arange(11), num_views=3)
    for whole, split in zip(kept[None].views, kept[3].views, strict=True):
        np.testing.assert_allclose(whole[:], split[:], rtol=1e-6)
    assert not np.allclose(kept[3].views[1][:], kept[3].views[0][:])
