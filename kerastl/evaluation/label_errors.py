"""Labels that look wrong: what a model that had not seen an image says against its label.

Confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068) by cleanlab: how often
one class is labelled as another is estimated from all images, and so many are named, the surest
first. Of what it names in ten known test sets people confirmed about half (Northcutt et al. 2021,
https://arxiv.org/abs/2103.14749): candidates to look at, not errors to correct unseen.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabelCandidates:
    """Images whose labels look wrong, the surest first.

    Attributes:
        rows: int64 of shape (k,).
        suggested: int64 of shape (k,): the class that the model finds most probable.
        own: float32 of shape (k,), 0..1: probability of the label.
        other: float32 of shape (k,), 0..1: probability of the suggested class.
    """

    rows: NDArray[np.int64]
    suggested: NDArray[np.int64]
    own: NDArray[np.float32]
    other: NDArray[np.float32]


def label_candidates(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> LabelCandidates:
    """Return which labels look wrong.

    Args:
        labels: int64 of shape (n,), 0..num_classes-1.
        probabilities: float32 of shape (n, num_classes): of models that had not seen the image
            (out of fold, or held out); sums are 1.

    Example:
        >>> labels = np.repeat([0, 1], 50)
        >>> probabilities = np.where(np.eye(2)[labels] == 1, 0.9, 0.1).astype(np.float32)
        >>> labels[7] = 1
        >>> found = label_candidates(labels, probabilities)
        >>> found.rows.tolist(), found.suggested.tolist()
        ([7], [0])
    """
    # Not at the top: its import takes a second; and in a notebook without widgets its progress bar,
    # which is not shown here, warns of these.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cleanlab.filter import find_label_issues

    # A class without images, of one split for example, has no noise to estimate.
    classes, known = np.unique(labels, return_inverse=True)
    among = probabilities[:, classes].astype(np.float64)
    among /= among.sum(axis=1, keepdims=True)
    rows = np.zeros(0, np.int64)
    if len(classes) > 1:
        # One process: the matrices are small, and workers would each import TensorFlow.
        rows = np.asarray(
            find_label_issues(known, among, return_indices_ranked_by="normalized_margin", n_jobs=1),
            np.int64,
        )
    suggested = classes[among[rows].argmax(axis=1)]
    differs = suggested != labels[rows]
    rows, suggested = rows[differs], suggested[differs]
    return LabelCandidates(
        rows, suggested, probabilities[rows, labels[rows]], probabilities[rows, suggested]
    )
