"""What to do when memory runs out: the same work with half as many images at once.

TensorFlow and CUDA say "out of memory" in many ways: `ResourceExhaustedError` by their own
allocators (CPU, GPU, XLA), `InternalError` where a copy to the device or a handle of a library
found no room (tensorflow #7025, #7072), `AbortedError` or `UnknownError` by oneDNN and cuDNN,
`MemoryError` by NumPy. A process that the system kills gives no sign at all.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.wording import counted
from kerastl.errors import DataError
from kerastl.models.frozen import prove_inert

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

# What other errors than ResourceExhaustedError say when the reason is memory; lower case.
_SIGNS = (
    "out of memory",
    "out_of_memory",  # CUDA_ERROR_OUT_OF_MEMORY
    "resource_exhausted",  # XLA
    "resource exhausted",
    "failed to allocate",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "dst tensor is not initialized",  # a copy to a GPU that is full
    "status: 1, message:",  # oneDNN: dnnl_out_of_memory is 1
)
_VAGUE = (
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.AbortedError,
)

SMALLER_INPUT = "Try a smaller --image-size or a smaller --backbone"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of TensorFlow or NumPy means that memory ran out.

    Args:
        error: Whatever was raised.

    Example:
        >>> is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))
        True
        >>> is_out_of_memory(tf.errors.InternalError(None, None, "Dst tensor is not initialized."))
        True
        >>> is_out_of_memory(tf.errors.InvalidArgumentError(None, None, "shapes differ"))
        False
    """
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    return isinstance(error, _VAGUE) and any(sign in str(error).lower() for sign in _SIGNS)


def with_fewer_images(
    work: Callable[[int], _Answer],
    num_images: int,
    *,
    what: str,
    then: str,
    advice: str = SMALLER_INPUT,
    restore: Callable[[], None] = lambda: None,
) -> tuple[_Answer, int]:
    """Do some work with so many images at once, or with half as many each time memory runs out.

    Every time is one warning in the log.

    Args:
        work: From a number of images at once to anything. It is called again from its start.
        num_images: How many to begin with, from 1.
        what: Was short of memory, in a few words.
        then: What happens with fewer images, one clause.
        advice: What to do when one image is too much, one clause.
        restore: Called before the work is done again.

    Returns:
        What the work gave, and the number of images that it gave it with.

    Raises:
        DataError: One image at a time is too much.

    Example:
        >>> def work(count):
        ...     if count > 10:
        ...         raise MemoryError
        ...     return "done"
        >>> with_fewer_images(work, 32, what="work", then="it is done again")
        ('done', 8)
    """
    count = num_images
    while True:
        try:
            return work(count), count
        except (MemoryError, tf.errors.OpError) as error:
            if not is_out_of_memory(error):
                raise
            if count == 1:
                raise DataError(
                    f"Out of memory in {what}, with one image at a time. {advice}, end other "
                    "programs that use the memory, or take a machine with more of it."
                ) from error
        # Here, where the error is gone, and with it the frames that held the large tensors.
        gc.collect()
        fewer = (count + 1) // 2
        logger.warning(
            "Out of memory in %s with %s at once: now %d, %s.",
            what,
            counted(count, "image"),
            fewer,
            then,
        )
        count = fewer
        restore()


def halving(forward: Callable[..., tf.Tensor], *, what: str) -> Callable[..., tf.Tensor]:
    """Return a forward pass that goes through its batch in parts from when memory runs out.

    For what treats every image alone: the size of a batch has no influence on the answers.

    Args:
        forward: From one or several tensors, whose first axis counts images, to one tensor with
            the same first axis.
        what: The forward pass, in a few words.

    Raises:
        DataError: When it is called: one image at a time is too much.

    Example:
        >>> def forward(numbers):
        ...     if len(numbers) > 2:
        ...         raise MemoryError
        ...     return 10 * numbers
        >>> halving(forward, what="an example")(tf.range(5)).numpy().tolist()
        [0, 10, 20, 30, 40]
    """
    most: int | None = None  # images at once, once that is known

    def call(*inputs: Any) -> tf.Tensor:
        nonlocal most
        total = len(inputs[0])

        def in_parts(count: int) -> tf.Tensor:
            if count >= total:
                return forward(*inputs)
            parts = [
                forward(*(one[start : start + count] for one in inputs))
                for start in range(0, total, count)
            ]
            return tf.concat(parts, axis=0)

        begin = max(total if most is None else min(total, most), 1)
        answer, count = with_fewer_images(
            in_parts, begin, what=what, then="which changes no answer"
        )
        if count < begin:
            most = count
        return answer

    return call


def prove_in_memory(
    part: keras.Model,
    *,
    reference: keras.Model,
    pixels: NDArray[np.uint8],
    dtype: str = "float32",
) -> float:
    """Call `kerastl.models.frozen.prove_inert`, with fewer of the images if memory runs out.

    Args:
        part: See there.
        reference: See there.
        pixels: uint8 of shape (batch, height, width, 3), RGB 0..255.
        dtype: What `part` computes in.

    Returns:
        The largest difference.

    Raises:
        FrozenPartError: The proof failed.
        DataError: One image at a time is too much.
    """
    difference, _ = with_fewer_images(
        lambda count: prove_inert(part, reference=reference, pixels=pixels[:count], dtype=dtype),
        len(pixels),
        what="the check of the frozen part",
        then="which prove the same",
    )
    return difference
