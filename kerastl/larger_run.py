"""A run with one class more as files: the folder that other commands take like any run's."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages, answer_rows, measures_of
from kerastl.data.preparation import prepare_pixels
from kerastl.data.wording import counted
from kerastl.deploy.runs import FinishedRun, read_held_out
from kerastl.evaluation.intervals import Estimate
from kerastl.features.novelty import Novelty, write_novelty
from kerastl.run_folder import (
    CONFIG,
    DIGEST_LENGTH,
    ENVIRONMENT,
    HELD_OUT,
    LABELS,
    METRICS,
    MODEL,
    MODEL_CARD,
    NOVELTY,
    PIXELS,
    PREDICTIONS,
    SPLIT,
    UNASKED,
    write_json,
    write_rows,
)
from kerastl.training.decision import PROBE
from kerastl.training.few_images import CENTROIDS

# From here on a larger run is warned of.
_MUCH_TAKEN, _FEWEST_ASKED = 0.1, 20
_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class ClassAddition:
    """A run with one class more.

    Attributes:
        path: The new run folder.
        class_name: What was added.
        num_new: Images that it was learnt from.
        unreadable: Files that were left out, and why.
        recognised: Share of the new images that were called so by a fit that had not seen them.
        taken: Share of the old test images that are called so now; None if none could be read.
        num_asked: These test images.
        untested: Known classes without test images (added before), and the share of their training
            images that are called by the new class by a fit without them.
        are_centroids: Whether the head of the known classes was fitted as nearest centroids.
        seconds: That it took, TensorFlow's start not included.
    """

    path: Path
    class_name: str
    num_new: int
    unreadable: tuple[tuple[str, str], ...] = field(repr=False)
    recognised: Estimate
    taken: Estimate | None
    num_asked: int
    untested: tuple[tuple[str, Estimate], ...]
    are_centroids: bool
    seconds: float


def write_larger_run(
    folder: Path,
    run: FinishedRun,
    model: keras.Model,
    addition: ClassAddition,
    *,
    digests: Mapping[str, str],
    novelty: Novelty | None,
    answered: AnsweredImages | None,
    answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> None:
    """Write all files that other commands read of a run.

    Args:
        folder: Where to write; it exists and is empty.
        run: The run before.
        model: With the new class as its last.
        addition: What was added.
        digests: Of the pixels of each new image, by its name.
        novelty: What tells pictures of another kind; None where the run has none.
        answered: Test images with what the larger model answers; None without any.
        answer: From pixels to what it answers. Later exports prove that the model in the folder
            gives the same.
    """
    class_names = (*run.class_names, addition.class_name)
    labels = json.loads((run.path / LABELS).read_text(encoding="utf-8"))
    write_json(folder / LABELS, {**labels, "class_names": list(class_names)})
    words = [
        f"# The run {run.path} with the class {addition.class_name!r} added from "
        f"{addition.num_new} files (kerastl.add).",
        "# This file alone makes the run before that.",
    ]
    config = (run.path / CONFIG).read_text(encoding="utf-8")
    (folder / CONFIG).write_text("\n".join([*words, config]), encoding="utf-8")
    model.save(folder / MODEL)
    if novelty is not None:
        write_novelty(folder / NOVELTY, novelty)
    _write_split(folder, run, addition.class_name, digests=digests, answered=answered)
    metrics: dict[str, Any] = {"kept": PROBE, "kept_because": "A class was added to a probe."}
    if answered is not None:
        write_rows(folder / PREDICTIONS, answer_rows(answered))
        metrics[PROBE] = {"test": measures_of(answered, seed=0)}
    metrics["added"] = {
        "class": addition.class_name,
        "to": str(run.path),
        "num_images": addition.num_new,
        "left_out_recognised": dataclasses.asdict(addition.recognised),
        "test_images_taken": addition.taken and dataclasses.asdict(addition.taken),
        "num_test_images_asked": addition.num_asked,
        "taken_from_untested": {
            name: dataclasses.asdict(taken) for name, taken in addition.untested
        },
        "few_images": {"chosen": CENTROIDS} if addition.are_centroids else None,
    }
    write_json(folder / METRICS, metrics)
    if (run.path / ENVIRONMENT).is_file():
        shutil.copy(run.path / ENVIRONMENT, folder / ENVIRONMENT)
    _write_held_out(folder, run, answer)
    card = ["# " + ", ".join(class_names), "", *addition_lines(addition, base=run.path)]
    (folder / MODEL_CARD).write_text("\n".join(card) + "\n", encoding="utf-8")


def _write_split(
    folder: Path,
    run: FinishedRun,
    class_name: str,
    *,
    digests: Mapping[str, str],
    answered: AnsweredImages | None,
) -> None:
    """Write which images the model knows, and which test images it was asked about."""
    import pandas as pd  # slow

    rows = pd.read_csv(run.path / SPLIT, dtype=str, keep_default_na=False)
    asked = set() if answered is None else set(answered.ids)
    rows.loc[(rows["split"] == "test") & ~rows["path"].isin(asked), "split"] = UNASKED
    added = pd.DataFrame(
        {
            "path": [os.path.abspath(name) for name in digests],  # found from anywhere
            "label": class_name,
            "split": "train",
            PIXELS: [digest[:DIGEST_LENGTH] for digest in digests.values()],
        }
    )
    joined = pd.concat([rows, added[[name for name in added if name in rows]]])
    joined.fillna("").to_csv(folder / SPLIT, index=False)


def _write_held_out(
    folder: Path, run: FinishedRun, answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
) -> None:
    """Keep the run's held-out images with what the larger model answers to them."""
    contents, _ = read_held_out(run.path)
    shutil.copytree(run.path / HELD_OUT, folder / HELD_OUT)
    place = folder / HELD_OUT / "answers.json"
    rows = json.loads(place.read_text(encoding="utf-8"))
    images = np.stack(
        [
            prepare_pixels(one, image_size=run.image_size, resize_mode=run.resize_mode)
            for one in contents
        ]
    )
    for row, probabilities in zip(rows, answer(images), strict=True):
        row["probabilities"] = [float(value) for value in probabilities]
    write_json(place, rows)


