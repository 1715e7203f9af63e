"""The most that this machine computes: a large matrix product and a convolution, measured."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow as tf

MATMUL, CONVOLUTION = "matrix product", "convolution"

# Of the square matrices. A GPU has not begun to work in earnest at 2,048.
_SIDE_CPU, _SIDE_GPU = 2048, 8192
_MAPS, _KERNEL = (32, 28, 28, 256), (3, 3, 256, 256)


@dataclass(frozen=True)
class Limit:
    """A computation that shows what a machine can do.

    Attributes:
        kind: "matrix product" or "convolution".
        precision: "float32" or "bfloat16".
        operations: Multiplications and additions of one run.
        run: Runs it once, to the end.
    """

    kind: str
    precision: str
    operations: float
    run: Callable[[], object] = field(repr=False)


def machine_limits(precisions: Sequence[str] = ("float32",)) -> tuple[Limit, ...]:
    """Return what measures the limit of this machine.

    A convolution can be faster than a matrix product (oneDNN on some processors) or slower; the
    faster of the two is the limit.

    Args:
        precisions: "float32", "bfloat16" or both.

    Example:
        >>> [limit.kind for limit in machine_limits()]
        ['matrix product', 'convolution']
    """
    side = _SIDE_GPU if tf.config.list_physical_devices("GPU") else _SIDE_CPU
    found = []
    for precision in precisions:
        square = tf.cast(tf.random.stateless_normal((side, side), (0, 1)), precision)
        maps = tf.cast(tf.random.stateless_normal(_MAPS, (0, 2)), precision)
        kernel = tf.cast(tf.random.stateless_normal(_KERNEL, (0, 3)), precision)
        images, height, width, channels = _MAPS
        places = images * height * width * channels
        product = _traced(functools.partial(tf.matmul, square, square))
        convolution = _traced(functools.partial(tf.nn.conv2d, maps, kernel, 1, "SAME"))
        found += [
            Limit(MATMUL, precision, 2.0 * side**3, product),
            Limit(CONVOLUTION, precision, 2.0 * places * 9 * channels, convolution),
        ]
    return tuple(found)


def _traced(compute: Callable[[], tf.Tensor]) -> Callable[[], object]:
    """Return a function that computes, and waits until it is done."""
    graph = tf.function(compute)

    def run() -> object:
        # One number: copying all of it from a GPU would take longer than computing it.
        return tf.reshape(graph(), [-1])[0].numpy()

    return run


def seconds_of(function: Callable[[], object], *, at_least_seconds: float) -> float:
    """Return the seconds of one call: the mean over as many calls as take `at_least_seconds`.

    Args:
        function: What to call, at least once.
        at_least_seconds: Short calls are repeated until so much time has passed.

    Example:
        >>> 0 < seconds_of(lambda: sum(range(100)), at_least_seconds=0.001) < 0.1
        True
    """
    count, started = 0, time.perf_counter()
    while True:
        function()
        count += 1
        elapsed = time.perf_counter() - started
        if elapsed >= at_least_seconds:
            return elapsed / count


def limit_speed(speeds: Mapping[tuple[str, str], float], precision: str) -> float | None:
    """Return the machine's limit in one precision; None if it was not measured.

    Args:
        speeds: By (kind, precision) of a `Limit`: operations per second.
        precision: "float32" or "bfloat16".

    Example:
        >>> limit_speed({("matrix product", "float32"): 3e11, ("convolution", "float32"): 4e11},
        ...             "float32")
        400000000000.0
    """
    return max((speed for (_, one), speed in speeds.items() if one == precision), default=None)
