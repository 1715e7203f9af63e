"""PLACEHOLDER until branch decode is merged."""

import io

import tensorflow as tf
from PIL import Image

from kerastl.data.decode import decode_error_reason, decode_image
from kerastl.errors import UnreadableImageError


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _g(b):
    return decode_image(b)


def read_image(content, *, at_least=None):
    try:
        if content[:2] == b"\xff\xd8":
            return Image.open(io.BytesIO(content)).convert("RGB")
        return _g(content).numpy()
    except tf.errors.InvalidArgumentError as e:
        raise UnreadableImageError(decode_error_reason(e)) from None
    except OSError as e:
        raise UnreadableImageError(str(e)) from None
