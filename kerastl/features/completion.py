"""Rows that are wanted: found, or made batch by batch and kept, beside others who do the same."""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.collection import Collection, Reserve
from kerastl.features.room import NotKeptError, room_for, size_text
from kerastl.features.stored_rows import StoredRows
from kerastl.progress import Advance, track

logger = logging.getLogger(__name__)

Places = NDArray[np.int64]
# From the places of rows, and of those that will probably be asked for next, to the rows.
Make = Callable[[Places, Places], NDArray[Any]]


class Completion:
    """What is there of the rows that are wanted, and what is made of the rest.

    Args:
        names: Of the rows, in order; of two with one name only one is made.
        row_shape: Of each.
        dtype: Of the numbers.
        collection: Where rows are kept; None to keep nothing.
        directories: Where rows may go that cannot be kept, if memory does not do.
        description: For the progress bar.
    """

    def __init__(
        self,
        names: Sequence[Hashable],
        *,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        collection: Collection | None,
        directories: tuple[Path, ...],
        description: str,
    ) -> None:
        self._names, self._row_shape, self._dtype = names, row_shape, dtype
        self._collection = collection
        self._is_kept = collection is not None
        self._directories = directories
        self._description = description
        # By name the first of its places, in order.
        self._missing: dict[Any, int] = {}
        for place, name in enumerate(names):
            self._missing.setdefault(name, place)
        # What cannot be kept, and where in it a row is.
        self._unkept: NDArray[Any] | None = None
        self._unkept_slots: dict[Any, int] = {}

    def run(self, make: Make, *, batch_rows: int, reserve: Reserve) -> StoredRows:
        """Find what is there, make what is not, and return all rows in order.

        Args:
            make: Gives rows of the shape and type that were promised.
            batch_rows: Rows that are made, and kept, at once.
            reserve: Makes room in the store.

        Raises:
            DataError: Rows that are not kept have room nowhere.
        """
        wanted = len(self._missing)
        self._tried(self._find)
        if self._missing:
            self._say_missing(wanted)
            self._tried(lambda kept: kept.take_room(len(self._missing), reserve=reserve))
            with track(self._description, total=wanted) as advance:
                advance(wanted - len(self._missing))
                self._make(make, batch_rows=batch_rows, advance=advance)
        elif wanted:
            logger.info("%s: kept by an earlier run.", self._description)
        return self._assembled()

    def _tried(self, work: Callable[[Collection], object]) -> bool:
        """Work with the store, or go on without it: return whether it worked, else say why not."""
        if self._collection is None or not self._is_kept:
            return False
        try:
            work(self._collection)
        except (OSError, NotKeptError) as error:
            self._is_kept = False
            row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
            logger.warning(
                "%s: %s are not kept for later runs in %s: %s.",
                self._description,
                size_text(len(self._missing) * row_bytes),
                self._directories[0],
                (isinstance(error, OSError) and error.strerror) or error,
            )
            return False
        return True

    def _find(self, kept: Collection) -> None:
        """Take what is there off the list of what is missing."""
        for name in kept.find(self._missing.keys()):
            del self._missing[name]

    def _make(self, make: Make, *, batch_rows: int, advance: Advance) -> None:
        """Make what is missing, batch by batch, but for what others make meanwhile."""
        following, beside_others = self._choose(batch_rows), self._others_at_work()
        while following:
            left, names = len(self._missing), following
            following = self._choose(batch_rows, without=set(names))
            rows = make(self._places(names), self._places(following))
            expected = (len(names), *self._row_shape)
            if rows.shape != expected or rows.dtype != self._dtype:
                raise ValueError(
                    f"`make` must return {self._dtype} of shape {expected}; received {rows.dtype} "
                    f"of shape {rows.shape}."
                )
            self._keep(names, rows)
            for name in names:
                del self._missing[name]
            # Once more when they have ended: they may have done some since the last look.
            before, beside_others = beside_others, self._others_at_work()
            if before or beside_others:
                self._tried(self._find)
                following = [name for name in following if name in self._missing]
            advance(left - len(self._missing))
            following = following or self._choose(batch_rows)

    def _others_at_work(self) -> bool:
        answers: list[bool] = []
        self._tried(lambda kept: answers.append(kept.others_at_work(self._missing.keys())))
        return answers == [True]

    def _choose(self, batch_rows: int, without: AbstractSet[Any] = frozenset()) -> list[Any]:
        """Return the next names, neighbours in the order of the places.

        The first ones; any where others are at work: they are elsewhere most likely, so that the
        work is done together and not twice.
        """
        first = 0
        if self._others_at_work():
            first = batch_rows * random.randrange(max(len(self._missing) // batch_rows, 1))
        left: Iterator[Any] = (name for name in self._missing if name not in without)
        return list(itertools.islice(left, first, first + batch_rows))

    def _places(self, names: list[Any]) -> Places:
        return np.array([self._missing[name] for name in names], np.int64)

    def _keep(self, names: list[Any], rows: NDArray[Any]) -> None:
        """Keep rows in the store, or for this process alone."""
        if self._tried(lambda kept: kept.append(names, rows)):
            return
        if self._unkept is None:
            shape = (len(self._missing), *self._row_shape)
            self._unkept = room_for(shape, self._dtype, self._directories)
        first = len(self._unkept_slots)
        self._unkept[first : first + len(names)] = rows
        self._unkept_slots |= {name: first + number for number, name in enumerate(names)}

    def _say_missing(self, wanted: int) -> None:
        """Say in one line why less than all, or more than nothing, is made."""
        todo = len(self._missing)
        if self._collection is not None and self._collection.is_damaged:
            logger.warning(
                "%s: some of what earlier runs kept is damaged; %s of %s rows are computed.",
                self._description,
                f"{todo:,}",
                f"{wanted:,}",
            )
        elif todo < wanted:
            logger.info(
                "%s: %s of %s rows are kept by earlier runs.",
                self._description,
                f"{wanted - todo:,}",
                f"{wanted:,}",
            )

    def _assembled(self) -> StoredRows:
        """Return all rows in order."""
        arrays: list[NDArray[Any]] = []
        found: dict[Any, tuple[int, int]] = {}
        if self._collection is not None:
            arrays, found = self._collection.arrays(self._row_shape, self._dtype)
        if self._unkept is not None:
            self._unkept.flags.writeable = False
            found |= {name: (len(arrays), slot) for name, slot in self._unkept_slots.items()}
            arrays.append(self._unkept)
        if not arrays:  # nothing was wanted
            arrays = [np.empty((0, *self._row_shape), self._dtype)]
            arrays[0].flags.writeable = False
        places = np.array([found[name] for name in self._names], np.int64).reshape(-1, 2)
        return StoredRows(tuple(arrays), places[:, 0], places[:, 1])
