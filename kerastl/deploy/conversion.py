"""A network to the files of other runtimes: pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.deploy.export_formats import PORTABLE_FORMATS, QUANTIZED_WITH_IMAGES
from kerastl.deploy.litert_metadata import with_metadata
from kerastl.errors import ExportError

INPUT, OUTPUT = "pixels", "probabilities"
# The newest that tf2onnx 1.17 writes by itself.
_ONNX_OPSET = 18


def convert_network(
    network: keras.Model,
    folder: Path,
    *,
    format_: str,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    pixels: NDArray[np.uint8] | None = None,
) -> None:
    """Write a network in a portable format.

    Args:
        network: From float32 (batch, height, width, 3), RGB 0..255, to probabilities.
        folder: Where the files go.
        format_: A name of `kerastl.deploy.export_formats.PORTABLE_FORMATS`.
        class_names: In the order of the probabilities; formats that can hold them do.
        image_size: (height, width) in pixels.
        pixels: uint8 (n, height, width, 3): images as the network sees them, for "litert-int8":
            the ranges of what its layers give are taken from these. Images of the training split;
            100 to 500 are usual.

    Raises:
        ExportError: A converter cannot translate the network.

    Example::

        convert_network(network, Path("phone"), format_="litert", class_names=["cat", "dog"],
                        image_size=(224, 224))
    """
    if format_ == QUANTIZED_WITH_IMAGES and (pixels is None or not len(pixels)):
        raise ExportError(
            f"{format_} measures ranges on images of the training split; received none in `pixels`."
        )
    path = folder / PORTABLE_FORMATS[format_].file
    with tempfile.TemporaryDirectory(prefix="kerastl-") as place, _quiet():
        try:
            core = _save_core(network, Path(place), image_size=image_size)
        except (OSError, tf.errors.OpError) as error:
            raise ExportError(
                f"Converters read the network from {tempfile.gettempdir()!r}, where it could not "
                f"be written: {' '.join(str(error).split())[:200]} Make room there, or point "
                "TMPDIR to another folder."
            ) from error
        if format_.startswith("litert"):
            with _translating(format_):
                content = _litert(core, kind=format_, pixels=pixels)
            path.write_bytes(with_metadata(content, class_names=class_names))
        elif format_ == "onnx":
            with _translating(format_):
                content = _onnx(core, class_names=class_names, image_size=image_size)
            path.write_bytes(content)
        else:
            with _translating(format_):
                _write_openvino(core, path, class_names=class_names)


@contextlib.contextmanager
def _translating(format_: str) -> Iterator[None]:
    """Say of a converter's error, of whatever type, what it means; only converters run in here."""
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError):  # of the disk: its own message
        raise
    except Exception as error:
        raise ExportError(
            f"The network cannot be written as {format_}: "
            f"{' '.join(str(error).split())[:300]} Choose another --format."
        ) from error


def _save_core(network: keras.Model, folder: Path, *, image_size: tuple[int, int]) -> Path:
    """Write the network as a SavedModel from pixels to probabilities, which converters read."""
    shape = (None, *image_size, 3)

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: tf.cast(network(pixels, training=False), tf.float32)}

    function = tf.function(answer, autograph=False, jit_compile=False).get_concrete_function(
        tf.TensorSpec(shape, tf.float32, name=INPUT)
    )
    module = tf.Module()
    module.weights = list(function.variables)
    tf.saved_model.save(module, str(folder), signatures=function)
    return folder


def _litert(core: Path, *, kind: str, pixels: NDArray[np.uint8] | None) -> bytes:
    """Return the flatbuffer of LiteRT."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(core))
    if kind != "litert":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "litert-float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == QUANTIZED_WITH_IMAGES and pixels is not None:
        converter.representative_dataset = lambda: (
            {INPUT: image[np.newaxis].astype(np.float32)} for image in pixels
        )
        # Whatever has no kernel of whole numbers is an error, not a slow exception.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content: bytes = converter.convert()
    return content


def _onnx(core: Path, *, class_names: Sequence[str], image_size: tuple[int, int]) -> bytes:
    """Return the file of ONNX, with the labels under its metadata as Ultralytics' has them."""
    import onnx
    import tf2onnx

    loaded = tf.saved_model.load(str(core))
    serve = loaded.signatures["serving_default"]
    model, _ = tf2onnx.convert.from_function(
        tf.function(lambda pixels: serve(**{INPUT: pixels})),
        [tf.TensorSpec((None, *image_size, 3), tf.float32, name=INPUT)],
        opset=_ONNX_OPSET,
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    names = str(dict(enumerate(class_names)))
    onnx.helper.set_model_props(model, {"task": "classify", "names": names})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _write_openvino(core: Path, path: Path, *, class_names: Sequence[str]) -> None:
    """Write the two files of OpenVINO, with the labels where its Model API looks for them."""
    import openvino

    model = openvino.convert_model(str(core))
    # Separated by spaces there, so that labels have none.
    labels = " ".join("_".join(name.split()) for name in class_names)
    for key, value in {"model_type": "Classification", "labels": labels}.items():
        model.set_rt_info(value, ["model_info", key])
    openvino.save_model(model, path, compress_to_fp16=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what converters say to people who write converters."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    kept = os.dup(2)
    with warnings.catch_warnings(), open(os.devnull, "wb") as nowhere:
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
