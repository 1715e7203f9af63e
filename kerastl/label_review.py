"""Which labels of a run a person should look at: a table to fill in, and a sheet of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from kerastl.data.label_changes import ACTION, DROP, PATH, RELABEL, SUGGESTED, read_label_changes
from kerastl.data.stream import Images
from kerastl.errors import DataError
from kerastl.evaluation.figures import figure_data_uri
from kerastl.evaluation.label_errors import LabelCandidates, label_candidates
from kerastl.evaluation.pictures import contact_sheet_figure
from kerastl.evaluation.report import Picture
from kerastl.record import Record
from kerastl.run_folder import LABEL_CANDIDATES
from kerastl.training.decision import PROBE

# Candidates on the sheet: what one page can show.
_MOST_SHOWN = 18
COLUMNS = [PATH, "split", "label", SUGGESTED, "p(label)", "p(suggested)", ACTION]


def candidates_of(record: Record) -> LabelCandidates | None:
    """Return the labels that look wrong, of all splits; None where images have several labels.

    The probe says so: of training images out of fold, of the others as it is. What a person has
    decided by --label-changes is left out.

    Args:
        record: The run.
    """
    if record.table.multi_label:
        return None
    experiment = record.experiment
    train = record.rows("train")
    # Of each view of a training image there is a row; an image's views were held out together.
    views = experiment.probe.out_of_fold.reshape(-1, len(train), len(record.table.class_names))
    answers = experiment.answers[PROBE]
    rows = np.concatenate([train, record.rows("val"), record.rows("test")])
    held_out = np.concatenate([views.mean(axis=0), answers.validation, answers.test])
    found = label_candidates(record.table.labels[rows].astype(np.int64), held_out)
    decided = set[str]()
    if record.config.label_changes:
        decided = set(read_label_changes(record.config.label_changes).actions)
    chosen = rows[found.rows]
    free = np.array([record.table.ids[row] not in decided for row in chosen], bool)
    return LabelCandidates(chosen[free], found.suggested[free], found.own[free], found.other[free])


def decided_note(record: Record) -> str:
    """Return what decisions about labels do to the numbers of a run; "" where none touch the test.

    What was dropped is in no split any more: it might have been tested on.

    Args:
        record: The run.
    """
    if not record.config.label_changes:
        return ""
    changes = read_label_changes(record.config.label_changes)
    tested = {record.table.ids[row] for row in record.rows("test")}
    relabelled, dropped = len(tested.intersection(changes.named(RELABEL))), changes.named(DROP)
    if not relabelled and not dropped:
        return ""
    return (
        f"Of the test images {relabelled} {'was' if relabelled == 1 else 'were'} relabelled by a "
        f"person, and {len(dropped)} of all images dropped ({changes.source}), from a list that a "
        "model had made. Where the person followed the model, these numbers flatter it."
    )


def candidate_rows(record: Record, candidates: LabelCandidates) -> list[dict[str, Any]]:
    """Return the candidates as rows of a table, the surest first; the action is to be filled in.

    Args:
        record: The run.
        candidates: Of it.
    """
    table, found = record.table, candidates
    return [
        {
            PATH: table.ids[row],
            "split": record.splits[row],
            "label": table.class_names[table.labels[row]],
            SUGGESTED: table.class_names[suggested],
            "p(label)": float(f"{own:.3g}"),
            "p(suggested)": float(f"{other:.3g}"),
            ACTION: "",
        }
        for row, suggested, own, other in zip(
            found.rows, found.suggested, found.own, found.other, strict=True
        )
    ]


def candidates_sheet(
    record: Record, images: Images, candidates: LabelCandidates | None
) -> list[Picture]:
    """Return the sheet of the surest candidates; none where there are none.

    Args:
        record: The run.
        images: uint8 of shape (n, height, width, 3): the pixels that the run saw.
        candidates: Of it.
    """
    if candidates is None or not len(candidates.rows):
        return []
    rows = candidate_rows(record, candidates)[:_MOST_SHOWN]
    shown, titles = [], []
    for place, one in zip(candidates.rows, rows, strict=False):
        try:
            shown.append(images[place])
        except DataError:  # gone since it was read: a sheet can do without it
            continue
        titles.append(
            f"label: {one['label']}\nperhaps {one[SUGGESTED]} {int(100 * one['p(suggested)'])}%"
        )
    if not shown:
        return []
    count, first = len(candidates.rows), len(shown)
    title = "A label" if count == 1 else f"{count} labels"
    return [
        Picture(
            f"{title} to look at{f', the first {first}' if count > first else ''}",
            figure_data_uri(contact_sheet_figure(shown, titles), "png"),
            alt="Images whose labels may be wrong, with the label and what it may be.",
            caption="The probe, which had not seen them, is sure of another class. Candidates, not "
            "errors: of such lists about half are confirmed (Northcutt et al. 2021, "
            f"arXiv:2103.14749). {LABEL_CANDIDATES} has all of them: write keep, relabel or drop "
            f"into its last column, then type: --label-changes {LABEL_CANDIDATES}. What is "
            "relabelled in the test split as the model says flatters the model.",
        )
    ]
