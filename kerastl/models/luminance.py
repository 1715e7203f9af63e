"""Pixels without colour: the luminance of each, in all three channels."""

from __future__ import annotations

from typing import Any

import keras

# ITU-R BT.601, as in the grey of JPEG and Pillow; the part of green is what is left of 1.
_RED, _BLUE = 0.299, 0.114


def luminance(pixels: Any) -> Any:
    """Return the luminance of each pixel, three times.

    A pixel that is grey already stays as it is, to the last bit, because what is added to green is
    0 then; the sum of three products would round. The network behind it keeps its three input
    channels: one channel would save at most 2.4 % of the multiplications of EfficientNetLite0,
    ResNet50 and MobileNetV2 at 224 pixels, and no gain was seen (`benchmarks/grey_stem.py`).

    Only plain Keras operations, so that a saved model opens without kerastl.

    Args:
        pixels: Symbolic or real tensor (batch, height, width, 3), RGB, float32.

    Returns:
        A tensor of the same shape and dtype, its three channels equal.

    Example:
        >>> import numpy as np
        >>> pixels = np.array([[[[1000, 0, 0], [7, 7, 7]]]], "float32")
        >>> np.asarray(luminance(pixels))[0, 0].tolist()
        [[299.0, 299.0, 299.0], [7.0, 7.0, 7.0]]
    """
    red, green, blue = keras.ops.split(pixels, 3, axis=-1)
    grey = green + _RED * (red - green) + _BLUE * (blue - green)
    return keras.ops.concatenate([grey, grey, grey], axis=-1)
