"""The picture of a comparison can be read: names apart, no longer than its data."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from kerastl.comparing.figure import tradeoff_caption, tradeoff_figure
from kerastl.comparing.label_places import overlap, place_labels

RANDOM = np.random.default_rng(1)
SPREAD = [
    (float(5 * 10**speed), 0.6 + 0.3 * float(right)) for speed, right in RANDOM.random((20, 2))
]
NEAR = [(8.0 + 0.02 * number, 0.85 + 0.005 * (number % 2)) for number in range(8)]
PLACES = {
    "1": [(9.0, 0.8)],
    "3 close": [(9.5, 0.84), (10.0, 0.85), (10.2, 0.855)],
    "8, 6 close": [*NEAR[:6], *SPREAD[:2]],
    "10 the same": [(8.0, 0.85)] * 10,
    "20, 8 close": [*NEAR, *SPREAD[8:]],
    "20 far": SPREAD,
}


def labels_of(figure):
    """What is written at the points."""
    return [text for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("dots_per_inch", [100, 160])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_no_label_lies_on_another_or_outside(compared, places, dots_per_inch):
    figure = tradeoff_figure(compared(places))
    figure.set_dpi(dots_per_inch)
    figure.draw_without_rendering()
    # Without the leader lines, which end at other labels' points.
    boxes = [Text.get_window_extent(text).extents for text in labels_of(figure)]
    assert boxes
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
    left, bottom, right, top = figure.axes[0].get_window_extent().extents
    for box in boxes:
        assert left - 2 < box[0] < box[2] < right + 2
        assert bottom - 2 < box[1] < box[3] < top + 2


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_every_network_is_named(compared, places):
    comparison = compared(places)
    figure = tradeoff_figure(comparison)
    legends = [text.get_text() for one in figure.legends for text in one.get_texts()]
    written = " ".join([*(text.get_text() for text in labels_of(figure)), *legends])
    assert all(one.candidate.name in written for one in comparison.results)


def test_the_axis_is_as_long_as_the_data(compared):
    low, high = tradeoff_figure(compared(PLACES["20 far"])).axes[0].get_xlim()
    latencies = [milliseconds for milliseconds, _ in SPREAD]
    assert min(latencies) / 1.3 < low < min(latencies)
    assert max(latencies) < high < max(latencies) * 1.3


@pytest.mark.parametrize("count", [3, 20])
def test_the_one_to_take_is_bold(compared, count):
    # The last ones fit the labels worse (LogME) but beat the others in both: one is advised.
    comparison = compared([(9.0 + number, 0.8) for number in range(count - 1)] + [(5.0, 0.81)])
    name = comparison.advised.candidate.name
    assert name == comparison.results[-1].candidate.name != comparison.first.candidate.name
    figure = tradeoff_figure(comparison)
    bold = [text.get_text() for text in labels_of(figure) if text.get_fontweight() == "bold"]
    rank = str(comparison.verdict.ranked.index(name) + 1)
    assert bold == [name if count == 3 else rank]


@pytest.mark.parametrize("slowest", [9.1, 10.0, 14.0, 40.0, 900.0])
def test_any_axis_has_a_few_ticks(compared, slowest):
    axes = tradeoff_figure(compared([(9.0, 0.8), (slowest, 0.8)])).axes[0]
    low, high = axes.get_xlim()
    assert 3 <= sum(low <= tick <= high for tick in axes.get_xticks()) <= 14


def test_the_caption_speaks_of_a_line_where_there_is_one(compared):
    with_line = compared([(5.0, 0.8), (9.0, 0.9)])
    assert "Dashed green line" in tradeoff_caption(with_line)
    assert "best at each latency" in explained(tradeoff_figure(with_line))
    without = compared([(5.0, 0.9), (9.0, 0.6)])
    assert "line" not in tradeoff_caption(without)
    assert "best at each latency" not in explained(tradeoff_figure(without))
    assert "shown to be worse" in explained(tradeoff_figure(without))
    assert not any(line.get_drawstyle().startswith("steps") for line in lines(without))
    assert any(line.get_drawstyle().startswith("steps") for line in lines(with_line))


def explained(figure):
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def lines(comparison):
    return tradeoff_figure(comparison).axes[0].lines


def test_no_room_is_no_place():
    places = place_labels(np.zeros((2, 2)), [(10, 4), (10, 4)], within=(-8, -8, 8, 8))
    assert None in places
