"""Which precision the frozen part runs in: bfloat16 where it is faster and changes no answer.

bfloat16 rounds to 8 bits. Trained networks bear it, networks with random weights need not, and
no table says which is which: so the user's own network answers a sample of the user's own
images in both precisions, and what comes out is compared. float32 unless all agrees.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.splits import fold_rows
from kerastl.data.stream import Images
from kerastl.errors import ConfigError
from kerastl.features.agreement import Agreement, measure_agreement
from kerastl.features.extract import folded_feature_model, trace_forward
from kerastl.models.hardware import bfloat16_is_fast

PRECISIONS = ("auto", "float32", "bfloat16")

# Below it extraction takes seconds in any precision.
FEWEST_IMAGES = 1000
# This network on this machine: less gain is not worth any rounding.
SMALLEST_SPEED_RATIO = 1.15
# What the check may take of the time of extracting everything in float32.
LARGEST_COST = 0.1

_SAMPLE_PART, _SMALLEST_SAMPLE, _LARGEST_SAMPLE = 1 / 40, 48, 128
# Several batches per sample: the first one warms up, the others are timed.
_BATCH = 16
# To foresee the cost: what two small probes take (0.2 s, measured), and how many times as fast
# bfloat16 is at least where it is chosen at all.
_PROBE_SECONDS, _LIKELY_SPEED_RATIO = 0.3, 1.5

Forward = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Precision:
    """What the frozen part runs in, and why.

    Attributes:
        dtype: "float32" or "bfloat16".
        reason: One line for the report.
        agreement: What the sample showed; None when there was none.
        speed_ratio: How many times as fast bfloat16 was on the sample; None when there was none.
        sample_size: Images in the sample, 0 when there was none.
    """

    dtype: str
    reason: str
    agreement: Agreement | None = None
    speed_ratio: float | None = None
    sample_size: int = 0


def choose_precision(
    classifier: keras.Model,
    images: Images,
    *,
    rows: NDArray[np.int64],
    labels: NDArray[Any],
    precision: str = "auto",
    num_images: int | None = None,
    seed: int = 0,
) -> tuple[Precision, keras.Model]:
    """Choose the precision of the frozen part; return it with the model to extract with.

    "auto" takes bfloat16 if all of this holds, and tests it in this order, the cheap first:
    there are 1,000 images or more; the machine is made for it
    (`kerastl.models.hardware.bfloat16_is_fast`); the check takes less than a tenth of what
    extraction takes in float32; this network is at least 1.15 times as fast in it; its
    features and a probe's answers agree on a sample of the training images
    (`kerastl.features.agreement`).

    Args:
        classifier: Made by `kerastl.models.classifier.build_classifier`.
        images: uint8 of shape (n, height, width, 3), RGB 0..255.
        rows: int64: the training rows; the sample comes from them.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes): labels of all images.
        precision: "auto"; or "float32"; or "bfloat16", which is taken whatever the sample
            shows, and measured all the same.
        num_images: How many images will be extracted in all, every view counted; `len(rows)`
            when not given.
        seed: Decides the sample.

    Returns:
        The choice, and the folded feature model in it
        (`kerastl.features.extract.folded_feature_model`).

    Raises:
        ConfigError: `precision` is none of the three.

    Example:
        >>> from kerastl.models.classifier import build_classifier
        >>> inputs = keras.Input((8, 8, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
        >>> classifier = build_classifier(backbone, num_classes=2, image_size=(8, 8),
        ...                               preprocessing="identity")
        >>> chosen, model = choose_precision(
        ...     classifier, np.zeros((20, 8, 8, 3), np.uint8), rows=np.arange(20),
        ...     labels=np.arange(20) % 2)
        >>> chosen.dtype, chosen.reason
        ('float32', 'only 20 images, from 1,000 on bfloat16 can pay')
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"`precision` must be one of {', '.join(map(repr, PRECISIONS))}; received "
            f"precision={precision!r}."
        )
    exact = folded_feature_model(classifier)
    if precision == "float32":
        return Precision("float32", "asked for"), exact
    asked = precision == "bfloat16"
    num_images = len(rows) if num_images is None else num_images
    objection = _objection_unseen(num_images, len(rows), must_pay=not asked)
    if objection is None:
        size = min(len(rows), _sample_size(num_images))
        sample = sample_rows(rows, labels, size=size, seed=seed)
        pixels = np.asarray(images[sample])
        forward, seconds = _ready(exact, pixels)
        if not asked:
            objection = _objection_to_cost(seconds, num_images=num_images, sample_size=size)
    if objection is not None and not asked:
        return Precision("float32", objection), exact
    fast = folded_feature_model(classifier, dtype="bfloat16")
    if objection is not None:
        return Precision("bfloat16", f"asked for, without a check: {objection}"), fast

    reference, candidate, ratio = _run_both(forward, _ready(fast, pixels)[0], pixels)
    agreement = measure_agreement(reference, candidate, labels[sample], seed=seed)
    objection = agreement.objection
    if ratio < SMALLEST_SPEED_RATIO:
        objection = f"bfloat16 is {ratio:.2f} times as fast, {SMALLEST_SPEED_RATIO} wanted"
    verdict = "asked for" if asked else objection or "faster, and the answers agree"
    found = (
        f"{verdict} (on {size} training images: {ratio:.1f} times as fast, features differ by "
        f"{agreement.feature_error:.2f} standard deviations, {agreement.probe_agreement:.1%} of a "
        "probe's answers agree)"
    )
    if asked or objection is None:
        return Precision("bfloat16", found, agreement, ratio, size), fast
    return Precision("float32", found, agreement, ratio, size), exact


def sample_rows(
    rows: NDArray[np.int64], labels: NDArray[Any], *, size: int, seed: int
) -> NDArray[np.int64]:
    """Draw rows, every class in proportion where a row has one class.

    Args:
        rows: int64: the rows to draw from.
        labels: int64 of shape (n,), or 0/1 of shape (n, num_classes): labels of all images.
        size: How many to draw, at most `len(rows)`.
        seed: Same seed, same rows.

    Returns:
        int64 of shape (size,).

    Example:
        >>> drawn = sample_rows(np.arange(100), np.arange(100) % 2, size=10, seed=0)
        >>> len(drawn), np.bincount(drawn % 2).tolist()
        (10, [5, 5])
    """
    drawn = np.arange(len(rows))
    if labels.ndim == 1 and len(rows) >= 2 * size:
        drawn = np.flatnonzero(fold_rows(labels[rows], num_folds=len(rows) // size, seed=seed) == 0)
    # The folds' size is `size` or a little more.
    order = np.random.default_rng(seed).permutation(len(drawn))[:size]
    return rows[np.sort(drawn[order])]


def _sample_size(num_images: int) -> int:
    """Return how many images to compare on: more where there are more, in whole batches."""
    size = min(max(num_images * _SAMPLE_PART, _SMALLEST_SAMPLE), _LARGEST_SAMPLE)
    return int(size) // _BATCH * _BATCH


def _objection_unseen(num_images: int, num_rows: int, *, must_pay: bool) -> str | None:
    """Return what speaks against bfloat16 before the network ran."""
    if must_pay and num_images < FEWEST_IMAGES:
        return f"only {num_images:,} images, from {FEWEST_IMAGES:,} on bfloat16 can pay"
    if must_pay and not bfloat16_is_fast():
        return "this machine is not made for bfloat16"
    if num_rows < 2 * _BATCH:
        return f"only {num_rows} training images, at least {2 * _BATCH} needed to compare on"
    return None


def _objection_to_cost(
    seconds: tuple[float, float], *, num_images: int, sample_size: int
) -> str | None:
    """Return what speaks against checking: it takes too long for what it can save."""
    to_build, per_image = seconds
    check = to_build + per_image * sample_size * (1 + 1 / _LIKELY_SPEED_RATIO) + _PROBE_SECONDS
    if check <= LARGEST_COST * per_image * num_images:
        return None
    return (
        f"a check of about {check:.1f} s would take more than {LARGEST_COST:.0%} of the "
        f"{per_image * num_images:.0f} s that {num_images:,} images take in float32"
    )


def _ready(model: keras.Model, pixels: NDArray[np.uint8]) -> tuple[Forward, tuple[float, float]]:
    """Return a model's graph, warmed up, and its seconds: to get ready, and per image."""
    batch = tf.constant(pixels[:_BATCH])
    started = time.perf_counter()
    forward = trace_forward(model, pixels.shape[1:])
    forward(batch).numpy()
    ready = time.perf_counter()
    forward(batch).numpy()
    return forward, (ready - started, (time.perf_counter() - ready) / len(batch))


def _run_both(
    exact: Forward, fast: Forward, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the features in both precisions, and the median ratio of speeds over batches."""
    features: tuple[list[NDArray[np.float32]], ...] = ([], [])
    ratios = []
    for start in range(0, len(pixels), _BATCH):
        batch = tf.constant(pixels[start : start + _BATCH])
        seconds = []
        for forward, kept in zip((exact, fast), features, strict=True):
            started = time.perf_counter()
            kept.append(forward(batch).numpy())
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return np.concatenate(features[0]), np.concatenate(features[1]), statistics.median(ratios)