def addition_lines(addition: ClassAddition, *, base: Path) -> list[str]:
    """Return what was added and what it is worth.

    Args:
        addition: The run with one class more.
        base: The run before.
    """
    seen = addition.recognised
    lines = [
        f"{base}: the class {addition.class_name!r} added from {addition.num_new} images; the "
        "odds of the other classes against each other are as before.",
        f"Left out, {100 * seen.value:.0f} % of the new images are recognised "
        f"({100 * seen.low:.0f} to {100 * seen.high:.0f}).",
    ]
    if addition.taken is None:
        lines.append("No test image of the run can be read: what it takes from others is unknown.")
    else:
        taken = addition.taken
        lines.append(
            f"Of {counted(addition.num_asked, 'test image')} of the other classes "
            f"{_percent(taken)} are called so now."
        )
    lines += [
        f"{name!r} has no test images; of those that it was learnt from {_percent(taken)} are "
        "called so by a fit without them."
        for name, taken in sorted(addition.untested, key=lambda one: -one[1].value)[:_MOST_NAMED]
    ]
    return [*lines, *_warning_lines(addition)]


def _warning_lines(addition: ClassAddition) -> list[str]:
    """Return why the larger run should not be relied on."""
    anew = (
        "Better put the new images into a folder beside the others and type: python -m kerastl.fit "
        "DATA --fine-tune-epochs 0"
    )
    taken = [("the others", addition.taken)] if addition.taken is not None else []
    taken += [(repr(name), estimate) for name, estimate in addition.untested]
    worst = max(taken, key=lambda one: one[1].value, default=None)
    if worst is not None and worst[1].value >= _MUCH_TAKEN:
        return [f"Warning: the new class takes {100 * worst[1].value:.0f} % of {worst[0]}. {anew}"]
    if addition.num_asked < _FEWEST_ASKED:
        return [
            f"Warning: {counted(addition.num_asked, 'test image')} cannot tell what the new class "
            f"takes from the others. Measure it on more images, with python -m kerastl.evaluate. "
            f"{anew}"
        ]
    return []


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
