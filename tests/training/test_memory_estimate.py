"""The estimate of memory: it follows the sizes, and advises before hours are lost."""

import dataclasses
import logging

import keras
import numpy as np
import pytest

from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.models.network import build_network
from kerastl.training import memory_estimate
from kerastl.training.experiment import probe_then_fine_tune
from kerastl.training.memory_estimate import estimate_memory
from kerastl.training.phase import Phase

IMAGES = np.zeros((60, 16, 16, 3), np.uint8)


def make_classifier():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, name="conv0")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv1")(x)
    return build_classifier(
        keras.Model(inputs, x, name="net"), num_classes=3, image_size=(16, 16), preprocessing="tf"
    )


def estimated(*, border="conv0", images=IMAGES, store_bytes=0, **changes):
    classifier = make_classifier()
    options = {"epochs": 8, "learning_rate": 1e-3, "batch_size": 16}
    return estimate_memory(
        classifier,
        images,
        border=borders(classifier.get_layer("net"), border)[0] if border else None,
        phase=Phase(**{**options, **changes}),
        batch_size=16,
        num_train=40,
        num_val=10,
        store_bytes=store_bytes,
    )


def test_it_follows_the_sizes(tmp_path):
    plain = estimated()
    assert plain.pixels == IMAGES.nbytes
    assert plain.views == (4 * 40 + 10) * 7 * 7 * 6 * 4
    assert estimated(store_bytes=2**40).views == estimated(views="live").views == 0
    assert estimated(border=None, batch_size=40).work > 1.5 * estimated(border=None).work
    assert estimated(border=None, batch_size=40, accumulate_steps=40).images_at_once == 1
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=IMAGES.shape)
    assert estimated(images=mapped).pixels == 0


def test_several_tensors_may_cross_the_border():
    """With --pooling stages the maps, and the features of lower stages."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(5, 3, padding="same")(x))
    own = keras.Model(inputs, keras.layers.Conv2D(6, 3)(x))
    network = build_network("own", own=own, unfreeze_blocks=1, stage_features=True)
    assert network.border is not None
    assert network.border.num_tensors > 1
    classifier = build_classifier(
        network.backbone, num_classes=3, image_size=(16, 16), preprocessing="tf", pooling="stages"
    )
    estimate = estimate_memory(
        classifier,
        IMAGES,
        border=network.border,
        phase=Phase(epochs=8, learning_rate=1e-3, batch_size=16),
        batch_size=16,
        num_train=40,
        num_val=10,
        store_bytes=0,
    )
    assert estimate.views > 0


@pytest.mark.parametrize(
    ("largest", "advice"),
    [("work", "--accumulate-steps 4"), ("pixels", "--cache disk"), ("views", "--views live")],
)
def test_what_does_not_fit_is_said_with_what_to_change(largest, advice):
    fitting = dataclasses.replace(estimated(), available=2**35)
    assert fitting.advice == ""
    assert fitting.words.startswith("Memory: about ")
    assert " of 32.0 GiB (libraries " in fitting.words
    too_large = dataclasses.replace(fitting, **{largest: 2**36})
    assert advice in too_large.advice
    assert "about 6" in too_large.advice
    on_gpu = dataclasses.replace(too_large, on_gpu=True)
    assert (on_gpu.advice == "") == (largest == "work")


def test_parts_are_no_advice_where_they_change_the_step():
    estimate = dataclasses.replace(estimated(batch_norm="train"), available=2**30, work=2**36)
    assert "Try a smaller --batch-size, fewer blocks" in estimate.advice


def test_a_run_begins_with_it(monkeypatch, caplog):
    monkeypatch.setattr(memory_estimate, "memory_bytes", lambda: 2**20)
    images = np.random.default_rng(0).integers(0, 256, IMAGES.shape, np.uint8)
    with caplog.at_level(logging.INFO):
        probe_then_fine_tune(
            make_classifier(),
            images,
            np.arange(60) % 3,
            splits=np.array(["train", "train", "val", "test"])[np.arange(60) // 3 % 4],
        )
    first, second = caplog.messages[:2]
    assert first.startswith("Memory: about ")
    assert second.startswith("This run may need more memory than there is")
