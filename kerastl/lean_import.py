"""Importing packages as if others were not installed that they would only load in case."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType


class _Hidden(MetaPathFinder):
    """Finds nothing, and nobody after it may look, for some packages."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> None:
        """Refuse what is hidden."""
        del path, target
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is hidden for the moment", name=fullname)


@contextmanager
def hidden(names: Sequence[str]) -> Iterator[None]:
    """Hide packages while the block imports others; what is imported already stays.

    Args:
        names: Of packages that the others can do without.

    Example:
        >>> with hidden(["this"]):
        ...     import this
        Traceback (most recent call last):
        ModuleNotFoundError: this is hidden for the moment
    """
    finder = _Hidden(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_keras() -> None:
    """Import TensorFlow and Keras without what Keras loads for features that we do not use.

    Keras 3.15 imports scikit-learn, pandas and Matplotlib where they are installed, for its
    scikit-learn wrappers, for pandas inputs and for its plots: 1.4 of the 3.9 seconds of processor
    time that `import tensorflow` takes (2026-11, 2 cores of an AMD EPYC). For commands only: in
    this process Keras then believes that they are not installed.
    """
    with hidden(("sklearn", "pandas", "matplotlib")):
        importlib.import_module("tensorflow")
        importlib.import_module("keras")
