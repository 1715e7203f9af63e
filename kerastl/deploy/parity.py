"""Does an exported file answer like the model that it was made from? Asked in a fresh process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.decode import decode_error_reason, decode_image
from kerastl.data.preparation import prepare_image
from kerastl.deploy import isolated
from kerastl.deploy.fresh_process import run_alone
from kerastl.errors import ExportError
from kerastl.features.novelty import Novelty

# Largest difference of a probability between the model and its export. Both run the same
# float32 operations on the same pixels, but a graph fuses convolution, BatchNorm and ReLU,
# which rounds differently. Measured: 0 for a small network, 2.6e-5 for MobileNetV2 with a
# steep head (TensorFlow 2.21, CPU). Wrong scaling, another decoder or lost weights move
# probabilities by 1e-2 and more.
TOLERANCE = 1e-4

# The same between what was measured after training and the model as it was loaded again.
# Training may have run on a GPU with TensorFloat-32 (10 bits of mantissa), the export runs on
# a CPU; a model that lost its weights is off by far more.
MEASURED_TOLERANCE = 1e-2

# Raw pixels travel unpacked, 36 MB for a photo of 12 megapixels.
_NUM_PIXEL_QUESTIONS = 4
_BATCH_SIZE = 16


@dataclass(frozen=True)
class Parity:
    """How alike an export and its model answer.

    Attributes:
        num_images: Held-out images that were asked.
        max_difference: Largest difference of a probability, over images and classes.
        num_top_class_differences: Images whose best class differs. Within the tolerance this
            means a tie: if no probability differs by more than t, two classes can only swap
            where the model itself holds them at most 2 t apart.
        max_feature_difference: Largest difference of a feature, relative to the largest
            feature; None without a `features` signature.
        max_measured_difference: Largest difference between the probabilities measured after
            training and those of the model now; None if none were given.
        max_unknown_difference: Largest difference of the score of unknown pictures; None without.
    """

    num_images: int
    max_difference: float
    num_top_class_differences: int
    max_feature_difference: float | None
    max_measured_difference: float | None
    max_unknown_difference: float | None = None


def prove_parity(
    path: str | os.PathLike[str],
    model: keras.Model,
    *,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    resize_mode: str,
    held_out: Sequence[bytes],
    features: keras.Model | None = None,
    measured: Sequence[Sequence[float]] | None = None,
    novelty: Novelty | None = None,
) -> Parity:
    """Ask a SavedModel, in a fresh process without Keras, what the model is asked here.

    Both run on the CPU: a second process may find no memory left on a GPU, and sums on
    different devices differ.

    Args:
        path: The SavedModel.
        model: What it was made from: float32 (batch, height, width, 3), RGB 0..255, to
            probabilities (batch, num_classes).
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels.
        resize_mode: See `kerastl.data.resize.resize_image`.
        held_out: Encoded images.
        features: The model up to the pooled features.
        measured: Probabilities (len(held_out), num_classes) measured after training.
        novelty: What tells pictures of another kind by `features`.

    Returns:
        The differences, all within the tolerances.

    Raises:
        ExportError: They are not, or a held-out image cannot be read, or the fresh
            process failed.
    """
    pixels = _prepare(held_out, image_size=image_size, resize_mode=resize_mode)
    expected = _run_on_cpu(model, pixels)
    measured_difference = None if measured is None else _check_measured(expected, measured)
    answers = _ask(path, held_out)
    served = _by_class(answers["bytes/classes"], answers["bytes/scores"], class_names)
    difference = _largest(served, expected)
    if not difference <= TOLERANCE:
        raise ExportError(_difference_message(served, expected, class_names, difference))
    from_pixels = _by_class(answers["pixels/classes"], answers["pixels/scores"], class_names)
    pixels_difference = _largest(from_pixels, served[: len(from_pixels)])
    if not pixels_difference <= TOLERANCE:
        raise ExportError(
            "The signatures `pixels` and `serving_default` differ by "
            f"{pixels_difference:.2g} for the same image, more than {TOLERANCE:g}. "
            "The model must not depend on the other images of a batch."
        )
    _check_damaged(answers)
    if answers["empty/scores"].shape != (0, len(class_names)):
        raise ExportError(
            "A batch of 0 images must give scores of shape "
            f"{(0, len(class_names))}; received {answers['empty/scores'].shape}."
        )
    feature_difference = unknown_difference = None
    if features is not None:
        found = _run_on_cpu(features, pixels)
        feature_difference = _check_features(answers, found)
        if novelty is not None:
            unknown_difference = _check_unknown(answers, novelty, found)
    return Parity(
        num_images=len(held_out),
        max_difference=max(difference, pixels_difference),
        num_top_class_differences=int((served.argmax(1) != expected.argmax(1)).sum()),
        max_feature_difference=feature_difference,
        max_measured_difference=measured_difference,
        max_unknown_difference=unknown_difference,
    )


def _prepare(
    held_out: Sequence[bytes], *, image_size: tuple[int, int], resize_mode: str
) -> NDArray[np.uint8]:
    """Decode and resize outside any graph."""
    if not held_out:
        raise ExportError("An export is proven on held-out images; received none in `held_out`.")
    images = []
    for number, content in enumerate(held_out):
        try:
            images.append(prepare_image(content, image_size=image_size, resize_mode=resize_mode))
        except tf.errors.InvalidArgumentError as error:
            raise ExportError(
                f"held_out[{number}] cannot be read ({decode_error_reason(error)}). "
                "Give encoded images, such as Path('photo.jpg').read_bytes()."
            ) from None
    return np.stack(images)


def _run_on_cpu(model: keras.Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the outputs of the model, in batches."""
    with tf.device("/CPU:0"):
        starts = range(0, len(pixels), _BATCH_SIZE)
        batches = (tf.cast(pixels[start : start + _BATCH_SIZE], tf.float32) for start in starts)
        outputs = [np.asarray(model(batch, training=False), np.float32) for batch in batches]
    return np.concatenate(outputs)


