"""How much memory a run will take, from the sizes of its parts, before it takes hours to find out.

Calculated, not measured: allocators keep what they may need again, kernels use workspace of their
own, and what is live at a time depends on the order that the operations happen to run in. Against
the real peak of a run of probe and fine-tuning (96 images of 224 pixels, batches of 32, CPU,
2026-11): EfficientNetLite0 0.93 and 1.17, MobileNetV2 0.84, 0.97 and, all of it trained, 1.30,
ResNet50 0.96 and 1.08 times. On GPUs nothing was compared.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.batches import augmenting_threads
from kerastl.data.memory import memory_bytes
from kerastl.data.stream import Images
from kerastl.features.border_views import bytes_per_view
from kerastl.features.store import Store
from kerastl.models.batch_norm import TRAINED_NORM
from kerastl.models.blocks import Border, graph_of, has_graph, nodes_of, replay, split
from kerastl.models.classifier import parts_of
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.training.phase import Phase, images_to_begin_with
from kerastl.training.view_plan import plan_views, room_for_views

logger = logging.getLogger(__name__)

# What libraries map of their files (0.4 GiB, measured), and what else is loaded and traced in the
# course of a run (0.2).
_TO_COME = 600 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run takes of the memory, in bytes.

    Attributes:
        libraries: Python, TensorFlow and whatever else the process holds already.
        pixels: Decoded images that are kept in memory; memory-mapped files take none.
        network: Weights, their folded copy, what the optimizer keeps, the best checks'.
        work: Tensors of the largest step, of the frozen part or of training.
        views: Kept views; those in the store are memory-mapped and take none.
        images_at_once: Of the training step; of the frozen part where nothing is trained.
        available: What the machine or the container has.
        on_gpu: Whether the work is done in a GPU's memory, which is not counted.
        in_parts: Whether a step in parts is the same step.
    """

    libraries: int
    pixels: int
    network: int
    work: int
    views: int
    images_at_once: int
    available: int
    on_gpu: bool = False
    in_parts: bool = True

    @property
    def total(self) -> int:
        """All of it."""
        work = 0 if self.on_gpu else self.work
        return self.libraries + self.pixels + self.network + work + self.views

    @property
    def words(self) -> str:
        """The estimate in one line."""
        where = " on the GPU, not counted" if self.on_gpu else ""
        return (
            f"Memory: about {_gib(self.total)} of {_gib(self.available)} GiB (libraries "
            f"{_gib(self.libraries)}, pixels {_gib(self.pixels)}, network {_gib(self.network)}, "
            f"{self.images_at_once} images at work {_gib(self.work)}{where}, kept views "
            f"{_gib(self.views)})."
        )

    @property
    def advice(self) -> str:
        """What to change if it does not fit, else nothing."""
        if self.total <= self.available:
            return ""
        largest = max((self.work, "work"), (self.pixels, "pixels"), (self.views, "views"))[1]
        smaller = "a smaller --batch-size"
        if self.in_parts:
            smaller = f"--accumulate-steps 4 or more (or {smaller})"
        advice = {
            "work": f"{smaller}, fewer blocks (--unfreeze-blocks, --tune), or a smaller "
            "--image-size",
            "pixels": "--cache disk, or a smaller --image-size",
            "views": "fewer --views, or --views live",
        }[largest]
        return (
            f"This run may need more memory than there is: about {_gib(self.total)} GiB of "
            f"{_gib(self.available)}. The system may end it without a word. Try {advice}."
        )


def announce_memory(
    classifier: keras.Model,
    images: Images,
    splits: NDArray[np.str_],
    *,
    border: Border | None,
    phase: Phase | None,
    batch_size: int,
    store: Store,
) -> None:
    """Say to the log how much memory a run will take, and warn if that is more than there is.

    Args:
        classifier: See `estimate_memory`.
        images: Likewise.
        splits: Of shape (n,): "train", "val" or "test".
        border: See `estimate_memory`.
        phase: Likewise.
        batch_size: Likewise.
        store: Where what the frozen part computes is kept.
    """
    estimate = estimate_memory(
        classifier,
        images,
        border=border,
        phase=phase,
        batch_size=batch_size,
        num_train=int(np.sum(splits == "train")),
        num_val=int(np.sum(splits == "val")),
        store_bytes=store.room_bytes,
    )
    logger.info("%s", estimate.words)
    if estimate.advice:
        logger.warning("%s", estimate.advice)


