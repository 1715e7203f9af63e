"""What waits together is answered together, in order, and nobody pays for another's mistake."""

import asyncio
import threading

import numpy as np
import pytest

from kerastl.serving.micro_batches import MicroBatches, OverloadedError
from kerastl.serving.tensor_json import TooLargeError


class Counting:
    """A model that doubles numbers, remembers its batches, and can be held."""

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def run(self, signature, values):
        self.gate.wait(10)
        self.batches.append((signature, values.tolist()))
        if (values == 13).any():
            raise ValueError("13")
        return {"double": 2 * values, "half": values / 2}


async def started(batches, model, rows, signature="serving_default"):
    task = asyncio.create_task(batches.answer(model, signature, np.array(rows)))
    await asyncio.sleep(0.02)
    return task


def run(scenario, **options):
    async def main():
        batches, model = MicroBatches(workers=1, **options), Counting()
        try:
            await scenario(batches, model)
            assert batches.num_queued == 0
        finally:
            model.gate.set()
            batches.close()

    asyncio.run(main())


def test_what_is_queued_while_a_batch_runs_is_the_next_one():
    async def scenario(batches, model):
        model.gate.clear()
        tasks = [await started(batches, model, [number, number + 20]) for number in range(5)]
        model.gate.set()
        answers = [(await task)["double"].tolist() for task in tasks]
        assert answers == [[2 * number, 2 * number + 40] for number in range(5)]
        sizes = [len(values) for _, values in model.batches]
        assert sizes == [2, 6, 2]  # the first did not wait; then as many as fit

    run(scenario, max_batch_size=6)


def test_without_batches_each_request_is_by_itself():
    async def scenario(batches, model):
        model.gate.clear()
        tasks = [await started(batches, model, [number]) for number in range(4)]
        model.gate.set()
        await asyncio.gather(*tasks)
        assert [values for _, values in model.batches] == [[0], [1], [2], [3]]

    run(scenario, max_batch_size=0)


def test_signatures_and_shapes_are_not_mixed():
    async def scenario(batches, model):
        model.gate.clear()
        await started(batches, model, [0])
        tasks = [
            await started(batches, model, rows, signature)
            for rows, signature in ([[1], "a"], [[[2]], "a"], [[3], "b"], [[4], "a"], [[[5]], "a"])
        ]
        model.gate.set()
        await asyncio.gather(*tasks)
        assert model.batches[1:] == [("a", [1, 4]), ("a", [[2], [5]]), ("b", [3])]

    run(scenario)


def test_large_requests_are_answered_in_parts():
    async def scenario(batches, model):
        answer = await batches.answer(model, "a", np.arange(10))
        assert answer["double"].tolist() == list(range(0, 20, 2))
        assert [len(values) for _, values in model.batches] == [4, 4, 2]
        empty = await batches.answer(model, "a", np.arange(0))
        assert empty["double"].tolist() == []

    run(scenario, max_batch_size=4)


def test_a_request_that_fails_fails_alone():
    async def scenario(batches, model):
        model.gate.clear()
        first = await started(batches, model, [0])
        tasks = [await started(batches, model, [number]) for number in (1, 13, 2)]
        model.gate.set()
        await first
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [dict, ValueError, dict]
        assert found[2]["double"].tolist() == [4]

    run(scenario)


def test_too_much_is_refused_and_who_gives_up_makes_room():
    async def scenario(batches, model):
        model.gate.clear()
        running = await started(batches, model, [0])
        waiting = await started(batches, model, [1, 2, 3])
        assert batches.num_queued == 3
        with pytest.raises(OverloadedError, match="3 images are waiting"):
            await batches.answer(model, "a", np.array([4, 5]))
        with pytest.raises(TooLargeError, match="4 images at most; received 5"):
            await batches.answer(model, "a", np.arange(5))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        model.gate.set()
        await running
        await batches.answer(model, "a", np.array([4, 5]))
        assert [values for _, values in model.batches] == [[0], [4, 5]]

    run(scenario, max_queued=4)
