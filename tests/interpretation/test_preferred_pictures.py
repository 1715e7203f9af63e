"""Pictures that a channel likes: what is known of the channel must be seen in them."""

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.interpretation.layer_maps import maps_of
from kerastl.interpretation.preferred_pictures import preferred_pictures
from kerastl.models.classifier import build_classifier, parts_of

SIZE = 24


def network(kernel, **options):
    """A classifier whose first layer has these filters."""
    inputs = keras.Input((SIZE, SIZE, 3))
    kernel = np.asarray(kernel, np.float32)
    layer = keras.layers.Conv2D(kernel.shape[-1], kernel.shape[:2], name="stem", **options)
    backbone = keras.Model(inputs, layer(inputs))
    layer.set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])
    return build_classifier(backbone, num_classes=2, image_size=(SIZE, SIZE), preprocessing="tf")


def test_a_channel_for_a_colour_gets_that_colour():
    kernel = np.full((1, 1, 3, 3), -0.5)
    kernel[0, 0, [0, 1, 2], [0, 1, 2]] = 1
    found = preferred_pictures(network(kernel), "stem", [0, 1, 2], steps=200)
    for channel, picture in enumerate(found.pictures):
        means = picture.mean(axis=(0, 1))
        assert means.argmax() == channel
        assert means[channel] > 40 + np.delete(means, channel).max()
    assert (found.after > found.before + 0.2).all()


def test_a_channel_for_edges_gets_edges_of_that_direction():
    upright = np.zeros((3, 3, 3, 2))
    upright[:, 0, :, 0], upright[:, 2, :, 0] = -1, 1
    upright[0, :, :, 1], upright[2, :, :, 1] = -1, 1
    found = preferred_pictures(network(upright, activation="relu"), "stem", [0, 1], steps=80)
    across, down = (
        np.abs(np.diff(found.pictures.astype(float).mean(axis=3), axis=axis)).mean(axis=(1, 2))
        for axis in (2, 1)
    )
    assert across[0] > 1.4 * down[0]
    assert down[1] > 1.4 * across[1]


def test_it_is_what_the_channel_answers_to_more_than_to_other_pictures():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="second")(x)
    model = build_classifier(
        keras.Model(inputs, x), num_classes=2, image_size=(SIZE, SIZE), preprocessing="tf"
    )
    found = preferred_pictures(model, "second", [0, 5], steps=80)
    noise = np.random.default_rng(0).integers(0, 256, (64, SIZE, SIZE, 3), np.uint8)
    own, other = (maps_of(model, some, ["second"])["second"].mean(axis=(1, 2))
                  for some in (found.pictures, noise))  # fmt: skip
    for row, channel in enumerate([0, 5]):
        assert own[row, channel] > other[:, channel].max()


@pytest.mark.parametrize("fused", [True, False])
def test_a_silent_channel_is_woken(fused):
    inputs = keras.Input((SIZE, SIZE, 3))
    if fused:
        x = keras.layers.Conv2D(2, 3, activation="relu", name="stem")(inputs)
        named = "stem"
    else:
        x = keras.layers.Conv2D(2, 3, name="stem")(inputs)
        x, named = keras.layers.ReLU(name="after")(x), "after"
    model = build_classifier(
        keras.Model(inputs, x), num_classes=2, image_size=(SIZE, SIZE), preprocessing="tf"
    )
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 2))
    parts_of(model).backbone.get_layer("stem").set_weights([kernel, -np.ones(2)])
    found = preferred_pictures(model, named, [0, 1], steps=60)
    silent = preferred_pictures(model, named, [0, 1], steps=0)
    np.testing.assert_allclose(silent.after, silent.before)
    assert (found.before < 0).all()
    maps = maps_of(model, np.concatenate([silent.pictures, found.pictures]), [named])[named]
    assert maps[:2].max() == 0
    assert (maps[2:].mean(axis=(1, 2))[[0, 1], [0, 1]] > 0.5).all()
    if not fused:  # then its maps before the activation can be asked for
        maps = maps_of(model, found.pictures, ["stem"])["stem"]
        climbed = np.where(maps > 0, maps, 0.1 * maps).mean(axis=(1, 2))[[0, 1], [0, 1]]
        np.testing.assert_allclose(found.after, climbed, rtol=0.03)


def test_the_same_seed_gives_the_same_pictures():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 2))
    model = network(kernel)
    first, again, other = (
        preferred_pictures(model, "stem", [1], steps=5, seed=seed).pictures for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 0


def test_steps_are_told_and_mistakes_named():
    model, told = network(np.ones((3, 3, 3, 2))), []
    preferred_pictures(model, "stem", [0], steps=3, tell=told.append)
    assert told == [1, 1, 1]
    with pytest.raises(ConfigError, match="from 0 to 1; received 2"):
        preferred_pictures(model, "stem", [0, 2])
    with pytest.raises(ConfigError, match="has no layer 'stm'"):
        preferred_pictures(model, "stm", [0])
