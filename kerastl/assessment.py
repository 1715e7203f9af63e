"""How good finished models are, on new images or on the test images that their runs recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.answered import (
    AnsweredImages,
    comparisons_with_the_first,
    measures_of,
    subgroups_of_answers,
)
from kerastl.data.pixels import Unreadable, encoded_image
from kerastl.data.preparation import prepare_pixels
from kerastl.data.scan import pixel_digest
from kerastl.data.sources import ImageTable, subset
from kerastl.data.stream import in_threads
from kerastl.data.wording import counted
from kerastl.errors import DataError, UnreadableImageError
from kerastl.evaluation.comparison import PairedComparison
from kerastl.evaluation.subgroups import Subgroups
from kerastl.evaluation.unknown import UnknownMetrics, unknown_metrics
from kerastl.fresh_answers import answers_to_files, fresh_answers
from kerastl.progress import track
from kerastl.recorded_answers import (
    common_images,
    involved_images,
    is_run_folder,
    recorded_answers,
    require_same_classes,
)
from kerastl.run_folder import read_labels


@dataclass(frozen=True, eq=False)
class Assessment:
    """How good models are on the same images.

    Attributes:
        name: What the images are called.
        models: By name: where it is.
        answered: By model: what it answers to the images.
        metrics: By model, as `kerastl.answered.measures_of` gives them.
        comparisons: By model but the first: it against the first.
        table: The images in the order of the answers, where they were asked anew; else None.
        untouched: What these images are to the models, after "images".
        notes: What a reader should know, in sentences.
        unreadable: Images that were left out.
        subgroups: How good the first model is group by group; None where none were named.
        unknown: How well it tells pictures of something else; None where none were named.
    """

    name: str
    models: Mapping[str, Path]
    answered: Mapping[str, AnsweredImages] = field(repr=False)
    metrics: Mapping[str, dict[str, Any]] = field(repr=False)
    comparisons: Mapping[str, PairedComparison]
    table: ImageTable | None = field(repr=False)
    untouched: str
    notes: tuple[str, ...]
    unreadable: tuple[Unreadable, ...] = ()
    subgroups: Subgroups | None = None
    unknown: UnknownMetrics | None = None


def assess_recorded(models: Sequence[Path], *, seed: int = 0) -> Assessment:
    """Compare runs by what they recorded of the test images that they have in common.

    Args:
        models: Two run folders or more.
        seed: Of the resamples.

    Raises:
        ConfigError: One is no finished run folder.
        DataError: They have no test image in common, other classes or other labels.
    """
    named = names_of(models)
    recorded = {name: recorded_answers(path) for name, path in named.items()}
    answered = common_images(recorded)
    count = len(next(iter(answered.values())).ids)
    notes = [
        f"Of the {counted(len(one.ids), 'test image')} of {name} these are the {count:,} that all "
        "of these runs tested and none was trained on."
        for name, one in recorded.items()
        if len(one.ids) > count
    ]
    known = {name: involved_images(path) for name, path in named.items()}
    for name, involved in known.items():
        if any(involved.knows(id_) for id_ in next(iter(answered.values())).ids):
            raise DataError(f"{name} was trained on images that it lists as tested.")
    return Assessment(
        name="their test images",
        models=named,
        answered=answered,
        metrics={name: measures_of(one, seed=seed) for name, one in answered.items()},
        comparisons=comparisons_with_the_first(answered, seed=seed),
        table=None,
        untouched="that had no part in training or in any choice of these runs",
        notes=tuple(notes),
    )


def assess_images(
    models: Sequence[Path],
    table: ImageTable,
    *,
    group_by: tuple[str, NDArray[np.str_]] | None = None,
    unknown: Sequence[Path] = (),
    all_images: bool = False,
    seed: int = 0,
) -> Assessment:
    """Ask models about images and measure what they answer.

    Where the images have a test split, these are asked; images that a run was trained on or
    chosen by are left out.

    Args:
        models: Run folders or SavedModels.
        table: The images.
        group_by: What to tell apart, such as "camera", and each image's own.
        unknown: Pictures of something else: of none of the classes.
        all_images: Ask about all of them, whatever is known of them.
        seed: Of the resamples.

    Raises:
        ConfigError: A path is no model.
        DataError: No image is left, or the images have a class that a model does not know.
    """
    named = names_of(models)
    rows, notes = _unseen_rows(named, table, all_images=all_images)
    asked = subset(table, rows)
    fresh = fresh_answers(named, asked)
    first, *others = fresh.answered
    order = fresh.answered[first].class_names
    for name in others:
        require_same_classes(first, fresh.answered[first], name, fresh.answered[name])
    answered = {name: one.reordered(order) for name, one in fresh.answered.items()}
    unrecorded = [name for name, path in named.items() if not is_run_folder(path)]
    untouched = "that had no part in training or in any choice"
    subgroups = None
    if group_by is not None:
        column, values = group_by
        subgroups = subgroups_of_answers(
            answered[first], values[rows][fresh.rows], column=column, seed=seed
        )
    if all_images:
        untouched = "of which some may have had a part in training"
    elif unrecorded:
        untouched = (
            f"of which {' and '.join(unrecorded)} may have seen some in training (not recorded)"
        )
    return Assessment(
        name=table.name,
        models=named,
        answered=answered,
        metrics={name: measures_of(one, seed=seed) for name, one in answered.items()},
        comparisons=comparisons_with_the_first(answered, seed=seed) if others else {},
        table=subset(asked, fresh.rows),
        untouched=untouched,
        notes=notes,
        unreadable=fresh.unreadable,
        subgroups=subgroups,
        unknown=_unknown(named[first], unknown, answered[first], name=first, seed=seed),
    )


def _unknown(
    path: Path, pictures: Sequence[Path], known: AnsweredImages, *, name: str, seed: int
) -> UnknownMetrics | None:
    """Return how well a model tells pictures of something else from those that it was asked."""
    if not pictures:
        return None
    other = answers_to_files(path, pictures, name=name)
    return unknown_metrics(
        known.probabilities,
        other.probabilities,
        novelty=None
        if known.novelty is None or other.novelty is None
        else (known.novelty, other.novelty),
        called=None
        if known.called_unknown is None or other.called_unknown is None
        else (known.called_unknown, other.called_unknown),
        groups=known.groups,
        seed=seed,
    )


def names_of(models: Sequence[Path]) -> dict[str, Path]:
    """Return short names of models: the end of the path, as far as that tells them apart.

    Args:
        models: Where they are.

    Raises:
        DataError: One is named twice.

    Example:
        >>> list(names_of([Path("/a/runs/pets"), Path("/a/saved_models/pets/1"), Path("runs/b")]))
        ['runs/pets', 'saved_models/pets', 'b']
    """
    if len({path.resolve() for path in models}) < len(models):
        raise DataError("Each model can be named once; two of these paths are the same.")
    parts = [path.resolve().parts for path in models]
    known = [one[:-1] if one[-1].isdigit() else one for one in parts]  # a version is no name
    if len(set(known)) < len(known):
        known = parts
    return {_short(one, known): path for one, path in zip(known, models, strict=True)}


def _short(parts: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    """Return the shortest end of a path that no other path has."""
    for length in range(1, len(parts)):
        if [other[-length:] for other in others].count(parts[-length:]) == 1:
            return "/".join(parts[-length:])
    return str(Path(*parts))


def _unseen_rows(
    models: Mapping[str, Path], table: ImageTable, *, all_images: bool
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the rows to ask about, and what was left out, in sentences."""
    rows, notes = np.arange(len(table.ids)), []
    seen = np.zeros(len(rows), bool)
    for path in models.values():
        if is_run_folder(path):
            seen |= _known_to(path, table)
    if all_images:
        if seen.any():
            notes.append(
                f"{counted(int(seen.sum()), 'of these images was', 'of these images were')} in the "
                "training or validation split of a model: these numbers flatter it."
            )
        return rows, tuple(notes)
    if table.splits is not None and np.any(table.splits == "test"):
        rows = np.flatnonzero(table.splits == "test")
        others = len(table.ids) - len(rows)
        if others:
            notes.append(f"Only the test split of {table.name}; {others:,} others were not asked.")
    left = rows[~seen[rows]]
    if not len(left):
        raise DataError(
            f"All {len(rows):,} images were in the training or validation split of the model. Give "
            "images that are new to it, or add --all-images (its numbers will flatter)."
        )
    if len(left) < len(rows):
        out = len(rows) - len(left)
        notes.append(
            f"{counted(out, 'image')} left out that the model was trained on or chosen by."
        )
    return left, tuple(notes)


def _known_to(path: Path, table: ImageTable) -> NDArray[np.bool_]:
    """Return which images a run was trained on or chosen by, whatever they are called now."""
    involved, labels = involved_images(path), read_labels(path)
    (height, width), mode = map(int, labels["image_size"]), str(labels["resize_mode"])

    def knows(row: int) -> bool:
        if involved.knows(table.ids[row]):
            return True
        if not involved.digests:
            return False
        try:
            content = encoded_image(table, row)
            pixels = prepare_pixels(content, image_size=(height, width), resize_mode=mode)
        except (DataError, UnreadableImageError):  # the models will say so
            return False
        return involved.knows(table.ids[row], pixel_digest(pixels))

    known = np.zeros(len(table.ids), bool)
    with track("Looking for images that are known", total=len(known)) as advance:
        for row, one in enumerate(in_threads(knows, range(len(known)))):
            known[row] = one
            advance(1)
    return known
