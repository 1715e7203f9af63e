"""The confusion matrix as a page shows it: three scales, several orders, images behind cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from kerastl.errors import DataError
from kerastl.evaluation.findings import Thumbnail

# Larger tables are read as pictures; the page keeps the list of mistakes.
MOST_CLASSES = 30
# Fewer classes have no order that is worth a choice.
_LEAST_TO_GROUP = 4


@dataclass(frozen=True)
class CellImages:
    """Images of one cell of a confusion matrix.

    Attributes:
        true: The class that they are of: its number.
        answered: The class that was answered.
        count: How many there are.
        images: Some of them.
    """

    true: int
    answered: int
    count: int
    images: Sequence[Thumbnail]

    @property
    def anchor(self) -> str:
        """What a link on the page calls these images."""
        return f"images-{self.true}-{self.answered}"


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        count: Images.
        of_true: Share of the images of its row, 0..1.
        of_answered: Share of the images of its column, 0..1.
        of_largest: Share of the largest count of the table, 0..1.
        right: Whether these answers are right.
        anchor: Where its images are on the page; "" where none are shown.
    """

    count: int
    of_true: float
    of_answered: float
    of_largest: float
    right: bool
    anchor: str


@dataclass(frozen=True)
class ConfusionTable:
    """A confusion matrix, ready to be written.

    Attributes:
        names: Of the classes.
        true_counts: Images of each class.
        answered_counts: Images with each answer.
        rows: Cells: true class by answer.
        orders: By name: in which order rows and columns can be shown.
    """

    names: Sequence[str]
    true_counts: Sequence[int]
    answered_counts: Sequence[int]
    rows: Sequence[Sequence[Cell]]
    orders: Mapping[str, Sequence[int]]


def confusion_table(
    confusion: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    *,
    shown: Sequence[CellImages] = (),
) -> ConfusionTable:
    """Return a confusion matrix with what a page needs of it.

    Args:
        confusion: Integers of shape (num_classes, num_classes): rows true, columns answered.
        class_names: One for each class.
        shown: Images of cells that are on the page.

    Raises:
        DataError: The matrix is not square or does not fit the names.

    Example:
        >>> table = confusion_table(np.array([[8, 2], [0, 30]]), ["cat", "dog"])
        >>> table.rows[0][1].of_true, table.rows[0][1].of_answered
        (0.2, 0.0625)
        >>> table.orders["largest class first"]
        (1, 0)
    """
    confusion, size = np.asarray(confusion), len(class_names)
    if confusion.shape != (size, size) or size == 0:
        raise DataError(
            f"`confusion` must have the shape ({size}, {size}), for {size} class names; received "
            f"{confusion.shape}. Take both from the same metrics."
        )
    anchors = {(one.true, one.answered): one.anchor for one in shown}
    true, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    largest = max(int(confusion.max()), 1)
    rows = [
        [
            Cell(
                count=int(count),
                of_true=float(count / max(true[row], 1)),
                of_answered=float(count / max(answered[column], 1)),
                of_largest=float(count / largest),
                right=row == column,
                anchor=anchors.get((row, column), ""),
            )
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(confusion)
    ]
    return ConfusionTable(
        names=tuple(map(str, class_names)),
        true_counts=tuple(map(int, true)),
        answered_counts=tuple(map(int, answered)),
        rows=rows,
        orders=_orders(confusion, class_names),
    )


def _orders(
    confusion: NDArray[np.integer[Any]], class_names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Return orders of the classes by name, each once."""
    true = confusion.sum(axis=1)
    recall = np.where(true > 0, confusion.diagonal() / np.maximum(true, 1), 2.0)
    orders = {
        "as the model has them": np.arange(len(class_names)),
        "by name": np.array(
            sorted(range(len(class_names)), key=lambda index: str(class_names[index]).casefold())
        ),
        "largest class first": np.argsort(-true, kind="stable"),
        "least often found first": np.argsort(recall, kind="stable"),
    }
    if len(class_names) >= _LEAST_TO_GROUP and np.any(confusion - np.diag(confusion.diagonal())):
        orders["confused classes together"] = confused_together(confusion)
    known: dict[tuple[int, ...], str] = {}
    for name, order in orders.items():
        known.setdefault(tuple(map(int, order)), name)
    return {name: order for order, name in known.items()}


def confused_together(confusion: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return an order of the classes in which those that are confused stand side by side.

    Average linkage of how often two classes are taken for each other, its leaves in the order
    that brings near ones together (Bar-Joseph et al. 2001,
    https://doi.org/10.1093/bioinformatics/17.suppl_1.S22).

    Args:
        confusion: Integers of shape (num_classes, num_classes), at least 2 classes.

    Returns:
        int64 of shape (num_classes,).

    Example:
        >>> one_and_three = np.array([[9, 0, 1, 0], [0, 9, 0, 1], [1, 0, 9, 0], [0, 1, 0, 9]])
        >>> order = list(confused_together(one_and_three))
        >>> abs(order.index(0) - order.index(2)), abs(order.index(1) - order.index(3))
        (1, 1)
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    apart = 1.0 - (shares + shares.T) / 2
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), np.int64)