def estimate_memory(
    classifier: keras.Model,
    images: Images,
    *,
    border: Border | None,
    phase: Phase | None,
    batch_size: int,
    num_train: int,
    num_val: int,
    store_bytes: int,
) -> MemoryEstimate:
    """Return what a run will take of the memory.

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3).
        border: Where the trained part begins; None for the input.
        phase: How to fine-tune; None for the probe alone.
        batch_size: Images per step of the frozen part.
        num_train: Training images.
        num_val: Validation images.
        store_bytes: What the store of features may hold.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> estimate = estimate_memory(
        ...     classifier, np.zeros((100, 8, 8, 3), np.uint8), border=None, phase=None,
        ...     batch_size=32, num_train=60, num_val=20, store_bytes=0)
        >>> estimate.pixels, estimate.total < estimate.available
        (19200, True)
    """
    backbone = parts_of(classifier).backbone
    in_memory = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
    pixels = math.prod(images.shape) if in_memory else 0
    weights = 4 * classifier.count_params()
    # The folded copy, and the weights of the probe's model and of the tuned one to choose from.
    network, views, at_once = 3 * weights, 0, batch_size
    # A proof runs eagerly, where Keras lets go of a tensor only at the end of the network.
    work = max(batch_size * _live(backbone), PROOF_IMAGES * _all(backbone))
    if phase is not None:
        frozen, trained = (None, backbone) if border is None else split(backbone, border)
        at_once = images_to_begin_with(phase, num_train=num_train)
        plan = plan_views(
            phase.views,
            augment=phase.augment,
            mix=phase.mix,
            epochs=phase.epochs,
            num_train=num_train,
            num_val=num_val,
            view_bytes=0 if frozen is None else bytes_per_view(frozen),
            **(room := room_for_views(images, store_bytes, phase.memory_bytes)),
        )
        views = plan.num_bytes if room["place"] == "memory" else 0
        num_trained = 4 * _num_learned(backbone, trained, phase.frozen_above)
        # Two moments, the gradients and their sum, weights of the best and of a late check, and
        # the first ones.
        network += 7 * num_trained
        # What is frozen above keeps as much: gradients go through it (--tune first took 1.96 GiB
        # where all blocks took 2.14: EfficientNetLite0, 32 images of 224 pixels, CPU, 2026-11).
        step = at_once * (_kept(trained) + 2 * _largest(trained))
        if frozen is not None and not plan.num_views:
            step += at_once * _live(frozen)
        views_enter = frozen is None or plan.num_views
        entered = sum(math.prod(x.shape[1:]) for x in trained.inputs) if views_enter else 0
        # Batches that wait: two prefetched, one in use, and those that are made.
        waiting = 3 + (1 if plan.num_views else augmenting_threads())
        entered = entered or math.prod(images.shape[1:])
        work = max(work, step + 4 * waiting * phase.batch_size * entered)
    return MemoryEstimate(
        libraries=max(0, _resident() - pixels - weights) + _TO_COME,
        pixels=pixels,
        network=network,
        work=work,
        views=views,
        images_at_once=at_once,
        available=memory_bytes(),
        on_gpu=bool(tf.config.list_physical_devices("GPU")),
        in_parts=phase is None or phase.batch_norm != TRAINED_NORM,
    )


def _num_learned(backbone: keras.Model, suffix: keras.Model, frozen_above: Border | None) -> int:
    """Return how many numbers are trained of what lies above the border."""
    above = [] if frozen_above is None else split(backbone, frozen_above)[1].variables
    still = {id(variable) for variable in above}
    return sum(math.prod(v.shape) for v in suffix.variables if id(v) not in still)


@dataclass(frozen=True)
class _Call:
    """One call of a layer that is no model: what enters and what leaves."""

    operation: keras.Operation
    inputs: Any
    outputs: Any


def _calls(model: keras.Model, entries: list[Any] | None = None) -> Iterator[_Call]:
    """Yield the calls of a functional model in the order that they happen in.

    Those of this graph: a layer's own `output` is of its first call, of a user's network perhaps
    that left the image size open.

    Args:
        model: A model with a graph.
        entries: What it is called on, where the shapes are others than it was built for.
    """
    tensors = {} if entries is None else _shapes_inside(model, entries)
    for node in nodes_of(model):
        if node.is_input:
            continue
        inputs, outputs = (
            [tensors.get(id(one), one) for one in several]
            for several in (node.input_tensors, node.output_tensors)
        )
        if isinstance(node.operation, keras.Model) and has_graph(node.operation):
            yield from _calls(node.operation, inputs)
        else:
            yield _Call(node.operation, inputs, outputs)


def _shapes_inside(model: keras.Model, entries: list[Any]) -> dict[int, Any]:
    """Return by the `id` of each tensor of a model what it is when called on others.

    Nothing where these are of the shapes that it was built for.
    """
    inputs = graph_of(model).inputs
    if [one.shape for one in inputs] == [one.shape for one in entries]:
        return {}
    tensors = {id(one): entry for one, entry in zip(inputs, entries, strict=True)}
    # The shapes alone: a call would be recorded in the user's layers.
    replay(
        nodes_of(model),
        tensors,
        lambda node, *args, **kwargs: node.operation.compute_output_spec(*args, **kwargs),
    )
    return tensors


def _bytes(tensors: object) -> int:
    """Return what tensors take for one image; an unknown length counts as 1."""
    return sum(
        math.prod(length or 1 for length in one.shape[1:]) * tf.as_dtype(one.dtype).size
        for one in keras.tree.flatten(tensors)
    )


def _all(model: keras.Model) -> int:
    """Return what all tensors of one image take."""
    return sum(_bytes(call.outputs) for call in _calls(model))


def _kept(model: keras.Model) -> int:
    """Return what training keeps of one image for the way back: what gradients need.

    Not what a convolution gives to a BatchNorm or an addition, which need it no more.
    """
    return sum(
        _bytes(call.outputs)
        for call in _calls(model)
        if not isinstance(call.operation, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        or call.operation.activation is not keras.activations.linear
    )


def _largest(model: keras.Model) -> int:
    """Return what the largest tensor of one image takes."""
    return max((_bytes(call.outputs) for call in _calls(model)), default=0)


def _live(model: keras.Model) -> int:
    """Return the largest input and output of an operation together, and once more their size.

    As workspace, and for what waits in a branch beside.
    """
    sizes = (_bytes(call.inputs) + _bytes(call.outputs) for call in _calls(model))
    return 2 * max(sizes, default=0)


def _resident() -> int:
    """Return what this process holds of the memory, mapped files not counted; 0 if unknown."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux
        return 0
    kibibytes = dict(line.split(":", 1) for line in text.splitlines()).get("RssAnon", "0 kB")
    return 1024 * int(kibibytes.split()[0])


def _gib(num_bytes: int) -> str:
    """Return a size in GiB, without the unit."""
    return f"{num_bytes / 2**30:.1f}"
