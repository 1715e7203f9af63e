"""What an interrupted fine-tuning goes on with."""

import dataclasses

import keras
import numpy as np
import pytest

from kerastl.deadline import deadline_after
from kerastl.errors import ConfigError
from kerastl.features.probe import log_loss_nats
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.training.checkpoint import CheckpointFile
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.saver import as_interrupted
from kerastl.training.targets import one_hot
from kerastl.training.validation_callback import ValidationCallback

LABELS = np.arange(60) % 3
TRAIN, VAL = (np.flatnonzero(np.arange(60) % 5 != 4), np.flatnonzero(np.arange(60) % 5 == 4))
PHASE = Phase(epochs=6, learning_rate=1e-2, batch_size=8, patience_epochs=99)


def tuned(images, file, *, resume=False, **changes):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="conv0")(inputs)
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="conv1")(x), name="net")
    classifier = build_classifier(
        backbone, num_classes=3, image_size=(16, 16), preprocessing="tf", dropout=0.3, seed=0
    )
    return classifier, fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=TRAIN,
        val_rows=VAL,
        border=borders(classifier.get_layer("net"), "conv0")[0],
        phase=dataclasses.replace(PHASE, **changes),
        checkpoint=CheckpointFile(file, {}, resume=resume),
    )


def interrupted(images, file, *, after, **changes):
    """Train until so many epochs are done, and no further."""
    save = CheckpointFile.save

    def save_and_die(self, checkpoint, *, last=False):
        save(self, checkpoint, last=True)
        if checkpoint.epochs_done == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointFile, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            tuned(images, file, **changes)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_plateau_is_as_long_as_without_the_interruption(images, tmp_path, monkeypatch, epochs):
    """The rate falls when three epochs are no better, whenever the run was killed."""
    losses = [0.8, 0.9, 0.9, 0.9, 0.7, 0.9]

    def pretended(keeper, _):
        return np.full(len(VAL), losses[len(keeper.history)])

    monkeypatch.setattr(ValidationCallback, "_losses", pretended)
    _, expected = tuned(images, tmp_path / "undisturbed.npz", schedule="plateau")
    rates = [row["learning_rate"] for row in expected.history]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.01 / 3, 0.01 / 3, 0.01 / 3])
    interrupted(images, tmp_path / "c.npz", after=epochs, schedule="plateau")
    _, result = tuned(images, tmp_path / "c.npz", resume=True, schedule="plateau")
    assert result.history == expected.history


@pytest.mark.parametrize("views", ["live", 2])
def test_out_of_time_before_a_new_step_the_best_so_far_is_taken(images, tmp_path, caplog, views):
    file, late = tmp_path / "c.npz", deadline_after(0)
    interrupted(images, file, after=2, views=views)
    classifier, result = tuned(images, file, resume=True, views=views, deadline=late)
    assert len(result.history) == 2
    assert "--max-minutes 0: no time was left to go on after epoch 2 of 6" in result.cut_short
    assert result.cut_short in caplog.text
    kept = result.history[result.kept_epoch - 1]["val_loss"]
    answers = classifier(images[VAL].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(answers, result.val_probabilities, atol=1e-5)
    assert log_loss_nats(LABELS[VAL], answers) == pytest.approx(kept, abs=1e-5)


def test_a_complete_training_is_never_cut_short(images, tmp_path):
    """Killed after the last epoch: averages of weights are still tried."""
    file, options = tmp_path / "c.npz", {"epochs": 2, "soup": 2}
    _, expected = tuned(images, tmp_path / "undisturbed.npz", **options)
    interrupted(images, file, after=2, **options)
    _, result = tuned(images, file, resume=True, deadline=deadline_after(0), **options)
    assert (result.cut_short, result.averaged) == ("", expected.averaged)
    np.testing.assert_array_equal(result.val_probabilities, expected.val_probabilities)


@pytest.mark.parametrize(
    ("then", "now"), [(2**30, 0), (0, 2**30), (2**17, 2**30)], ids=["less", "some", "more"]
)
def test_it_goes_on_with_the_views_it_had_or_says_why_not(images, tmp_path, then, now):
    """What room there is decides how many views are kept, and that decides what is learned."""
    file = tmp_path / "c.npz"
    _, expected = tuned(images, tmp_path / "undisturbed.npz", memory_bytes=then)
    interrupted(images, file, after=2, memory_bytes=then)
    if now < then:
        with pytest.raises(ConfigError, match=r"had 4 kept views of each image, now it would have"):
            tuned(images, file, resume=True, memory_bytes=now)
        assert file.exists()
        return
    seen = CheckpointFile(file, {}, resume=True)
    phase = as_interrupted(dataclasses.replace(PHASE, memory_bytes=now), seen)
    with pytest.raises(ConfigError, match="now it would have 4 kept views of each image"):
        tuned(images, file, resume=True, memory_bytes=now)
    _, result = tuned(images, file, resume=True, memory_bytes=now, views=phase.views)
    assert result.plan.num_views == expected.plan.num_views < 4
    assert result.history == expected.history
