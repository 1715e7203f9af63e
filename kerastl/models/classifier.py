"""Raw pixels in, class probabilities out: preprocessing, backbone and head as one functional model.

The parts are layers with fixed names, so that a model loaded from a `.keras` file
can be taken apart again without anything but the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from kerastl.domains import GREY, KEEP
from kerastl.errors import ConfigError
from kerastl.models.backbones import preprocess
from kerastl.models.generalized_mean import GEM, generalized_mean
from kerastl.models.luminance import luminance

PREPROCESSING = "preprocessing"
POOLING = "pooling"

# Name of the model. Inside another one (see `kerastl.models.view_mean`), what that asks.
CLASSIFIER = "classifier"

# A way of pooling that begins in the network, see `kerastl.models.stage_features`.
STAGES = "stages"
DROPOUT = "head_dropout"
HIDDEN = "head_hidden"
OUTPUT = "probabilities"


@dataclass(frozen=True)
class ClassifierParts:
    """The parts of a classifier, which share their variables with it.

    Attributes:
        preprocessing: Raw RGB pixels 0..255 to what the backbone was trained on.
        backbone: The network that is transferred.
        pooling: Its feature maps to one vector per image.
        head: Layers from that vector to the probabilities, in order.
    """

    preprocessing: keras.Model
    backbone: keras.Model
    pooling: keras.layers.Layer
    head: tuple[keras.layers.Layer, ...]

    @property
    def output(self) -> keras.layers.Dense:
        """The last Dense layer."""
        return self.head[-1]


def build_classifier(
    backbone: keras.Model,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    preprocessing: str,
    colour: str = KEEP,
    pooling: str = "avg",
    hidden_units: int = 0,
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    multi_label: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Return a classifier with a frozen backbone and a new head.

    Args:
        backbone: Any functional `keras.Model` from an image to feature maps
            (batch, h, w, channels) or to features (batch, channels).
        num_classes: Number of classes.
        image_size: (height, width) in pixels of the images.
        preprocessing: What the backbone expects, see `kerastl.models.backbones.preprocess`;
            "identity" where it takes pixels 0..255 itself.
        colour: "keep", or "grey" for the luminance of each pixel in its place, see
            `kerastl.models.luminance`.
        pooling: "avg", "max", "gem" (see `kerastl.models.generalized_mean`) or "stages"; the last
            needs a backbone that gives a vector, see `kerastl.models.stage_features`.
        hidden_units: Width of a hidden ReLU layer in the head, 0 for none.
        dropout: Part of the features (and hidden units) dropped in training, 0..1.
        l1: L1 penalty on the kernels of the head.
        l2: L2 penalty on the kernels of the head.
        multi_label: Whether an image can have several classes: sigmoid in place of softmax.
        seed: Of the head's first weights and its dropout.

    Returns:
        A functional model from float32 (batch, height, width, 3), RGB 0..255, to
        float32 (batch, num_classes) probabilities, whatever the dtype policy.

    Raises:
        ConfigError: The backbone does not take such images.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> model = build_classifier(backbone, num_classes=3, image_size=(8, 8),
        ...                          preprocessing="identity")
        >>> model.output_shape
        (None, 3)
    """
    pixels = keras.Input((*image_size, 3), name="pixels", dtype="float32")
    _check_backbone(backbone, image_size)
    backbone.trainable = False
    prepare = _preprocessing_model(image_size, preprocessing, colour=colour)
    features = backbone(prepare(pixels), training=False)
    x = _pooling_layer(pooling, features.shape)(features)
    for layer in _head_layers(
        num_classes=num_classes,
        hidden_units=hidden_units,
        dropout=dropout,
        l1=l1,
        l2=l2,
        multi_label=multi_label,
        seed=seed,
    ):
        x = layer(x)
    return keras.Model(pixels, x, name=CLASSIFIER)


def _head_layers(
    *,
    num_classes: int,
    hidden_units: int,
    dropout: float,
    l1: float,
    l2: float,
    multi_label: bool,
    seed: int | None,
) -> list[keras.layers.Layer]:
    """Return the layers from pooled features to probabilities."""

    def penalty() -> Any:
        return keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None

    layers: list[keras.layers.Layer] = []
    if dropout:
        layers.append(keras.layers.Dropout(dropout, seed=seed, name=DROPOUT))
    if hidden_units:
        layers.append(
            keras.layers.Dense(
                hidden_units,
                activation="relu",
                kernel_regularizer=penalty(),
                kernel_initializer=keras.initializers.HeNormal(seed=seed),
                name=HIDDEN,
            )
        )
    layers.append(
        keras.layers.Dense(
            num_classes,
            activation="sigmoid" if multi_label else "softmax",
            kernel_regularizer=penalty(),
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            # In half precision small probabilities vanish (tensorflow #34406).
            dtype="float32",
            name=OUTPUT,
        )
    )
    return layers


