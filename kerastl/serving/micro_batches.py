"""Requests that wait at the same time are answered together: one batch costs less than many images.

A worker that is free takes what is queued and does not wait for more. At low load nothing is lost
by it; under load the queue grows while workers are busy, and with it the next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.serving.servable import Servable, joined, rows_of
from kerastl.serving.tensor_json import require_few

Outputs = dict[str, NDArray[Any]]


class OverloadedError(Exception):
    """More is queued than may be; the client should come again later."""


@dataclass(eq=False)
class _Item:
    """What one request wants of one signature."""

    servable: Servable
    signature: str
    values: NDArray[Any]
    future: asyncio.Future[Outputs] = field(repr=False)

    @property
    def key(self) -> tuple[int, str, tuple[int, ...]]:
        """What items must have in common to be one batch."""
        return id(self.servable), self.signature, self.values.shape[1:]


class MicroBatches:
    """A queue before the model, for one event loop.

    Args:
        max_batch_size: Images that are answered together at most; 0 for each request by itself.
        max_queued: Images that may wait at most.
        workers: Batches that are answered at the same time.
        observe: Called with the size of each batch.
    """

    def __init__(
        self,
        *,
        max_batch_size: int = 32,
        max_queued: int = 256,
        workers: int = 2,
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self.num_queued = 0
        self._max_batch_size, self.max_queued = max_batch_size, max_queued
        self._observe = observe
        self._queue: deque[_Item] = deque()
        self._free = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="kerastl-model")
        self._running: set[asyncio.Task[None]] = set()

    async def answer(self, servable: Servable, signature: str, values: NDArray[Any]) -> Outputs:
        """Return the outputs for one request.

        Args:
            servable: Who is asked.
            signature: What.
            values: The input, n rows; more than a batch may have are answered in several.

        Raises:
            OverloadedError: Too much is queued; nothing was done.
            TooLargeError: This alone is more than may be queued.
            tf.errors.OpError: The model cannot answer this request.
        """
        size = self._max_batch_size or max(len(values), 1)
        require_few(len(values), self.max_queued)
        if self.num_queued + len(values) > self.max_queued:
            raise OverloadedError(f"{self.num_queued} images are waiting")
        loop = asyncio.get_running_loop()
        items = [
            _Item(servable, signature, values[start : start + size], loop.create_future())
            for start in range(0, max(len(values), 1), size)
        ]
        self._queue.extend(items)
        self.num_queued += len(values)
        self._pump()
        try:
            return joined([await item.future for item in items])
        finally:
            # Who gives up leaves nothing in the queue.
            for item in items:
                item.future.cancel()

    def close(self) -> None:
        """Let what runs end, and start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pump(self) -> None:
        """Start batches while workers are free and something waits."""
        while self._free and self._queue:
            batch = self._next_batch()
            if batch:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    def _next_batch(self) -> list[_Item]:
        """Take the oldest item, and all that can go with it, from the queue."""
        batch: list[_Item] = []
        left: deque[_Item] = deque()
        size = 0
        while self._queue:
            item = self._queue.popleft()
            if item.future.done():  # its client has gone
                self.num_queued -= len(item.values)
                continue
            fits = not batch or (
                item.key == batch[0].key and size + len(item.values) <= self._max_batch_size
            )
            if not fits:
                left.append(item)
                continue
            batch.append(item)
            size += len(item.values)
            self.num_queued -= len(item.values)
        self._queue = left
        return batch

    async def _run(self, batch: Sequence[_Item]) -> None:
        """Answer a batch; where it fails as a whole, each request by itself."""
        loop = asyncio.get_running_loop()
        try:
            groups = [list(batch)]
            while groups:
                group = groups.pop()
                try:
                    answers = await loop.run_in_executor(self._pool, _answer_together, group)
                except Exception as error:
                    if len(group) > 1:
                        groups = [[item] for item in group]
                    elif not group[0].future.done():
                        group[0].future.set_exception(error)
                    continue
                self._observe(sum(len(item.values) for item in group))
                for item, answer in zip(group, answers, strict=True):
                    if not item.future.done():
                        item.future.set_result(answer)
        finally:
            self._free += 1
            self._pump()


def _answer_together(batch: Sequence[_Item]) -> list[Outputs]:
    """Return the outputs of each item, in a thread."""
    first = batch[0]
    values = first.values
    if len(batch) > 1:
        values = np.concatenate([item.values for item in batch])
    answers = first.servable.run(first.signature, values)
    ends = np.cumsum([len(item.values) for item in batch]).tolist()
    return [
        rows_of(answers, end - len(item.values), end) for item, end in zip(batch, ends, strict=True)
    ]
