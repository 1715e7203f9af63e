"""Rounds: every stage in each, the one before does not count, limits of the same round."""

from kerastl.benchmarking.limits import CONVOLUTION, MATMUL, Limit, limit_speed, machine_limits
from kerastl.benchmarking.timing import Stage, Timing, measure_in_rounds
from kerastl.benchmarking.words import noise_text


def test_rounds_are_interleaved_in_changing_order():
    seen = []
    stages = [
        Stage(name, name, images=4, run=lambda name=name: seen.append(name)) for name in "abc"
    ]
    timings, limits = measure_in_rounds(stages, [], rounds=3, at_least_seconds=0)
    assert [len(one.seconds) for one in timings] == [3, 3, 3]
    assert limits == ()
    rounds = ["".join(seen[first : first + 3]) for first in range(0, 12, 3)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c"]] * 4
    assert len(set(rounds[1:])) == 3


def test_what_takes_long_is_measured_less_often():
    seen = []
    stage = Stage("x", "X", 1, lambda: seen.append(1), most_rounds=2, warm_up=False)
    (timing,), _ = measure_in_rounds([stage], [], rounds=4, at_least_seconds=0)
    assert len(seen) == len(timing.seconds) == 2


def test_the_limit_is_that_of_the_same_round():
    limit = Limit(MATMUL, "float32", 1e6, run=lambda: sum(range(1000)))
    stages = [
        Stage("a", "A", 10, lambda: sum(range(1000)), operations=1e4),
        Stage("b", "B", 10, lambda: None, operations=1e4, precision="bfloat16"),
        Stage("c", "C", 10, lambda: None),
    ]
    (a, b, c), (found,) = measure_in_rounds(stages, [limit], rounds=2, at_least_seconds=0.001)
    assert len(found.operations_per_second) == 2
    assert a.limit_fraction > 0
    assert b.limit_fraction is None  # of that precision nothing was measured
    assert c.limit_fraction is None


def test_numbers_of_a_timing():
    one = Timing("x", "X", 10, (1.0, 2.0, 4.0), 1e9, "float32", (0.5, 0.1, 0.3))
    assert one.images_per_second == 5
    assert one.best_images_per_second == 10
    assert one.spread == 1.5
    assert one.limit_fraction == 0.3


def test_machine_limits_run():
    limits = machine_limits(("float32",))
    assert [limit.kind for limit in limits] == [MATMUL, CONVOLUTION]
    for limit in limits:
        limit.run()
        assert limit.operations > 1e9
    assert limit_speed({}, "float32") is None


def test_rounds_that_differ_are_told():
    calm, noisy = (
        Timing("x", "X", 10, seconds, None, "float32", ())
        for seconds in ((1.0, 1.1), (1.0, 2.0, 1.5))
    )
    assert noise_text([calm, calm, noisy]) == ""
    assert "differ by 67 % (median over stages), so something else" in noise_text([noisy, noisy])
    assert noise_text([]) == ""
