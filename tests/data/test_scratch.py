"""Memory that is used again must never be seen by two."""

import threading

import numpy as np

from kerastl.data.scratch import scratch_array


def test_threads_and_names_do_not_share_memory():
    mine = scratch_array("a", (10,))
    other: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: other.append(scratch_array("a", (10,))))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, other[0])
    assert not np.shares_memory(mine, scratch_array("b", (10,)))


def test_it_grows_and_is_used_again():
    small = scratch_array("grows", (3,), np.uint32)
    large = scratch_array("grows", (4, 5), np.uint32)
    assert not np.shares_memory(small, large)
    again = scratch_array("grows", (2, 3, 3))
    assert np.shares_memory(large, again)
    assert again.shape == (2, 3, 3)
    assert again.flags.c_contiguous


def test_huge_arrays_are_not_kept():
    first = scratch_array("huge", (9 << 20,))
    assert not np.shares_memory(first, scratch_array("huge", (9 << 20,)))
