"""Findings about the numbers of images per class and split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kerastl.data.finding import Finding
from kerastl.data.wording import counted

# Largest class over smallest. From about 10 the rare class is often not learnt at all without a
# remedy (Johnson and Khoshgoftaar 2019, https://doi.org/10.1186/s40537-019-0192-5, count 1:10
# as the start of severe imbalance); below 3 plain training does well.
NOTED_IMBALANCE = 3.0
SEVERE_IMBALANCE = 10.0

# With fewer images two or less of a class are in the test split: its accuracy is a coin toss.
SMALLEST_CLASS = 10


def class_findings(
    counts: Mapping[str, tuple[int, ...]],
    *,
    class_names: Sequence[str],
    data: str,
    several: bool = False,
) -> Iterator[Finding]:
    """Yield imbalance, rare classes, and classes that a split lacks.

    Args:
        counts: By split, or "all": images of each class.
        class_names: Of the classes.
        data: How the user named the data.
        several: Whether an image can have several labels, which no remedy in training is for.

    Example:
        >>> counts = {"all": (100, 20)}
        >>> [f.code for f in class_findings(counts, class_names=["a", "b"], data="photos/")]
        ['class-imbalance']
    """
    totals = np.array(list(counts.values()), np.int64).sum(axis=0)
    yield from _imbalance(totals, class_names, data, several=several)
    rare = np.flatnonzero(totals < SMALLEST_CLASS)
    if len(rare):
        yield Finding(
            code="rare-classes",
            severity="warning",
            title=f"{_listed(rare, totals, class_names)}: fewer than {SMALLEST_CLASS}",
            why="Two or less of them are in the test split, so what is said of the class is a "
            "coin toss.",
            advice="Add images of these classes, or join or remove the classes.",
            num_rows=int(totals[rare].sum()),
            values={"num_classes": len(rare), "smallest": int(totals.min())},
        )
    for split, per_class in counts.items():
        absent = np.flatnonzero((np.array(per_class) == 0) & (totals > 0))
        if split != "all" and len(absent):
            yield _absent(split, absent, totals, class_names)


def _imbalance(
    totals: NDArray[np.int64], class_names: Sequence[str], data: str, *, several: bool
) -> Iterator[Finding]:
    """Yield the ratio of the largest class to the smallest."""
    present = totals[totals > 0]
    if len(present) < 2 or present.max() <= NOTED_IMBALANCE * present.min():
        return
    ratio = float(present.max() / present.min())
    largest, smallest = (
        int(totals.argmax()),
        int(np.where(totals > 0, totals, totals.max()).argmin()),
    )
    yield Finding(
        code="class-imbalance",
        severity="warning" if ratio > SEVERE_IMBALANCE else "note",
        title=f"{class_names[largest]!r} has {ratio:.0f} times as many images as "
        f"{class_names[smallest]!r} ({totals[largest]:,} and {totals[smallest]:,})",
        why="Always answering with the large class already gives a high accuracy, so accuracy "
        "says little and the small class is easily given up.",
        advice="Read macro F1 and the rows of single classes in the report."
        if several
        else f"Type: python -m kerastl.fit {data} --imbalance balanced; and read the balanced "
        "accuracy in the report, not the accuracy.",
        num_rows=int(totals[smallest]),
        values={
            "ratio": ratio,
            "largest_class": class_names[largest],
            "smallest_class": class_names[smallest],
        },
    )


def _absent(
    split: str, absent: NDArray[np.int64], totals: NDArray[np.int64], class_names: Sequence[str]
) -> Finding:
    """Return the finding about classes that a split lacks."""
    train = split == "train"
    return Finding(
        code="classes-missing-in-split",
        severity="error" if train else "warning",
        title=f"The {split} split has no image of {_named(absent, class_names)}",
        why="A class without training images cannot be learnt."
        if train
        else f"Nothing that is measured on the {split} split speaks of these classes.",
        advice=f"Move images of these classes into {split}, or give no split of your own: kerastl "
        "then puts every class into every split.",
        num_rows=int(totals[absent].sum()),
        values={"split": split, "num_classes": len(absent)},
    )


def _listed(
    chosen: NDArray[np.int64], totals: NDArray[np.int64], class_names: Sequence[str]
) -> str:
    """Return "'cat' has 3 images, 'dog' 0", the first three."""
    texts = [f"{class_names[number]!r} has {totals[number]}" for number in chosen[:3]]
    more = len(chosen) - len(texts)
    others = f" and {counted(more, 'more class', 'more classes')}" if more else ""
    word = "image" if len(texts) == 1 and totals[chosen[0]] == 1 and not more else "images"
    return f"{', '.join(texts)}{others} {word}"


def _named(chosen: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Return the first three names."""
    texts = [repr(class_names[number]) for number in chosen[:3]]
    more = len(chosen) - len(texts)
    others = f" and {counted(more, 'more class', 'more classes')}" if more else ""
    return ", ".join(texts) + others
