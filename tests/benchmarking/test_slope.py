"""Slopes of known data are found."""

import numpy as np
import pytest

from kerastl.benchmarking.slope import fit_slope
from kerastl.benchmarking.words import slope_text, verdict_text

SIZES = np.array([64.0, 256.0, 1024.0])


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_power_law_is_its_exponent(exponent):
    slope = fit_slope(SIZES, 3 * SIZES**exponent)
    assert slope.overall == pytest.approx(exponent)
    assert slope.last == pytest.approx(exponent)


def test_a_fixed_part_and_a_part_for_each_are_told_apart():
    slope = fit_slope(SIZES, 10 + 0.05 * SIZES)
    assert (slope.fixed, slope.each) == (pytest.approx(10), pytest.approx(0.05))
    assert slope.overall < slope.last < 1
    assert slope.at(2000) == pytest.approx(110)
    text = slope_text(slope, "image", memory=False)
    assert text == "slope 0.55 (0.71 at the end); 10 s + 50 ms per image"


def test_nothing_is_negative():
    falling = fit_slope(SIZES, [20.0, 15.0, 15.0])
    assert falling.each == 0
    assert falling.fixed > 0
    faster = fit_slope(SIZES, SIZES**2)
    assert faster.fixed == 0


def test_repeated_runs_count_each():
    slope = fit_slope([1, 1, 10, 10], [1.0, 1.2, 10.0, 12.0])
    assert slope.overall == pytest.approx(1.0)


def test_one_size_has_no_slope():
    with pytest.raises(ValueError, match="two different sizes"):
        fit_slope([5, 5], [1.0, 2.0])


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        (SIZES**1.5, "More than linear"),
        (SIZES, "Near linear at the end: twice as much costs 2.0 times"),
        (500 + SIZES, "Less than linear, because much of it is fixed"),
        (SIZES**0.01, "Hardly any growth"),
    ],
)
def test_the_verdict_promises_no_more_than_the_slope(costs, words):
    assert words in verdict_text(fit_slope(SIZES, costs))
