"""A finished run in several formats, each measured beside the model that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages
from kerastl.data.preparation import prepare_pixels
from kerastl.deploy.export_formats import (
    PORTABLE_FORMATS,
    QUANTIZED_WITH_IMAGES,
    SAVEDMODEL,
    require_model_name,
    require_packages,
)
from kerastl.deploy.judgement import ExportAnswers, Judgement
from kerastl.deploy.parity import TOLERANCE
from kerastl.deploy.portable_export import export_portable
from kerastl.deploy.runs import FinishedRun, export_run, load_run, read_held_out
from kerastl.errors import ExportError
from kerastl.evaluation.intervals import Estimate, proportion
from kerastl.progress import track
from kerastl.recorded_answers import recorded_answers
from kerastl.recorded_images import recorded_pixels

# Of the training split, for ranges of whole numbers: LiteRT's guide says 100 to 500.
_NUM_REPRESENTATIVE = 200
# What a format of fewer bits must keep of the answers when nobody says.
DEFAULT_MIN_AGREEMENT = 0.95
_BATCH_SIZE = 32


@dataclass(frozen=True)
class FormatResult:
    """One format of one run.

    Attributes:
        format: Its name.
        path: DIRECTORY/VERSION; None where it was refused or failed.
        refused: Why, in a sentence; "" where it was not.
        agreement: Share of the images that get the same answer as from the model.
        largest_difference: Of a probability, over images and classes.
        accuracy: Share of right answers; None where the labels are not known.
        size_bytes: Of all files.
        milliseconds: By batch size, of the network alone.
    """

    format: str
    path: Path | None = None
    refused: str = ""
    agreement: float | None = None
    largest_difference: float | None = None
    accuracy: float | None = None
    size_bytes: int | None = None
    milliseconds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Exports:
    """All formats of one run.

    Attributes:
        results: In the order of the question.
        num_images: That they were measured on.
        accuracy: Of the model on these; None where their labels are not known.
        are_test: Whether these are of the test split; else they are those that the run kept.
    """

    results: tuple[FormatResult, ...]
    num_images: int
    accuracy: Estimate | None
    are_test: bool


@dataclass(frozen=True, eq=False)
class _Measured:
    """Images to measure on, and what the model answers to them."""

    pixels: NDArray[np.uint8]
    answers: AnsweredImages
    has_labels: bool


def export_formats(
    path: str | Path,
    formats: Sequence[str],
    *,
    export_dir: str | Path = "saved_models",
    name: str | None = None,
    fold: bool = True,
    min_agreement: float | None = None,
    min_accuracy: float | None = None,
    most_images: int = 1000,
) -> Exports:
    """Export a run in several formats; each is published only if it answers like the model.

    Formats of 32 bits must give its probabilities within 1e-4; others the same answers to 95 % of
    the test images, unless told otherwise.

    Args:
        path: The run folder.
        formats: Names of `kerastl.deploy.export_formats.FORMATS`.
        export_dir: SavedModels go to EXPORT_DIR/NAME/VERSION, others to
            EXPORT_DIR/NAME/FORMAT/VERSION.
        name: Name of the model; that of the run folder when not given.
        fold: Whether BatchNorm layers are folded.
        min_agreement: Share of answers, 0..1, that must stay; for all formats.
        min_accuracy: Accuracy, 0..1, that each must have.
        most_images: Test images at most to measure on; drawn from all if there are more.

    Raises:
        ConfigError: It is no finished run, or a format needs what is not installed.
        ExportError: The held-out images of the run are gone.

    Example::

        exports = export_formats("runs/photos", ["savedmodel", "litert-int8"])
        exports.results[1].agreement
    """
    require_packages(formats)
    if name is not None:
        require_model_name(name)
    run = load_run(path)
    measured = _measured_images(run, most=most_images)
    if min_accuracy is not None and not measured.has_labels:
        raise ExportError(
            "No accuracy can be measured: the images that a run keeps have no labels here, "
            "and its test images cannot be read again, or --most-images is 0. Bring them back to "
            "where they were, or leave --min-accuracy out."
        )
    representative = None
    if QUANTIZED_WITH_IMAGES in formats:
        _, representative = recorded_pixels(run.path, "train", most=_NUM_REPRESENTATIVE)
    directory = Path(export_dir) / (name or run.path.resolve().name)
    results = []
    with track("Exporting", total=len(formats)) as advance:
        for format_ in formats:
            judge = _Judge(format_, measured, min_agreement, min_accuracy)
            judgement = Judgement(measured.pixels, judge.judge)
            try:
                if format_ == SAVEDMODEL:
                    place = export_run(
                        path, export_dir=export_dir, name=name, fold=fold, judgement=judgement
                    ).path
                else:
                    place = export_portable(
                        run.model,
                        directory / format_,
                        format_=format_,
                        class_names=run.class_names,
                        image_size=run.image_size,
                        resize_mode=run.resize_mode,
                        multi_label=run.multi_label,
                        thresholds=run.thresholds,
                        judgement=judgement,
                        representative=representative,
                        fold=fold,
                    ).path
                results.append(FormatResult(format_, path=place, **judge.found))
            except ExportError as error:
                results.append(FormatResult(format_, refused=str(error), **judge.found))
            advance(1)
    return Exports(
        results=tuple(results),
        num_images=len(measured.pixels),
        accuracy=_accuracy(measured),
        are_test=measured.has_labels,
    )


def _accuracy(measured: _Measured) -> Estimate | None:
    """Return the accuracy of the model with its interval."""
    if not measured.has_labels:
        return None
    return proportion(int(measured.answers.right.sum()), len(measured.answers.ids))


class _Judge:
    """Compares what one export answers with what the model answers, and remembers it."""

    def __init__(
        self,
        format_: str,
        measured: _Measured,
        min_agreement: float | None,
        min_accuracy: float | None,
    ) -> None:
        exact = format_ == SAVEDMODEL or PORTABLE_FORMATS[format_].is_float32
        self._tolerance = TOLERANCE if exact else float("inf")
        if min_agreement is None:
            min_agreement = 0.0 if exact else DEFAULT_MIN_AGREEMENT
        self._min_agreement, self._min_accuracy = min_agreement, min_accuracy
        self._measured = measured
        self.found: dict[str, Any] = {}

    def judge(self, answers: ExportAnswers) -> Mapping[str, Any]:
        """Return what was found; refuse what answers otherwise."""
        reference = self._measured.answers
        if answers.probabilities.shape != reference.probabilities.shape:
            raise ExportError(
                f"The export must give {reference.probabilities.shape[1]} probabilities for each "
                f"image; it gives an array of shape {answers.probabilities.shape}."
            )
        now = AnsweredImages(
            reference.ids,
            reference.labels,
            reference.class_names,
            answers.probabilities,
            thresholds=reference.thresholds,
        )
        same = np.all(now.answered == reference.answered, axis=1)
        difference = float(np.abs(answers.probabilities - reference.probabilities).max())
        accuracy = float(now.right.mean()) if self._measured.has_labels else None
        self.found = {
            "agreement": float(same.mean()),
            "largest_difference": difference,
            "accuracy": accuracy,
            "size_bytes": answers.size_bytes,
            "milliseconds": answers.milliseconds,
        }
        if not difference <= self._tolerance:
            raise ExportError(
                f"Probabilities differ by up to {difference:.2g} from the model's, more than "
                f"{self._tolerance:g}; {int((~same).sum())} of {len(same)} answers differ."
            )
        if not same.mean() >= self._min_agreement:
            raise ExportError(
                f"It gives the model's answer to {100 * same.mean():.1f} % of {len(same)} images, "
                f"fewer than {100 * self._min_agreement:g} % (--min-agreement)."
            )
        if self._min_accuracy is not None and not (accuracy or 0.0) >= self._min_accuracy:
            raise ExportError(
                f"Its accuracy on {len(same)} test images is {100 * (accuracy or 0.0):.1f} %, less "
                f"than {100 * self._min_accuracy:g} % (--min-accuracy)."
            )
        return {"num_images": len(same), **self.found}


def _measured_images(run: FinishedRun, *, most: int) -> _Measured:
    """Return test images of a run; those that it kept for proofs, where the others are gone."""
    recorded = recorded_answers(run.path)
    names, pixels = recorded_pixels(run.path, "test", most=most) if most else ((), None)
    if pixels is not None and len(names):
        rows = {name: row for row, name in enumerate(recorded.ids)}
        chosen = recorded.chosen(np.array([rows[name] for name in names]))
    else:
        contents, _ = read_held_out(run.path)
        pixels = np.stack(
            [
                prepare_pixels(one, image_size=run.image_size, resize_mode=run.resize_mode)
                for one in contents
            ]
        )
        # Of these nobody asks for the labels.
        chosen = recorded.chosen(np.zeros(len(contents), np.int64))
    answers = AnsweredImages(
        chosen.ids,
        chosen.labels,
        chosen.class_names,
        _answers_of(run.model, pixels),
        groups=chosen.groups,
        thresholds=chosen.thresholds,
    )
    return _Measured(pixels, answers, has_labels=bool(names))


def _answers_of(model: keras.Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities of the model, on the CPU as exports are asked."""
    answers = []
    with (
        tf.device("/CPU:0"),
        track("Asking the model", total=len(pixels)) as advance,
    ):
        for start in range(0, len(pixels), _BATCH_SIZE):
            batch = tf.cast(pixels[start : start + _BATCH_SIZE], tf.float32)
            answers.append(np.asarray(model(batch, training=False), np.float32))
            advance(len(batch))
    return np.concatenate(answers)
