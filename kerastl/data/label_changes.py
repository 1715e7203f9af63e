"""What a person decided about labels: `--label-changes FILE`, a table that a run wrote."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.table import ImageTable, TableBefore, subset
from kerastl.errors import DataError, did_you_mean

KEEP, RELABEL, DROP = "keep", "relabel", "drop"
# Of the table: an image, the class it is said to be, and what is to be done.
PATH, SUGGESTED, ACTION = "path", "suggested", "action"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelChanges:
    """What is to be done about the labels of some images.

    Attributes:
        source: The file.
        actions: "keep", "relabel" or "drop", by the image's name in the table of images.
        suggested: The class, by the name of an image that is to be relabelled.
    """

    source: str
    actions: dict[str, str]
    suggested: dict[str, str]

    def named(self, action: str) -> tuple[str, ...]:
        """Return the images with an action.

        Args:
            action: "keep", "relabel" or "drop".
        """
        return tuple(name for name, one in self.actions.items() if one == action)


def read_label_changes(path: str | Path) -> LabelChanges:
    """Read what a person wrote into the table of candidates that a run had written.

    Args:
        path: CSV with the columns "path", "action" (keep, relabel, drop, or nothing) and, for
            what is relabelled, "suggested".

    Raises:
        DataError: The file cannot be read, lacks a column, or says what cannot be done.
    """
    import pandas as pd  # not at the top: slow, and most runs need none of it

    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"The label changes {str(path)!r} cannot be read: {error}. Give the CSV file that a "
            "run wrote, label_candidates.csv, with its column `action` filled in."
        ) from error
    missing = [name for name in (PATH, SUGGESTED, ACTION) if name not in rows.columns]
    if missing:
        raise DataError(
            f"The label changes {str(path)!r} must have the columns {PATH}, {SUGGESTED} and "
            f"{ACTION}; received {', '.join(rows.columns)}. Take the label_candidates.csv of a run."
        )
    actions: dict[str, str] = {}
    suggested: dict[str, str] = {}
    for line, (name, to, said) in enumerate(
        rows[[PATH, SUGGESTED, ACTION]].itertuples(index=False)
    ):
        action = said.strip().lower()
        if not action:
            continue
        _check_action(action, said, where=f"{str(path)!r}, line {line + 2}")
        if actions.setdefault(name, action) != action or suggested.setdefault(name, to) != to:
            raise DataError(
                f"The label changes {str(path)!r} say two things of {name!r}. Leave one line of it."
            )
    return LabelChanges(str(path), actions, suggested)


def _check_action(action: str, said: str, *, where: str) -> None:
    """Refuse an action that there is not."""
    if action not in (KEEP, RELABEL, DROP):
        raise DataError(
            f"The label changes have an unknown action in {where}: {said!r}. Write {KEEP}, "
            f"{RELABEL}, {DROP}, or nothing.{did_you_mean(action, [KEEP, RELABEL, DROP])}"
        )


def with_label_changes(table: ImageTable, changes: LabelChanges) -> ImageTable:
    """Return a table with other labels, and without the images that are dropped.

    It remembers what it was: a split is that of the labels before, so that no image that a run was
    trained on is in the test of the next.

    Args:
        table: The images, one label each.
        changes: What is to be done.

    Raises:
        DataError: An image or a class is not in the table, or images have several labels.

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((3, 8, 8), np.uint8), ["cat", "dog", "cat"])
        >>> actions = {"arrays[0]": "relabel", "arrays[2]": "drop"}
        >>> changes = LabelChanges("changes.csv", actions, {"arrays[0]": "dog"})
        >>> changed = with_label_changes(table, changes)
        >>> changed.ids, changed.labels.tolist()
        (('arrays[0]', 'arrays[1]'), [1, 1])
    """
    if table.multi_label:
        raise DataError(
            "--label-changes is for one label per image; these images have several. Correct "
            "the table of labels itself."
        )
    places = {name: row for row, name in enumerate(table.ids)}
    _refuse_unknown("image", changes.actions, tuple(places), changes.source)
    relabelled = changes.named(RELABEL)
    wanted = [changes.suggested.get(name, "") for name in relabelled]
    _refuse_unknown("class", wanted, table.class_names, changes.source)
    labels: NDArray[np.int64] = table.labels.astype(np.int64)
    for name, to in zip(relabelled, wanted, strict=True):
        labels[places[name]] = table.class_names.index(to)
    dropped = np.isin(np.arange(len(labels)), [places[name] for name in changes.named(DROP)])
    logger.info(
        "%s: %d relabelled, %d dropped, %d kept as they are.",
        changes.source,
        len(relabelled),
        int(dropped.sum()),
        len(changes.named(KEEP)),
    )
    left = subset(replace(table, labels=labels), ~dropped)
    # Of the images themselves nothing is needed to divide them again.
    before = TableBefore(replace(table, contents=None), np.flatnonzero(~dropped))
    return replace(left, before=before)


def _refuse_unknown(
    kind: str, wanted: Sequence[str] | dict[str, str], known: Sequence[str], source: str
) -> None:
    """Refuse names that the table does not have."""
    names = set(known)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(
            f"The label changes {source!r} name the {kind} {unknown[0]!r}{more}, which is not in "
            f"the data.{did_you_mean(unknown[0], list(known)[:1000])} Was the file written by a "
            "run on the same data?"
        )