def _ask(path: str | os.PathLike[str], held_out: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Run `kerastl.deploy.isolated` and return its answers."""
    questions: dict[str, Any] = {
        "packed": np.frombuffer(b"".join(held_out), np.uint8),
        "lengths": np.array([len(content) for content in held_out], np.int64),
    }
    for number, content in enumerate(held_out[:_NUM_PIXEL_QUESTIONS]):
        questions[f"pixels_{number}"] = decode_image(content).numpy()
    try:
        with tempfile.TemporaryDirectory(prefix="kerastl-") as folder:
            np.savez(Path(folder, "questions.npz"), **questions)
            run_alone(
                isolated.__file__,
                [path, Path(folder, "questions.npz"), Path(folder, "answers.npz")],
            )
            with np.load(Path(folder, "answers.npz"), allow_pickle=False) as answers:
                return dict(answers)
    except OSError as error:
        raise ExportError(
            "The exported model could not be asked in a fresh process, because the questions "
            f"could not be written: {error.strerror or error}. Make room in "
            f"{tempfile.gettempdir()!r} or point TMPDIR to another folder."
        ) from error


def _by_class(
    classes: NDArray[np.bytes_], scores: NDArray[np.float32], class_names: Sequence[str]
) -> NDArray[np.float32]:
    """Return scores in the order of the model; refuse missing labels and wrong orders."""
    labels = np.array([name.encode() for name in class_names])
    order = np.argsort(labels)
    if classes.shape != scores.shape or not all(
        np.array_equal(row, labels[order]) for row in np.sort(classes, axis=1)
    ):
        raise ExportError(
            f"The exported model must answer with each of the {len(class_names)} labels once; "
            f"received for the first image {classes[:1].tolist()}."
        )
    if (np.diff(scores, axis=1) > 0).any():
        raise ExportError("The scores of the exported model must come best first; they do not.")
    by_class = np.empty_like(scores)
    by_class[:, order] = np.take_along_axis(scores, np.argsort(classes, axis=1), axis=1)
    return by_class


def _largest(served: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference; not a number where one of them is none."""
    return float(np.abs(served - expected).max())


def _difference_message(
    served: NDArray[np.float32],
    expected: NDArray[np.float32],
    class_names: Sequence[str],
    difference: float,
) -> str:
    image, label = np.unravel_index(np.abs(served - expected).argmax(), served.shape)
    swapped = int((served.argmax(1) != expected.argmax(1)).sum())
    return (
        f"The exported model does not answer like the model: probabilities differ by up to "
        f"{difference:.2g}, more than {TOLERANCE:g}, and {swapped} of {len(served)} held-out "
        f"images get another best class. Worst: image {image}, {class_names[label]!r}: model "
        f"{expected[image, label]:.6f}, export {served[image, label]:.6f}. Nothing was left "
        "under its name. Look for layers that act differently in a graph, such as Python code "
        "or random numbers in `call`."
    )


def _check_measured(expected: NDArray[np.float32], measured: Sequence[Sequence[float]]) -> float:
    """Compare the model with what was measured after training."""
    before = np.asarray(measured, np.float32)
    if before.shape != expected.shape:
        raise ExportError(
            f"`measured` must have shape {expected.shape} (held-out images, classes); "
            f"received {before.shape}."
        )
    difference = _largest(before, expected)
    if not difference <= MEASURED_TOLERANCE:
        raise ExportError(
            "The model does not give the probabilities that were measured after training: they "
            f"differ by up to {difference:.2g}, more than {MEASURED_TOLERANCE:g}. Its weights, "
            "its preprocessing or the held-out images have changed since. Make the run again."
        )
    return difference


def _check_features(answers: dict[str, NDArray[Any]], expected: NDArray[np.float32]) -> float:
    """Compare features, relative to the largest, because they have no fixed range."""
    served = answers.get("features/features")
    if served is None or served.shape != expected.shape:
        raise ExportError(
            f"The signature `features` must give shape {expected.shape}; received "
            f"{None if served is None else served.shape}."
        )
    difference = _largest(served, expected) / max(float(np.abs(expected).max()), 1e-12)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"The signature `features` differs from the model by {difference:.2g} of the "
            f"largest feature, more than {TOLERANCE:g}."
        )
    return difference


