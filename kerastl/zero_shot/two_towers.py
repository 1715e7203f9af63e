"""A network with two towers: images and texts to vectors, and the learnt likeness of both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import WeightsError
from kerastl.features.halving import halving
from kerastl.zero_shot.presets import FAMILIES, Family, load_preset

logger = logging.getLogger(__name__)

# Texts are short, but their vectors at every layer are not.
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class TwoTowers:
    """A network with two towers, both in inference mode.

    Attributes:
        prepare: From pixels, uint8 of shape (height, width, 3) of any size, to float32 as the
            image tower takes them: the preset's own resizing and scaling. From any thread.
        embed_images: From such images, of shape (n, …), to float32 of shape (n, dimensions).
        embed_texts: From n texts to float32 of shape (n, dimensions).
        logits: From both, of shapes (n, dimensions) and (m, dimensions), to float32 of shape
            (n, m): cosine similarity with the learnt scale (and bias). Lengths do not matter.
        score_kind: What makes scores of logits: `kerastl.zero_shot.presets.SOFTMAX` or `SIGMOID`.
    """

    prepare: Callable[[NDArray[np.uint8]], NDArray[np.float32]] = field(repr=False)
    embed_images: Callable[[NDArray[np.float32]], NDArray[np.float32]] = field(repr=False)
    embed_texts: Callable[[Sequence[str]], NDArray[np.float32]] = field(repr=False)
    logits: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]] = field(
        repr=False
    )
    score_kind: str


def load_towers(preset: str) -> TwoTowers:
    """Return the network of a preset; see `kerastl.zero_shot.presets.load_preset`.

    Args:
        preset: A name, an address or a folder.

    Raises:
        ConfigError: KerasHub is missing, or there is no such preset.
        WeightsError: It cannot be downloaded, read or used.
    """
    backbone, preprocessor, family = load_preset(preset)
    return towers_of(backbone, preprocessor, family=family)


def towers_of(backbone: Any, preprocessor: Any, *, family: Family | None = None) -> TwoTowers:
    """Return the network of a KerasHub backbone and its preprocessor.

    Args:
        backbone: Such as `keras_hub.models.CLIPBackbone`.
        preprocessor: Such as `keras_hub.models.CLIPPreprocessor`.
        family: What their parts are called; found by the backbone's class when not given.

    Raises:
        WeightsError: The two do not go together.
    """
    family = family or next(one for one in FAMILIES if one.backbone == type(backbone).__name__)
    converter, shape = preprocessor.image_converter, tuple(backbone.input["images"].shape[1:])
    wanted = shape[:2]
    size = None if converter is None else converter.image_size
    if size is None or tuple(size) != wanted:
        raise WeightsError(
            f"The preset makes images of the size {size}, and its network takes {wanted}. Save "
            "towers and preprocessor of the same preset into the folder."
        )
    images, texts = _tower(backbone, "images"), _tower(backbone, "token_ids")
    head = getattr(backbone, family.head)
    vision = halving(tf.function(images), what="embedding images")

    def prepare(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(converter(pixels[np.newaxis]), np.float32)[0]

    def embed_texts(sentences: Sequence[str]) -> NDArray[np.float32]:
        starts = range(0, len(sentences), _TEXTS_AT_ONCE)
        parts = [sentences[start : start + _TEXTS_AT_ONCE] for start in starts]
        return np.concatenate([np.asarray(texts(_tokens(preprocessor, part))) for part in parts])

    return TwoTowers(
        prepare=prepare,
        embed_images=lambda prepared: np.asarray(vision(prepared)),
        embed_texts=embed_texts,
        logits=lambda vectors, others: np.asarray(head(vectors, others)[0], np.float32),
        score_kind=family.score_kind,
    )


def _tower(backbone: Any, which: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return one half of a backbone, which knows no training mode."""
    embed = {"images": "get_vision_embeddings", "token_ids": "get_text_embeddings"}[which]
    entrance = backbone.input[which]
    tower = keras.Model(entrance, getattr(backbone, embed)(entrance))
    return lambda inputs: tf.cast(tower(inputs, training=False), tf.float32)


def _tokens(preprocessor: Any, sentences: Sequence[str]) -> tf.Tensor:
    """Return the tokens of texts, as the preset's own preprocessor makes them."""
    # It prepares pairs; the smallest images there are stand in for what is not asked for.
    unused = np.zeros((len(sentences), 1, 1, 3), np.uint8)
    prepared = preprocessor({"prompts": list(sentences), "images": unused})
    full = np.asarray(prepared["padding_mask"])[:, -1]
    for sentence in np.array(sentences)[full]:
        logger.warning(
            "The text network reads %d tokens, and %r fills them all: the rest may be cut off.",
            preprocessor.sequence_length,
            str(sentence),
        )
    return prepared["token_ids"]
