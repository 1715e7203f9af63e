"""Stages and the machine's limit, timed in turns: every round measures all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kerastl.benchmarking.limits import Limit, limit_speed, seconds_of
from kerastl.progress import Advance, listen, track


@dataclass(frozen=True)
class Stage:
    """A part of the work that is measured by itself.

    Attributes:
        name: For programs: "decode", "augment" and so on.
        title: For people.
        images: That one run works on.
        run: Does it once, to the end; the same work every time.
        operations: Multiplications and additions of one image; None where they say nothing.
        precision: That these are done in.
        most_rounds: For what takes long: rounds after which it is not measured any more.
        warm_up: Whether it runs in the round that does not count.
    """

    name: str
    title: str
    images: int
    run: Callable[[], object] = field(repr=False)
    operations: float | None = None
    precision: str = "float32"
    most_rounds: int | None = None
    warm_up: bool = True


@dataclass(frozen=True)
class Timing:
    """What was measured of a stage.

    Attributes:
        name: Of the stage.
        title: For people.
        images: That one run worked on.
        seconds: Of one run, in each round.
        operations: Of one image; None where they say nothing.
        precision: That these were done in.
        limit_fractions: In each round, operations per second as a part of the machine's limit in
            the same round; empty where there are no operations.
    """

    name: str
    title: str
    images: int
    seconds: tuple[float, ...]
    operations: float | None
    precision: str
    limit_fractions: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        """Seconds of one run."""
        return statistics.median(self.seconds)

    @property
    def images_per_second(self) -> float:
        """Median over rounds."""
        return self.images / self.median_seconds

    @property
    def best_images_per_second(self) -> float:
        """Of the fastest round."""
        return self.images / min(self.seconds)

    @property
    def spread(self) -> float:
        """Slowest round less the fastest, as a part of the median; 0 for one round."""
        return (max(self.seconds) - min(self.seconds)) / self.median_seconds

    @property
    def limit_fraction(self) -> float | None:
        """Median over rounds of the part of the machine's limit."""
        return statistics.median(self.limit_fractions) if self.limit_fractions else None


@dataclass(frozen=True)
class LimitTiming:
    """What was measured of the machine's limit.

    Attributes:
        kind: "matrix product" or "convolution".
        precision: "float32" or "bfloat16".
        operations_per_second: In each round.
    """

    kind: str
    precision: str
    operations_per_second: tuple[float, ...]

    @property
    def median(self) -> float:
        """Operations per second, median over rounds."""
        return statistics.median(self.operations_per_second)


def measure_in_rounds(
    stages: Sequence[Stage],
    limits: Sequence[Limit],
    *,
    rounds: int,
    at_least_seconds: float = 0.2,
) -> tuple[tuple[Timing, ...], tuple[LimitTiming, ...]]:
    """Time all stages and limits in turns, each round in another order.

    A machine that is shared, or that slows down as it gets warm, changes its speed from minute to
    minute: what is compared has to be measured side by side. The round before the first one
    compiles, loads and fills caches, and does not count.

    Args:
        stages: What to measure.
        limits: From `kerastl.benchmarking.limits.machine_limits`; measured first in each round.
        rounds: That count.
        at_least_seconds: Short stages are repeated until so much time has passed.

    Returns:
        One `Timing` for each stage, one `LimitTiming` for each limit, in the order given.

    Example:
        >>> timings, _ = measure_in_rounds(
        ...     [Stage("sum", "Sum", images=10, run=lambda: sum(range(1000)))], [], rounds=3,
        ...     at_least_seconds=0.001)
        >>> len(timings[0].seconds), timings[0].limit_fraction
        (3, None)
    """
    seconds: dict[str, list[float]] = {stage.name: [] for stage in stages}
    fractions: dict[str, list[float]] = {stage.name: [] for stage in stages}
    speeds: dict[tuple[str, str], list[float]] = {(x.kind, x.precision): [] for x in limits}
    # Counting from -1, the round that does not count.
    turns = [_stages_of(stages, turn, rounds=rounds) for turn in range(-1, rounds)]
    with track("Measuring", total=sum(map(len, turns))) as advance, _silence():
        for turn, order in enumerate(turns, start=-1):
            now = {
                (one.kind, one.precision): one.operations
                / seconds_of(one.run, at_least_seconds=at_least_seconds)
                for one in limits
            }
            for stage in order:
                elapsed = seconds_of(stage.run, at_least_seconds=at_least_seconds)
                advance(1)
                if turn < 0:
                    continue
                seconds[stage.name].append(elapsed)
                limit = limit_speed(now, stage.precision)
                if stage.operations and limit:
                    done = stage.operations * stage.images / elapsed
                    fractions[stage.name].append(done / limit)
            if turn >= 0:
                for key, speed in now.items():
                    speeds[key].append(speed)
    return (
        tuple(
            Timing(
                stage.name,
                stage.title,
                stage.images,
                tuple(seconds[stage.name]),
                stage.operations,
                stage.precision,
                tuple(fractions[stage.name]),
            )
            for stage in stages
        ),
        tuple(LimitTiming(*key, tuple(values)) for key, values in speeds.items()),
    )


def _stages_of(stages: Sequence[Stage], turn: int, *, rounds: int) -> list[Stage]:
    """Return the stages of a round, in its order: who comes after whom must not decide."""
    first = turn % max(len(stages), 1)
    turned = [*stages[first:], *stages[:first]]
    if turn < 0:
        return [stage for stage in turned if stage.warm_up]
    return [stage for stage in turned if turn < (stage.most_rounds or rounds)]


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what is measured from reporting its own progress, again in every round."""

    @contextmanager
    def nothing(_description: str, _total: int) -> Iterator[Advance]:
        yield lambda _steps: None

    with listen(nothing):
        yield
