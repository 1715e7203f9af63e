"""Probe or fine-tuned: by losses that are paired by image, over groups where there are any."""

import keras
import numpy as np
import pytest

from kerastl.models.classifier import build_classifier
from kerastl.training.answers import Candidate
from kerastl.training.decision import FINE_TUNED, PROBE, choose, gain_of, read_test
from kerastl.training.temperature import Temperature

NO_GROUPS = None
FOUR_GROUPS = np.repeat([0, 1, 2, 3], 5)


def losses(*means):
    """Of 20 images, 5 of each mean, with the noise that hard images make, alike for all models."""
    noise = np.random.default_rng(0).exponential(size=20)
    return np.repeat(np.array(means, float), 5) + noise


@pytest.fixture(scope="module")
def classifier():
    inputs = keras.Input((4, 4, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    return build_classifier(backbone, num_classes=2, image_size=(4, 4), preprocessing="identity")


def decided(classifier, probe, tuned, *, groups=None):
    own = classifier.get_weights()
    candidates = {
        name: Candidate(
            lambda rows, share=share: np.full((len(rows), 2), share, np.float32),
            np.full((20, 2), share, np.float32),
            np.full((20, 2), share, np.float32),
            values,
            Temperature(1.0, 0.5, None),
            [weight + share for weight in own],
        )
        for name, values, share in ((PROBE, probe, 0.25), (FINE_TUNED, tuned, 0.5))
        if values is not None
    }
    images = np.zeros((3, 4, 4, 3), np.uint8)
    kept, gain = choose(candidates, val_groups=groups)
    answers, test_rows = read_test(
        classifier, candidates, images, np.array([0, 2]), kept=kept, priors_of=None
    )
    moved = float(classifier.get_weights()[0].ravel()[0] - own[0].ravel()[0])
    classifier.set_weights(own)
    return (kept, gain, answers, test_rows), {0.25: PROBE, 0.5: FINE_TUNED}[round(moved, 2)]


@pytest.mark.parametrize(
    ("probe", "tuned", "groups", "kept"),
    [
        (losses(1, 1, 1, 1), losses(0.9, 0.9, 0.9, 0.9), NO_GROUPS, FINE_TUNED),
        # Worse by 0.1 ± 0: the noise of the images is that of both.
        (losses(1, 1, 1, 1), losses(1.1, 1.1, 1.1, 1.1), NO_GROUPS, PROBE),
        # Worse by 0.0875, most of it in one group: ± 0.04 over images, ± 0.1 over groups.
        (losses(1, 1, 1, 1), losses(1, 0.95, 1.4, 1), NO_GROUPS, PROBE),
        (losses(1, 1, 1, 1), losses(1, 0.95, 1.4, 1), FOUR_GROUPS, FINE_TUNED),
        (losses(1, 1, 1, 1), None, NO_GROUPS, PROBE),
    ],
    ids=["better", "worse", "worse over images", "as good over groups", "the probe alone"],
)
def test_the_probe_is_kept_where_it_is_surely_better(classifier, probe, tuned, groups, kept):
    (chosen, gain, answers, test_rows), weights_of = decided(
        classifier, probe, tuned, groups=groups
    )
    assert chosen == weights_of == kept
    assert list(test_rows) == [0, 2]
    assert (gain is None) == (tuned is None)
    assert answers[kept].validation_loss == pytest.approx(
        (probe if kept == PROBE else tuned).mean()
    )


def test_the_gain_says_what_it_is_of():
    gain = gain_of(losses(1, 1, 1, 1), losses(1, 1, 1.4, 1), groups=FOUR_GROUPS)
    assert gain.value == pytest.approx(-0.1)
    assert gain.standard_error == pytest.approx(0.1)
    assert gain.words == "0.100 ± 0.100 over 4 groups"
    of_one = gain_of(losses(1, 1, 1, 1), losses(1, 1, 1.4, 1), groups=np.zeros(20))
    assert (of_one.num_groups, of_one.standard_error > 0) == (None, True)
