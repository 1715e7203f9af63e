"""A finished check as files: the page, the findings as JSON, the images as a table to train on."""

from __future__ import annotations

import datetime
import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.check_page import IMAGES, IMAGES_SEVERAL, PAGE, draw_augmentation, make_check_page
from kerastl.data.audit import keep_together_advice
from kerastl.data.candidate_groups import merge_copies
from kerastl.data.sources import ImageTable
from kerastl.data.table import label_text
from kerastl.inspection import Inspection
from kerastl.run_folder import CHECK, FolderKind, write_json, write_rows

CHECK_FOLDER = FolderKind("check folder", "checks", (CHECK, IMAGES))


def write_check(
    folder: Path, inspection: Inspection, *, command: str, augmentation: str | None = None
) -> None:
    """Write every file of a check folder.

    Args:
        folder: Where to write; it exists and is empty.
        inspection: From `kerastl.inspection.inspect_data`.
        command: What was typed, for the page.
        augmentation: Policy to show on images of this data set; None for none.
    """
    finished = datetime.datetime.now(datetime.UTC)
    write_json(folder / CHECK, check_values(inspection, command=command, finished=finished))
    write_rows(folder / IMAGES, image_rows(inspection))
    if inspection.table.multi_label:
        lines = [json.dumps(row, ensure_ascii=False) for row in several_label_rows(inspection)]
        (folder / IMAGES_SEVERAL).write_text("\n".join(lines) + "\n", encoding="utf-8")
    picture = None
    if augmentation is not None:
        picture = draw_augmentation(folder, inspection, policy=augmentation)
    page = make_check_page(inspection, command=command, finished=finished, augmentation=picture)
    (folder / PAGE).write_text(page, encoding="utf-8")


def keep_together(folder: Path, table: ImageTable, *, data: str) -> str:
    """Return what to type to train with the suggested groups.

    Args:
        folder: Where the check will be.
        table: The images; where they are not files, no table of ours can name them.
        data: How the user named them, as words for a shell.
    """
    file = folder / (IMAGES_SEVERAL if table.multi_label else IMAGES)
    return keep_together_advice(table, data=data, groups_file=shlex.quote(str(file)))


def check_values(
    inspection: Inspection, *, command: str, finished: datetime.datetime
) -> dict[str, Any]:
    """Return what check.json holds: the audit, and how it was made.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
        command: What was typed.
        finished: When.
    """
    return {
        **inspection.audit.to_dict(),
        "made": {
            "kerastl": __version__,
            "command": command,
            "seed": inspection.options.seed,
            "by_features": inspection.features,
            "seconds": round(inspection.seconds, 1),
            "finished": finished.isoformat(timespec="seconds"),
        },
    }


def image_rows(inspection: Inspection) -> list[dict[str, Any]]:
    """Return one row for each image, in a form that `kerastl.fit` takes as it is.

    `split` is the one that was checked. Where it tears a `group` apart, it is left out, so that
    a fit divides anew. `checked_split` is always the one that was checked.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
    """
    table, facts = inspection.table, inspection.facts
    codes = finding_codes(inspection)
    fits = fitting_columns(inspection)
    rows = []
    for row, id_ in enumerate(table.ids):
        rows.append(
            {
                "path": os.path.abspath(id_) if table.contents is None else id_,
                "label": label_text(table, row),
                **{name: str(values[row]) for name, values in fits.items()},
                "checked_split": "" if inspection.splits is None else str(inspection.splits[row]),
                "format": str(facts.formats[row]),
                "width": int(facts.widths[row]),
                "height": int(facts.heights[row]),
                "sha256": str(facts.digests[row]),
                "findings": " ".join(codes[row]),
            }
        )
    return rows


def several_label_rows(inspection: Inspection) -> list[dict[str, Any]]:
    """Return one row for each image with a list of its labels, which may be empty.

    A cell of a CSV cannot say "none of the labels", nor hold a label with the separator in it.

    Args:
        inspection: Of images that may have several labels.
    """
    table, fits = inspection.table, fitting_columns(inspection)
    return [
        {
            "path": os.path.abspath(id_) if table.contents is None else id_,
            "label": [table.class_names[i] for i in np.flatnonzero(table.labels[row])],
            **{name: str(values[row]) for name, values in fits.items()},
        }
        for row, id_ in enumerate(table.ids)
    ]


def fitting_columns(inspection: Inspection) -> dict[str, NDArray[np.str_]]:
    """Return the columns split and group such that a fit accepts them together.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.

    Returns:
        "group" if there are groups, given or suggested (given ones stay whole), and "split"
        unless groups would be torn apart by it.
    """
    table, suggested = inspection.table, inspection.audit.suggested_groups
    free = np.full(len(table.ids), "", "<U5")
    checked = free if inspection.splits is None else inspection.splits
    groups = table.groups if suggested is None else suggested
    if groups is None:
        return {"split": checked}
    if table.groups is not None and suggested is not None:
        own = np.array([f"image {row}" for row in range(len(groups))])
        named = np.where(table.groups == "", own, table.groups)
        groups = merge_copies(named, np.unique(suggested, return_inverse=True)[1])
    given = free if table.splits is None else table.splits
    for split in (checked, given):
        if (split != "").any() and not _tears(split, groups):
            return {"split": split, "group": groups}
    return {"group": groups}


def _tears(splits: NDArray[np.str_], groups: NDArray[np.str_]) -> bool:
    """Whether a group is in more than one split."""
    settled = splits != ""
    pairs = set(zip(groups[settled].tolist(), splits[settled].tolist(), strict=True))
    return len(pairs) > len({group for group, _ in pairs})


def finding_codes(inspection: Inspection) -> list[list[str]]:
    """Return for each image the codes of the findings that name it.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
    """
    codes: list[list[str]] = [[] for _ in inspection.table.ids]
    for finding in inspection.audit.findings:
        for row in finding.rows:
            codes[row].append(finding.code)
    return codes
