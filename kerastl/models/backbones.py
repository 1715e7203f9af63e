"""The architectures that kerastl knows: one row each, and the two things a row is good for.

`build_backbone` makes the bare network, `preprocess` what its weights want to see. A
network that is not in the table needs no row: any functional `keras.Model` is a backbone.

The table is read without importing TensorFlow, so that `--help` answers at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastl.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """One architecture.

    Attributes:
        name: Name of its builder in `keras.applications`, or 'EfficientNetLite0'.
        preprocessing: Mode of `preprocess` that its weights were trained with.
        native_size: (height, width) in pixels of the images its weights were trained on.
        smallest_size: Smallest (height, width) in pixels that it can be built for.
        border_pattern: Regular expression that matches the whole name of the operations at
            which a block of the network ends, see `kerastl.models.blocks.borders`.
        border_tensors: How many tensors cross such a border at most.
    """

    name: str
    preprocessing: str
    native_size: tuple[int, int]
    smallest_size: tuple[int, int]
    border_pattern: str
    border_tensors: int = 1


# Block ends by family. Auto-numbered names (`add_7`) are only matched, never stored: the
# numbers change from build to build.
_CONVNEXT = r"add(_\d+)?"
_DENSENET = r"conv\d_block\d+_concat"
_EFFICIENTNET = r"block\d+[a-z]+_(project_bn|project_activation|add)"
_INCEPTION_RESNET = r"mixed_\d[ab]|custom_scale_layer(_\d+)?|block\d+_\d+_ac"
_INCEPTION = r"mixed\d+"
_MOBILENET = r"conv_pw_\d+_relu"
_MOBILENET_V2 = r"(expanded_conv|block_\d+)_(project_BN|add)"
_MOBILENET_V3 = r"expanded_conv(_\d+)?_(project_bn|add)"
_NASNET = r"(normal|reduction)_concat_\w+"
_RESNET = r"conv\d_block\d+_out"
_VGG = r"block\d_pool"
_XCEPTION = r"block1_conv2_act|add(_\d+)?"

# Names, sizes and modes: keras 3.15.1, `keras.applications`. The modes and smallest sizes
# are compared with Keras itself in tests/models/test_backbones.py.
_ROWS = (
    Backbone("ConvNeXtTiny", "identity", (224, 224), (32, 32), _CONVNEXT),
    Backbone("ConvNeXtSmall", "identity", (224, 224), (32, 32), _CONVNEXT),
    Backbone("ConvNeXtBase", "identity", (224, 224), (32, 32), _CONVNEXT),
    Backbone("ConvNeXtLarge", "identity", (224, 224), (32, 32), _CONVNEXT),
    Backbone("ConvNeXtXLarge", "identity", (224, 224), (32, 32), _CONVNEXT),
    Backbone("DenseNet121", "torch", (224, 224), (32, 32), _DENSENET),
    Backbone("DenseNet169", "torch", (224, 224), (32, 32), _DENSENET),
    Backbone("DenseNet201", "torch", (224, 224), (32, 32), _DENSENET),
    Backbone("EfficientNetB0", "identity", (224, 224), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB1", "identity", (240, 240), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB2", "identity", (260, 260), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB3", "identity", (300, 300), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB4", "identity", (380, 380), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB5", "identity", (456, 456), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB6", "identity", (528, 528), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetB7", "identity", (600, 600), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetLite0", "lite", (224, 224), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2B0", "identity", (224, 224), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2B1", "identity", (240, 240), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2B2", "identity", (260, 260), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2B3", "identity", (300, 300), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2S", "identity", (384, 384), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2M", "identity", (480, 480), (32, 32), _EFFICIENTNET),
    Backbone("EfficientNetV2L", "identity", (480, 480), (32, 32), _EFFICIENTNET),
    Backbone("InceptionResNetV2", "tf", (299, 299), (75, 75), _INCEPTION_RESNET),
    Backbone("InceptionV3", "tf", (299, 299), (75, 75), _INCEPTION),
    Backbone("MobileNet", "tf", (224, 224), (32, 32), _MOBILENET),
    Backbone("MobileNetV2", "tf", (224, 224), (32, 32), _MOBILENET_V2),
    Backbone("MobileNetV3Large", "identity", (224, 224), (32, 32), _MOBILENET_V3),
    Backbone("MobileNetV3Small", "identity", (224, 224), (32, 32), _MOBILENET_V3),
    # A NASNet cell reads the two cells before it, so two tensors cross each border.
    Backbone("NASNetLarge", "tf", (331, 331), (32, 32), _NASNET, border_tensors=2),
    Backbone("NASNetMobile", "tf", (224, 224), (32, 32), _NASNET, border_tensors=2),
    Backbone("ResNet50", "caffe", (224, 224), (32, 32), _RESNET),
    Backbone("ResNet101", "caffe", (224, 224), (32, 32), _RESNET),
    Backbone("ResNet152", "caffe", (224, 224), (32, 32), _RESNET),
    Backbone("ResNet50V2", "tf", (224, 224), (32, 32), _RESNET),
    Backbone("ResNet101V2", "tf", (224, 224), (32, 32), _RESNET),
    Backbone("ResNet152V2", "tf", (224, 224), (32, 32), _RESNET),
    Backbone("VGG16", "caffe", (224, 224), (32, 32), _VGG),
    Backbone("VGG19", "caffe", (224, 224), (32, 32), _VGG),
    Backbone("Xception", "tf", (299, 299), (71, 71), _XCEPTION),
)

BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}

# y = x * scale + offset, per channel; "caffe" turns RGB into BGR first. Means and standard
# deviations of ImageNet as in keras.applications.imagenet_utils; "lite" as in the TPU
# repository's efficientnet_lite_builder.py (MEAN_RGB 127, STDDEV_RGB 128).
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SCALE_AND_OFFSET: dict[str, tuple[float | list[float], float | list[float]]] = {
    "caffe": (1.0, [-103.939, -116.779, -123.68]),
    "lite": (1.0 / 128.0, -127.0 / 128.0),
    "tf": (1.0 / 127.5, -1.0),
    "torch": (
        [1.0 / (255.0 * std) for std in _IMAGENET_STD],
        [-mean / std for mean, std in zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True)],
    ),
}
PREPROCESSING_MODES = ("identity", *sorted(_SCALE_AND_OFFSET))


def backbone_names() -> tuple[str, ...]:
    """Return the names of all known backbones, sorted.

    Example:
        >>> backbone_names()[:2], len(backbone_names())
        (('ConvNeXtBase', 'ConvNeXtLarge'), 41)
    """
    return tuple(sorted(BACKBONES))


def find_backbone(name: str) -> Backbone:
    """Return the row of a backbone.

    Args:
        name: Its name, in upper or lower case.

    Raises:
        ConfigError: No such backbone is known.

    Example:
        >>> find_backbone("resnet50").preprocessing
        'caffe'
    """
    by_key = {known.casefold(): row for known, row in BACKBONES.items()}
    row = by_key.get(str(name).casefold())
    if row is None:
        advice = did_you_mean(name, BACKBONES) or f" Known: {', '.join(backbone_names())}."
        raise ConfigError(
            f"`backbone` must be a known backbone; received backbone={name!r}.{advice}"
        )
    return row


def build_backbone(
    name: str, *, image_size: tuple[int, int], weights: str | Path = "imagenet"
) -> keras.Model:
    """Return a network without its classification top and without pooling.

    Args:
        name: A known backbone, see `backbone_names`.
        image_size: (height, width) in pixels of the images it will see.
        weights: "imagenet", "none" for random ones, or the path of a weights file.

    Returns:
        A functional model from float32 (batch, height, width, 3), as `preprocess` with the
        mode `find_backbone(name).preprocessing` makes it, to feature maps
        (batch, h, w, channels).

    Raises:
        ConfigError: The name is unknown or the images are too small for the network.
        WeightsError: The weights cannot be had or belong to another architecture.

    Example:
        >>> build_backbone("MobileNet", image_size=(32, 64), weights="none").output_shape
        (None, 1, 2, 1024)
    """
    row = find_backbone(name)
    _check_image_size(row, image_size)
    if str(weights) == "imagenet":
        return _build_imagenet(row, image_size)
    backbone = _build(row, image_size, weights=None)
    if str(weights) != "none":
        from kerastl.models.weights import load_backbone_weights

        load_backbone_weights(backbone, weights)
        _correct_scaling(backbone)
    return backbone


def _build_imagenet(row: Backbone, image_size: tuple[int, int]) -> keras.Model:
    """Return the network with the weights that Keras downloads or a package brings."""
    if row.name == "EfficientNetLite0":
        from kerastl.models.efficientnet_lite import load_imagenet_weights

        backbone = _build(row, image_size, weights=None)
        load_imagenet_weights(backbone)
        return backbone

    from kerastl.models.weights import fetch_imagenet

    return fetch_imagenet(lambda: _build(row, image_size, weights="imagenet"), name=row.name)


def _build(row: Backbone, image_size: tuple[int, int], *, weights: str | None) -> keras.Model:
    """Return what the builder in Keras, or the one of EfficientNetLite0, makes."""
    import keras

    if row.name == "EfficientNetLite0":
        from kerastl.models.efficientnet_lite import efficientnet_lite0

        return efficientnet_lite0(input_shape=(*image_size, 3))
    with warnings.catch_warnings():
        # MobileNets come in one file per size; the file for 224 pixels serves all others.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        return getattr(keras.applications, row.name)(
            include_top=False, weights=weights, input_shape=(*image_size, 3)
        )


def _correct_scaling(backbone: keras.Model) -> None:
    """Let Keras' own files for EfficientNetB0 to B7 mean the same by path as by "imagenet".

    They hold standard deviations where the normalisation layer takes variances. Keras mends
    that with a `Rescaling` by 1/sqrt(std), but only if it fetches the file itself
    (keras.applications.efficientnet; tensorflow #49930).
    """
    import keras
    import numpy as np

    for layer in backbone.layers:
        if not isinstance(layer, keras.layers.Normalization) or not layer.weights:
            continue
        variance = layer.adapt_variance.numpy()
        if variance.shape == (3,) and np.allclose(variance, _IMAGENET_STD, atol=1e-3):
            layer.adapt_variance.assign(variance * np.asarray(_IMAGENET_STD))
            layer.finalize_state()


def _check_image_size(row: Backbone, image_size: tuple[int, int]) -> None:
    """Refuse images that would vanish on their way through the network."""
    if image_size[0] < row.smallest_size[0] or image_size[1] < row.smallest_size[1]:
        raise ConfigError(
            f"`image_size` must be at least {row.smallest_size} for {row.name}; received "
            f"image_size={tuple(image_size)}. Use larger images ({row.name} was trained on "
            f"{row.native_size}) or another backbone."
        )


def preprocess(pixels: Any, mode: str) -> Any:
    """Return pixels as the weights of a backbone expect them.

    Only plain Keras operations, so that a saved model opens without kerastl; always in
    float32, because half precision rounds the pixels' differences away.

    Args:
        pixels: Symbolic or real tensor (batch, height, width, 3), RGB 0..255, float32.
        mode: "caffe" (BGR minus ImageNet's mean), "tf" (-1..1), "torch" (ImageNet's mean 0 and
            standard deviation 1), "lite" ((x - 127) / 128) or "identity" (the network scales
            the pixels itself).

    Returns:
        A tensor of the same shape.

    Raises:
        ConfigError: The mode is unknown.

    Example:
        >>> import numpy as np
        >>> float(preprocess(np.full((1, 1, 1, 3), 255.0, "float32"), "tf")[0, 0, 0, 0])
        1.0
    """
    import keras

    if mode == "identity":
        return pixels
    if mode not in _SCALE_AND_OFFSET:
        advice = did_you_mean(mode, PREPROCESSING_MODES)
        raise ConfigError(
            f"`preprocessing` must be one of {', '.join(PREPROCESSING_MODES)}; "
            f"received preprocessing={mode!r}.{advice}"
        )
    if mode == "caffe":
        pixels = keras.ops.flip(pixels, axis=-1)
    scale, offset = _SCALE_AND_OFFSET[mode]
    return keras.layers.Rescaling(scale, offset, dtype="float32")(pixels)
