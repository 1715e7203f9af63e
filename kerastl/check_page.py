"""The page of a check: its words, its thumbnails, and what augmentation does to the images."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.augmentation_figure import augmentation_figure
from kerastl.data.augment import find_augmentation
from kerastl.data.sources import ImageTable
from kerastl.data.stream import ImageStream
from kerastl.data.table import label_text
from kerastl.data.thumbnails import read_thumbnail
from kerastl.evaluation.check_report import CheckReport, render_check
from kerastl.evaluation.figures import figure_data_uri, save_figure
from kerastl.evaluation.report import Picture
from kerastl.findings import show_findings
from kerastl.inspection import BACKBONE, Inspection
from kerastl.run_folder import CHECK

PAGE = "check.html"
IMAGES = "images.csv"
IMAGES_SEVERAL = "images.jsonl"
AUGMENTATION = "augmentation"

# Of the augmentation sheet: images, and variants of each beside it.
_NUM_IMAGES = 6
_SHEET_SIZE = (224, 224)


def make_check_page(
    inspection: Inspection,
    *,
    command: str,
    finished: datetime.datetime,
    augmentation: Picture | None = None,
) -> str:
    """Return the page of a check as HTML that needs no other file.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
        command: What was typed.
        finished: When.
        augmentation: From `draw_augmentation`.
    """
    audit, table = inspection.audit, inspection.table
    return render_check(
        CheckReport(
            title=audit.name,
            created=finished,
            version=__version__,
            command=command,
            num_images=audit.num_images,
            class_names=audit.class_names,
            counts=audit.counts,
            several=table.multi_label,
            formats=audit.formats,
            sizes=audit.sizes,
            unreadable=[(fault.id, fault.reason) for fault in audit.unreadable],
            findings=show_findings(
                audit.findings,
                table,
                splits=inspection.splits,
                read=lambda row: read_thumbnail(table, row),
            ),
            how=how_checked(inspection),
            files=_files(inspection),
            augmentation=augmentation,
            seconds=inspection.seconds,
        )
    )


def how_checked(inspection: Inspection) -> str:
    """Return what was compared and how the images were divided, in sentences.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
    """
    table = inspection.table
    compared = "Images were compared by their pixels"
    if inspection.features:
        compared += f" and by the features of {BACKBONE}"
    if inspection.splits is None:
        return f"{compared}."
    how = "cut at random by the seed"
    if table.splits is not None and np.any(table.splits != ""):
        how = "as the data gives it; what it lacks was cut by the seed"
    if table.groups is not None:
        how += ", no group torn apart"
    return f"{compared}. The split is the one that kerastl.fit makes: {how}."


def _files(inspection: Inspection) -> dict[str, str]:
    """Return what else lies beside the page."""
    audit = inspection.audit
    images = "every image with label, split, format, size, checksum and findings"
    if audit.suggested_groups is not None:
        count = len(np.unique(audit.suggested_groups))
        rough = ", borders approximate" if audit.suggested_groups_from == "runs of rows" else ""
        images += f", and {count:,} suggested groups (from {audit.suggested_groups_from}{rough})"
    if inspection.table.contents is not None:
        images += "; these images are not files, so kerastl.fit cannot read it"
    files = {CHECK: "the findings for programs", IMAGES: images}
    if inspection.table.multi_label:
        files[IMAGES_SEVERAL] = "the same images with lists of labels, for kerastl.fit"
    return files


def draw_augmentation(folder: Path, inspection: Inspection, *, policy: str) -> Picture | None:
    """Draw what training pictures become, as a PNG file and for the page.

    Args:
        folder: Where to write augmentation.png.
        inspection: Whose images to take.
        policy: Name of a policy of `kerastl.data.augment`.

    Returns:
        The picture; None if no image can be read.

    Raises:
        ConfigError: There is no such policy.
    """
    find_augmentation(policy)
    table = inspection.table
    rows = images_to_show(table, readable=inspection.facts.readable)
    if not len(rows):
        return None
    originals = ImageStream(table, image_size=_SHEET_SIZE, rows=rows)[:]
    figure = augmentation_figure(
        originals,
        [label_text(table, int(row)) for row in rows],
        augment=policy,
        seed=inspection.options.seed,
    )
    save_figure(figure, folder / AUGMENTATION, formats=("png",))
    return Picture(
        f"What {policy} augmentation does",
        figure_data_uri(figure, "png"),
        alt=f"{len(rows)} images, each with augmented variants beside it.",
        caption="Left: the image as it is, with its class. Could you still tell the class from "
        "the others?",
    )


def images_to_show(table: ImageTable, *, readable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a few rows: of many classes, spread over the data set.

    Args:
        table: All images.
        readable: bool of shape (n,).
    """
    first = table.labels.argmax(axis=1) if table.multi_label else table.labels
    order = np.argsort(first, kind="stable")
    order = order[readable[order]]
    places = np.linspace(0, len(order) - 1, min(_NUM_IMAGES, len(order))).astype(int)
    return order[np.unique(places)]