def _check_damaged(answers: dict[str, NDArray[Any]]) -> None:
    """Refuse an export in which an image that cannot be read touches those beside it."""
    errors, scores = answers["damaged/error"], answers["damaged/scores"]
    # Half of a GIF may still show its first picture.
    if [bool(errors[row]) for row in (0, 1, 2, 4)] != [True, False, True, False]:
        raise ExportError(
            "The exported model must answer the images of a batch that can be read and name those "
            f"that cannot; it says of five, of which the second and last can: {errors.tolist()}."
        )
    whole = answers["bytes/scores"]
    alone = np.stack([whole[0], whole[-1]])
    if not _largest(scores[[1, 4]], alone) <= TOLERANCE or scores[[0, 2]].any():
        raise ExportError(
            "The exported model answers otherwise where other images of the batch cannot be read."
        )
    example, error = answers["examples/scores"], answers["examples/error"]
    if not _largest(example[:1], whole[:1]) <= TOLERANCE or [*map(bool, error)] != [False, True]:
        raise ExportError(
            "The signatures `tf_example` and `serving_default` differ for the same image."
        )


def _check_unknown(
    answers: dict[str, NDArray[Any]], novelty: Novelty, features: NDArray[np.float32]
) -> float:
    """Compare how far images are from what is known, and what is called unknown for it."""
    expected = novelty.scores(features)
    served, called = (answers.get(f"bytes/{name}") for name in ("unknown_score", "is_unknown"))
    if served is None or called is None or served.shape != expected.shape:
        raise ExportError(
            f"The exported model must give `unknown_score` and `is_unknown` of shape "
            f"{expected.shape}; received {None if served is None else served.shape}."
        )
    difference = _largest(served, expected)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"The output `unknown_score` differs from the model's by {difference:.2g}, more than "
            f"{TOLERANCE:g}."
        )
    if not np.array_equal(called, served > novelty.threshold):
        raise ExportError("The output `is_unknown` is not what is above the threshold.")
    again = answers["pixels/unknown_score"]
    if not _largest(again, served[: len(again)]) <= TOLERANCE or not np.array_equal(
        answers["pixels/is_unknown"], again > novelty.threshold
    ):
        raise ExportError(
            "The signatures `pixels` and `serving_default` differ in `unknown_score` or "
            "`is_unknown` for the same image."
        )
    return difference
