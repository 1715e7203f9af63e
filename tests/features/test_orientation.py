"""Whether labels survive turning is asked of a probe; what it does not know it does not claim."""

import numpy as np
import pytest

from kerastl.features.orientation import FEWEST_IMAGES, measure_orientation, turned

RNG = np.random.default_rng(0)
NUM = 300
LABELS = np.arange(NUM) % 2


def measured(as_is, upside_down, quarter):
    """Features of 6 numbers, whose class is in the first and whose way up is in the second."""
    rng = np.random.default_rng(1)

    def features(of_class, of_up):
        signs = 2.0 * LABELS - 1
        means = np.stack([of_class * signs, np.full(NUM, of_up), *np.zeros((4, NUM))], axis=1)
        return (means + rng.normal(0, 0.5, means.shape)).astype(np.float32)

    parts = (features(*one) for one in (as_is, upside_down, quarter))
    return measure_orientation(*parts, LABELS, seed=0)


@pytest.mark.parametrize(
    ("as_is", "upside_down", "quarter", "no_up", "no_side"),
    [
        ((1, 0), (1, 0), (1, 0), True, True),  # cells
        ((1, 0), (1, 0), (-1, 0), True, False),  # stripes: a quarter turn is the other class
        ((1, 0), (1, 0), (0, 0), True, False),  # solar cells: it hides the class
        ((1, 0), (-1, 0), (1, 0), False, False),  # arrows
        ((1, 0), (0, 0), (1, 0), False, False),  # digits
        ((1, 1), (1, -1), (1, 0), False, False),  # photographs: the class stays, the up is seen
        ((0, 0), (0, 0), (0, 0), False, False),  # nothing is known, so nothing is lost
    ],
)
def test_what_is_said(as_is, upside_down, quarter, no_up, no_side):
    found = measured(as_is, upside_down, quarter)
    assert (found.has_no_up, found.has_no_side) == (no_up, no_side), found


def test_the_numbers_are_what_they_are_called():
    found = measured((5, 2), (-5, -2), (5, 2))
    assert (found.num_images, found.chance, found.accuracy, found.up) == (NUM, 0.5, 1.0, 1.0)
    assert found.upside_down[0] == -1.0
    assert found.quarter[0] == 0.0
    assert -0.05 < found.quarter[1] < 0.0  # no difference was seen, which does not prove none


def test_few_images_prove_nothing():
    """At a third of the fewest that are asked, even equal answers leave too wide an interval."""
    rows = FEWEST_IMAGES // 3
    features = (2.0 * LABELS[:rows, None] - 1 + RNG.normal(0, 1.2, (rows, 4))).astype(np.float32)
    other = (2.0 * LABELS[:rows, None] - 1 + RNG.normal(0, 1.2, (rows, 4))).astype(np.float32)
    assert not measure_orientation(features, other, other, LABELS[:rows], seed=0).has_no_up


def test_each_picture_is_turned_as_it_is_called():
    images = RNG.integers(0, 256, (64, 6, 6, 3), np.uint8)
    upside_down, quarter = turned(images, seed=0)
    for allowed, found in (
        ((images[:, ::-1], images[:, ::-1, ::-1]), upside_down),
        (
            [np.rot90(one, k, axes=(1, 2)) for one in (images, images[:, ::-1]) for k in (1, 3)],
            quarter,
        ),
    ):
        hits = np.stack([(one == found).all(axis=(1, 2, 3)) for one in allowed])
        assert hits.any(axis=0).all()
        assert hits.sum(axis=1).min() >= 8  # each of them is drawn
    assert (turned(images, seed=0)[1] == quarter).all()
