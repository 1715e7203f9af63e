"""A finished run with one class more: the others' log-odds stay, the run folder stays."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kerastl.answered import AnsweredImages
from kerastl.data.preparation import prepare_pixels
from kerastl.data.scan import pixel_digest
from kerastl.data.wording import counted
from kerastl.deploy.runs import FinishedRun, load_run
from kerastl.errors import ConfigError, DataError, UnreadableImageError
from kerastl.evaluation.intervals import Estimate, share
from kerastl.features.added_class import AddedClass, add_class
from kerastl.features.extract import folded_feature_model, run_in_batches, trace_forward
from kerastl.known_classes import KnownClasses, know_classes, larger_novelty
from kerastl.larger_run import ClassAddition, write_larger_run
from kerastl.models.classifier import CLASSIFIER, HIDDEN, parts_of
from kerastl.recorded_answers import recorded_answers, recorded_split
from kerastl.run_folder import DIGEST_LENGTH, METRICS, PIXELS, SPLIT, new_run_folder, publish
from kerastl.training.decision import PROBE
from kerastl.training.few_images import CENTROIDS

_FEWEST_NEW = 2
_BATCH_SIZE = 32


def add_class_to_run(
    path: str | Path, files: Sequence[Path], *, class_name: str, out: Path, overwrite: bool = False
) -> ClassAddition:
    """Write a run folder whose model has one class more.

    Logits of the other classes are the same numbers, so that the odds of any two of them are what
    they were. No other weight is touched, and the first run folder is left alone.

    Args:
        path: A run folder whose kept model is the probe.
        files: Images of the new class.
        class_name: What it is called.
        out: The new run folder.
        overwrite: Whether it may replace another run folder.

    Raises:
        ConfigError: It is no such run folder, or has this class already.
        DataError: Too few images can be read, or they are the run's own.

    Example::

        add_class_to_run("runs/pets", files, class_name="ferret", out=Path("runs/pets-2"))
    """
    started = time.monotonic()
    run = load_run(path)
    _require_probe(run)
    _refuse_known_name(run, class_name)
    digests, pixels, unreadable = _read_new(files, run)
    names = tuple(digests)
    if len(names) < _FEWEST_NEW:
        reasons = "".join(f" {name}: {reason}." for name, reason in unreadable[:3])
        raise DataError(
            f"A class needs {_FEWEST_NEW} different images at least; of {counted(len(files))} "
            f"received {len(names)} that can be read and is no copy of another. Name more files, "
            f"or the folder that has them.{reasons}"
        )
    _refuse_known(run, digests, class_name=class_name)
    read = _feature_reader(run)
    are_centroids = _are_centroids(run)
    known = know_classes(run, read, are_centroids=are_centroids)
    new = read(pixels)
    found = add_class(
        new,
        known.train,
        kernel=known.kernel,
        bias=known.bias,
        known_evidence=known.evidence,
    )
    model = with_class(run.model, kernel=found.kernel, bias=found.bias)
    answered = _answers_of_test(run, known, found, class_name)
    images = np.concatenate([new, known.train])
    called_new = _called_new(images, found.left_out, known)
    recognised = share(called_new[: len(new)])
    assert recognised is not None  # there are new images
    addition = ClassAddition(
        path=out,
        class_name=class_name,
        num_new=len(names),
        unreadable=unreadable,
        recognised=recognised,
        taken=None if answered is None else share(answered.answered[:, -1]),
        num_asked=0 if answered is None else len(answered.ids),
        untested=_taken_from_untested(run, known, called_new[len(new) :]),
        are_centroids=are_centroids,
        seconds=time.monotonic() - started,
    )
    with new_run_folder(out) as partial:
        write_larger_run(
            partial,
            run,
            model,
            addition,
            digests=digests,
            novelty=larger_novelty(run, new, read),
            answered=answered,
            answer=lambda images: _softmax_of(read(images), known, found),
        )
        publish(partial, out, overwrite=overwrite)
    return dataclasses.replace(addition, seconds=time.monotonic() - started)


def with_class(model: keras.Model, *, kernel: NDArray[np.float32], bias: float) -> keras.Model:
    """Return a classifier with one class more, which shares all other layers with the first one.

    Args:
        model: Made by `kerastl.models.classifier.build_classifier`, without a hidden layer.
        kernel: float32 of shape (num_features,): of the new class.
        bias: Of the new class.

    Returns:
        The same but for the last layer, whose last column is the new class.
    """
    parts = parts_of(model)
    old = parts.output
    settings = old.get_config()
    output = keras.layers.Dense.from_config({**settings, "units": settings["units"] + 1})
    pixels = keras.Input(model.input_shape[1:], name="pixels", dtype="float32")
    x = parts.pooling(parts.backbone(parts.preprocessing(pixels), training=False))
    for layer in (*parts.head[:-1], output):
        x = layer(x)
    old_kernel, old_bias = old.get_weights()
    output.set_weights([np.column_stack([old_kernel, kernel]), np.append(old_bias, bias)])
    return keras.Model(pixels, x, name=CLASSIFIER)


def _require_probe(run: FinishedRun) -> None:
    """Refuse what is no linear classifier on frozen features, one class per image."""
    kept = _metrics_of(run).get("kept")
    reason = ""
    if kept != PROBE:
        reason = f"its kept model is the {kept} one, whose features were made for its classes"
    elif run.multi_label:
        reason = "its images can have several labels"
    elif run.model.name != CLASSIFIER:
        reason = "it answers with the mean over mirror images (--tta)"
    elif any(layer.name == HIDDEN for layer in parts_of(run.model).head):
        reason = "its head has a hidden layer"
    if reason:
        raise ConfigError(
            f"A class can be added to a probe; of the run {str(run.path)!r} {reason}. Put the new "
            "images into a folder beside the others and type: python -m kerastl.fit DATA "
            "--fine-tune-epochs 0"
        )


def _refuse_known_name(run: FinishedRun, class_name: str) -> None:
    """Refuse a class that is there, and one that people could not tell from it."""
    for name in run.class_names:
        if name.casefold() == class_name.casefold():
            raise ConfigError(
                f"The run knows the class {name!r} already; received {class_name!r}. To learn it "
                "from more images, add them to its folder and fit anew; for another class choose "
                "another --class."
            )


def _metrics_of(run: FinishedRun) -> dict[str, Any]:
    """Return what metrics.json of the run holds."""
    try:
        metrics: dict[str, Any] = json.loads((run.path / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{str(run.path)!r} is not a finished run folder (it has no readable {METRICS}). "
            "Give a folder that kerastl.fit made."
        ) from None
    return metrics


def _read_new(
    files: Sequence[Path], run: FinishedRun
) -> tuple[dict[str, str], NDArray[np.uint8], tuple[tuple[str, str], ...]]:
    """Return the images that can be read, each once: names with digests, pixels; and the others."""
    found: dict[str, tuple[str, NDArray[np.uint8]]] = {}
    unreadable = []
    for path in files:
        try:
            pixels = prepare_pixels(
                path.read_bytes(), image_size=run.image_size, resize_mode=run.resize_mode
            )
        except OSError as error:
            unreadable.append((str(path), error.strerror or str(error)))
        except UnreadableImageError as error:
            unreadable.append((str(path), error.reason))
        else:
            found.setdefault(pixel_digest(pixels), (str(path), pixels))
    digests = {name: digest for digest, (name, _) in found.items()}
    height, width = run.image_size
    empty = np.zeros((0, height, width, 3), np.uint8)
    images = np.stack([pixels for _, pixels in found.values()]) if found else empty
    return digests, images, tuple(unreadable)


def _refuse_known(run: FinishedRun, digests: Mapping[str, str], *, class_name: str) -> None:
    """Refuse images that the run knows under another label."""
    import pandas as pd  # slow

    rows = pd.read_csv(run.path / SPLIT, dtype=str, keep_default_na=False)
    if PIXELS not in rows:
        return
    label_of = dict(zip(rows[PIXELS], rows["label"], strict=True))
    for name, digest in digests.items():
        if (label := label_of.get(digest[:DIGEST_LENGTH])) is not None:
            raise DataError(
                f"{name!r} cannot be of the new class {class_name!r}: the run has the same image "
                f"as {label!r}. Take it out, or fit anew with the right label."
            )


def _feature_reader(
    run: FinishedRun,
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the function from pixels to pooled features, traced once."""
    model = folded_feature_model(run.model)
    forward = trace_forward(model, (*run.image_size, 3))

    def read(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run_in_batches(
            forward,
            pixels,
            np.arange(len(pixels)),
            width=model.output_shape[-1],
            batch_size=_BATCH_SIZE,
            description="Extracting features",
        )

    return read


def _are_centroids(run: FinishedRun) -> bool:
    """Whether the head of the known classes was fitted as nearest centroids."""
    metrics = _metrics_of(run)
    few = metrics.get("few_images") or metrics.get("added", {}).get("few_images") or {}
    return bool(few.get("chosen") == CENTROIDS)


def _called_new(
    features: NDArray[np.float32], left_out: NDArray[np.float32], known: KnownClasses
) -> NDArray[np.bool_]:
    """Return which images a fit without them calls by the new class."""
    others = softmax(features @ known.kernel + known.bias, axis=1).max(axis=1)
    return np.asarray(left_out > (1 - left_out) * others)


def _taken_from_untested(
    run: FinishedRun, known: KnownClasses, called_new: NDArray[np.bool_]
) -> tuple[tuple[str, Estimate], ...]:
    """Return what is taken from classes without test images, by their training images."""
    labels = recorded_split(run.path, "test").labels
    found = []
    for number, name in enumerate(run.class_names):
        if name not in labels:
            taken = share(called_new[known.labels == number])
            assert taken is not None  # `know_classes` has images of each
            found.append((name, taken))
    return tuple(found)


def _answers_of_test(
    run: FinishedRun, known: KnownClasses, found: AddedClass, class_name: str
) -> AnsweredImages | None:
    """Return what the larger model answers to the run's test images; None without any."""
    if not known.test_names:
        return None
    recorded = recorded_answers(run.path)
    rows = {name: row for row, name in enumerate(recorded.ids)}
    chosen = recorded.chosen(np.array([rows[name] for name in known.test_names]))
    return dataclasses.replace(
        chosen,
        class_names=(*run.class_names, class_name),
        probabilities=_softmax_of(known.test, known, found),
    )


def _softmax_of(
    features: NDArray[np.float32], known: KnownClasses, found: AddedClass
) -> NDArray[np.float32]:
    """Return what the larger model answers to images by their features."""
    kernel = np.column_stack([known.kernel, found.kernel])
    logits = features @ kernel + np.append(known.bias, found.bias)
    return np.asarray(softmax(logits, axis=1), np.float32)
