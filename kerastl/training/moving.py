"""What a training may change, and what it was before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moving:
    """What a training may change, and what it was before.

    Attributes:
        variables: Weights, and the random states of Dropout above the border.
        start: Their values.
    """

    variables: tuple[keras.Variable, ...]
    start: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, model: keras.Model, must_not_move: Sequence[keras.Variable]) -> Moving:
        """Return what may change of a model, as it is now."""
        still = {id(variable) for variable in must_not_move}
        moving = tuple(variable for variable in model.variables if id(variable) not in still)
        return cls(moving, tuple(np.array(variable.numpy()) for variable in moving))

    @property
    def learned(self) -> list[keras.Variable]:
        """The weights alone."""
        return [variable for variable in self.variables if not _is_random_state(variable)]

    @property
    def first_weights(self) -> list[NDArray[Any]]:
        """What the weights were before."""
        pairs = zip(self.variables, self.start, strict=True)
        return [value for variable, value in pairs if not _is_random_state(variable)]

    def put_back(self) -> None:
        """Undo the training, in place."""
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)


def _is_random_state(variable: keras.Variable) -> bool:
    return bool(variable.path.endswith("seed_generator_state"))
