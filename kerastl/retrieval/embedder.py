"""From pixels to one vector per image: the network of an index, made, kept and found again."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.deploy.runs import load_run
from kerastl.errors import ConfigError, DataError
from kerastl.features.digests import digest_variables
from kerastl.features.extract import folded_feature_model, trace_forward
from kerastl.features.halving import prove_in_memory
from kerastl.features.network_digest import digest_network
from kerastl.models.classifier import build_classifier, feature_model, parts_of
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.models.network import build_network
from kerastl.retrieval.index_folder import NETWORK, PARTIAL_NETWORK, Settings


@dataclass(frozen=True, eq=False)
class Embedder:
    """A network that gives pooled features.

    Attributes:
        classifier: Made by `kerastl.models.classifier.build_classifier`; its head has no part.
        title: For people.
        image_size: (height, width) in pixels.
        resize_mode: How images of other sizes are fitted.
        options: Of `backbone_embedder`; none where it is the network of a run.
    """

    classifier: keras.Model = field(repr=False)
    title: str
    image_size: tuple[int, int]
    resize_mode: str
    options: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def model(self) -> keras.Model:
        """From float32 (batch, height, width, 3) to float32 (batch, num_features)."""
        return folded_feature_model(self.classifier)

    @functools.cached_property
    def digest(self) -> str:
        """Of what it computes."""
        try:
            return digest_network(self.model)
        except TypeError:  # a layer of the user's own, whose code cannot be seen
            return digest_variables(self.model.variables)

    @property
    def num_features(self) -> int:
        """Numbers that it gives for an image."""
        return int(self.model.output_shape[-1])

    @functools.cached_property
    def _forward(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return trace_forward(self.model, (*self.image_size, 3))

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pooled features, as the network gives them.

        Args:
            pixels: uint8 of shape (batch, height, width, 3), RGB 0..255.

        Raises:
            DataError: They are no finite numbers.
        """
        features: NDArray[np.float32] = self._forward(tf.constant(pixels)).numpy()
        if not np.isfinite(features).all():
            raise DataError(
                f"The network {self.title!r} gives no finite features. Choose other weights."
            )
        return features

    def prove(self, pixels: NDArray[np.uint8]) -> None:
        """Show that folding changed nothing but rounding.

        Args:
            pixels: uint8 of shape (batch, height, width, 3); some of them are enough.

        Raises:
            FrozenPartError: It did.
        """
        prove_in_memory(
            self.model, reference=feature_model(self.classifier), pixels=pixels[:PROOF_IMAGES]
        )


def backbone_embedder(
    backbone: str = "EfficientNetLite0",
    *,
    weights: str = "imagenet",
    image_size: tuple[int, int] | None = None,
    resize_mode: str = "stretch",
    pooling: str = "avg",
) -> Embedder:
    """Return the embedder of a backbone as it comes.

    Args:
        backbone: A known one, see `kerastl.models.backbones.backbone_names`.
        weights: "imagenet", "none" or a file.
        image_size: (height, width) in pixels; the backbone's own when not given.
        resize_mode: "stretch", "crop" or "pad".
        pooling: "avg", "max" or "gem".
    """
    # Without weights the same command must give the same network, for a build that goes on.
    keras.utils.set_random_seed(0)
    network = build_network(backbone, weights=weights, image_size=image_size, unfreeze_blocks=0)
    classifier = build_classifier(
        network.backbone,
        num_classes=1,
        image_size=network.image_size,
        preprocessing=network.preprocessing,
        pooling=pooling,
    )
    height, width = network.image_size
    title = f"{network.name}, weights {weights}, pooling {pooling}, {height}x{width} {resize_mode}"
    options = {
        "backbone": network.name,
        "weights": weights,
        "image_size": network.image_size,
        "resize_mode": resize_mode,
        "pooling": pooling,
    }
    return Embedder(classifier, title, network.image_size, resize_mode, options)


def run_embedder(path: Path) -> Embedder:
    """Return the embedder of a finished run.

    Args:
        path: The run folder.

    Raises:
        ConfigError: It is none.
    """
    run = load_run(path)
    title = f"the network of the run {path.resolve().name}"
    return Embedder(run.model, title, run.image_size, run.resize_mode)


def save_network(path: Path, embedder: Embedder) -> str:
    """Write the network into an index.

    Args:
        path: The index.
        embedder: What to write.

    Returns:
        SHA-256 of the file.
    """
    partial = path / PARTIAL_NETWORK  # Keras wants its suffix
    embedder.classifier.save(partial)
    partial.replace(path / NETWORK)
    return _sha256(path / NETWORK)


def load_network(path: Path, settings: Settings) -> Embedder:
    """Return the network of an index.

    Args:
        path: The index.
        settings: Of it.

    Raises:
        ConfigError: It is missing or damaged.
    """
    try:
        if _sha256(path / NETWORK) != settings.network_sha256:
            raise ValueError("its bytes are not those that were written")
        classifier = keras.saving.load_model(path / NETWORK, compile=False, safe_mode=True)
        parts_of(classifier)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The network of the index {str(path)!r} cannot be loaded: "
            f"{' '.join(str(error).split())[:200]}. Make the index anew under another name."
        ) from None
    return Embedder(
        classifier,
        settings.title,
        settings.image_size,
        settings.resize_mode,
        settings.options,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