def _preprocessing_model(image_size: tuple[int, int], mode: str, *, colour: str) -> keras.Model:
    """Return the preprocessing as a model of its own, so that it can be found again."""
    if colour not in (KEEP, GREY):
        raise ConfigError(f"`colour` must be 'keep' or 'grey'; received colour={colour!r}.")
    raw = keras.Input((*image_size, 3), name="raw_pixels", dtype="float32")
    prepared = preprocess(luminance(raw) if colour == GREY else raw, mode)
    if prepared is raw:
        prepared = keras.layers.Identity(name="unchanged")(raw)
    return keras.Model(raw, prepared, name=PREPROCESSING)


def _pooling_layer(pooling: str, shape: tuple[int | None, ...]) -> keras.layers.Layer:
    """Return the layer from feature maps to a vector."""
    if len(shape) == 2:
        return keras.layers.Identity(name=POOLING)
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name=POOLING)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name=POOLING)
    if pooling == GEM:
        return generalized_mean(shape[1:], name=POOLING)
    if pooling == STAGES:
        raise ConfigError(
            "`pooling` cannot be 'stages' for a backbone that gives feature maps; build it by "
            "kerastl.build_network(..., stage_features=True), whose `backbone` gives one vector."
        )
    raise ConfigError(
        f"`pooling` must be 'avg', 'max', 'gem' or 'stages'; received pooling={pooling!r}."
    )


def _check_backbone(backbone: keras.Model, image_size: tuple[int, int]) -> None:
    """Refuse what cannot take RGB images of this size, or gives no features."""
    shape = getattr(backbone, "input_shape", None)
    expected = (None, *image_size, 3)
    sizes = shape if isinstance(shape, tuple) else ()
    if len(sizes) != 4 or any(
        s is not None and s != e for s, e in zip(sizes, expected, strict=True)
    ):
        raise ConfigError(
            f"The backbone must take images of shape {expected[1:]}; it takes {shape}. "
            "Build it for this `image_size`, or choose the size that it was built for."
        )
    if len(backbone.output_shape) not in (2, 4):
        raise ConfigError(
            "The backbone must give feature maps (batch, height, width, channels) or features "
            f"(batch, channels); it gives {backbone.output_shape}. Build it without its top."
        )


def parts_of(model: keras.Model) -> ClassifierParts:
    """Return the parts of a classifier made by `build_classifier`, also after loading it.

    Args:
        model: The classifier, or one around it such as `kerastl.models.view_mean` makes.

    Raises:
        ConfigError: The model was not made by `build_classifier`.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    names = [layer.name for layer in layers]
    if CLASSIFIER in names:
        return parts_of(layers[names.index(CLASSIFIER)])
    if PREPROCESSING not in names or POOLING not in names or names[-1] != OUTPUT:
        raise ConfigError(
            "The model must be a classifier made by `kerastl.build_classifier`; received one "
            f"with the layers {', '.join(names[:8])}."
        )
    pooling = names.index(POOLING)
    backbone = next(
        layer
        for layer in layers
        if isinstance(layer, keras.Model) and layer.name not in (PREPROCESSING, POOLING)
    )
    return ClassifierParts(
        preprocessing=layers[names.index(PREPROCESSING)],
        backbone=backbone,
        pooling=layers[pooling],
        head=tuple(layers[pooling + 1 :]),
    )


def answering_with_features(model: keras.Model) -> keras.Model:
    """Return a model that gives its pooled features beside its answers; it shares all variables.

    Where the answer is that to the image alone, both come from one pass.

    Args:
        model: A classifier made by `build_classifier`, or one around it such as
            `kerastl.models.view_mean` makes; then the features are those of the image as it is.

    Returns:
        From float32 (batch, height, width, 3), RGB 0..255, to probabilities, float32 (batch,
        num_classes), and features, float32 (batch, num_features).

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> model = build_classifier(backbone, num_classes=3, image_size=(8, 8),
        ...                          preprocessing="identity")
        >>> answering_with_features(model).output_shape
        [(None, 3), (None, 4)]
    """
    features = feature_model(model)
    if model.name == CLASSIFIER:
        answer = features.output
        for layer in parts_of(model).head:
            answer = layer(answer)
    else:
        answer = model(features.input, training=False)
    return keras.Model(features.input, [answer, features.output], name="answer_and_features")


def feature_model(model: keras.Model) -> keras.Model:
    """Return the classifier up to the pooled features, sharing its variables.

    Args:
        model: A classifier made by `build_classifier`.

    Returns:
        A model from float32 (batch, height, width, 3), RGB 0..255, to float32
        (batch, num_features).
    """
    parts = parts_of(model)
    pixels = keras.Input(model.input_shape[1:], name="pixels", dtype="float32")
    features = parts.pooling(parts.backbone(parts.preprocessing(pixels), training=False))
    return keras.Model(pixels, features, name="features")
