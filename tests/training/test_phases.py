"""Phases: the probe becomes the head, fine-tuning learns, the best epoch is what stays."""

import keras
import numpy as np
import pytest

from kerastl.data.imbalance import class_weights, log_priors
from kerastl.errors import ConfigError, DataError
from kerastl.features.extract import extract_features, predict_probabilities
from kerastl.features.probe import fit_probe, log_loss_nats, probe_probabilities
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier, parts_of
from kerastl.training.adjustment import adjust_bias, adjusted_probabilities
from kerastl.training.augmentation_advice import augmentation_warning
from kerastl.training.experiment import probe_then_fine_tune
from kerastl.training.head import assign_probe, fit_head
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.recipes import SMALL_DATA_IMAGES, default_learning_rate
from kerastl.training.schedules import warmup_steps
from kerastl.training.targets import one_hot

SIZE = (16, 16)
ROWS = np.arange(60)
LABELS = ROWS % 3
SPLITS = np.array(["train", "train", "train", "val", "test"])[(ROWS // 3) % 5]


@pytest.fixture
def classifier():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv0")(inputs)
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="conv1")(x)
    backbone = keras.Model(inputs, x, name="two_blocks")
    return build_classifier(backbone, num_classes=3, image_size=SIZE, preprocessing="tf", seed=0)


def test_the_head_is_the_probe(classifier, images):
    features = extract_features(classifier, images)
    probe = fit_probe(features, LABELS, folds=ROWS % 5)
    assign_probe(classifier, probe)
    np.testing.assert_allclose(
        predict_probabilities(classifier, images), probe_probabilities(probe, features), atol=1e-4
    )


def test_a_hidden_layer_cannot_hold_the_probe(images):
    inputs = keras.Input((*SIZE, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    model = build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", hidden_units=5
    )
    probe = fit_probe(extract_features(model, images), LABELS, folds=ROWS % 5)
    with pytest.raises(ConfigError, match="Build it with hidden_units=0"):
        assign_probe(model, probe)


def test_fine_tuning_learns_and_keeps_one_of_its_epochs(classifier, images):
    border = borders(classifier.get_layer("two_blocks"), r"conv0")[0]
    train, val = np.flatnonzero(SPLITS == "train"), np.flatnonzero(SPLITS == "val")
    before = classifier.get_layer("two_blocks").get_weights()
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=train,
        val_rows=val,
        border=border,
        phase=Phase(
            epochs=12, learning_rate=1e-2, batch_size=8, patience_epochs=12, augment="none"
        ),
    )
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    now = log_loss_nats(LABELS[val], predict_probabilities(classifier, images[val]))
    assert now == pytest.approx(losses[result.kept_epoch - 1], abs=1e-5)
    assert result.kept_epoch >= result.best_epoch
    assert min(losses) < 0.5 * losses[0]
    np.testing.assert_allclose(
        result.val_probabilities, predict_probabilities(classifier, images[val]), atol=1e-5
    )
    after = classifier.get_layer("two_blocks").get_weights()
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_rate_in_the_history_is_one_that_was_used(classifier, images, epochs):
    """Not what the optimizer says after an epoch: at the end of a phase that is 0."""
    train = np.flatnonzero(SPLITS == "train")
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=train,
        val_rows=np.flatnonzero(SPLITS == "val"),
        border=None,
        phase=Phase(epochs=epochs, learning_rate=1e-3, batch_size=8, augment="none"),
    )
    rates = [row["learning_rate"] for row in result.history]
    steps = -(-len(train) // 8)
    warmup = warmup_steps(total_steps=steps * epochs)
    middle = np.arange(epochs) * steps + (steps - 1) // 2
    done = np.maximum(middle - warmup, 0) / (steps * epochs - warmup)
    assert rates == pytest.approx(1e-3 * 0.5 * (1 + np.cos(np.pi * done)), rel=1e-4)


def test_patience_ends_a_phase(classifier, images):
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS[::-1].copy(), num_classes=3),
        train_rows=np.flatnonzero(SPLITS == "train"),
        val_rows=np.flatnonzero(SPLITS == "val"),
        border=None,
        phase=Phase(epochs=60, learning_rate=0.05, batch_size=8, patience_epochs=2, augment="none"),
    )
    assert len(result.history) == result.best_epoch + 2 < 60


def test_a_loss_that_is_no_number_stops_with_advice(classifier, images):
    targets = one_hot(LABELS, num_classes=3)
    targets[np.flatnonzero(SPLITS == "train")[20:]] = np.inf
    with pytest.raises(DataError, match=r"Try --learning-rate 0\.0001"):
        fine_tune(
            classifier,
            images,
            targets,
            train_rows=np.flatnonzero(SPLITS == "train"),
            val_rows=np.flatnonzero(SPLITS == "val"),
            border=None,
            phase=Phase(epochs=2, learning_rate=1e-3, batch_size=8, augment="none"),
        )


def test_the_better_one_by_validation_is_kept(classifier, images):
    """A rate that ruins the network: the probe is kept, and its weights are back."""
    experiment = probe_then_fine_tune(
        classifier,
        images,
        LABELS,
        splits=SPLITS,
        phase=Phase(epochs=1, learning_rate=0.05, batch_size=8, augment="none"),
    )
    assert experiment.kept == "probe"
    assert set(experiment.answers) == {"probe", "fine-tuned"}, experiment.left_out
    test = images[SPLITS == "test"]
    np.testing.assert_allclose(
        predict_probabilities(experiment.classifier, test),
        experiment.answers["probe"].test,
        atol=1e-4,
    )


def test_a_probe_of_bfloat16_features_answers_in_float32(classifier, images):
    """What is reported is what is served, whatever the head was fitted on."""
    experiment = probe_then_fine_tune(
        classifier, images, LABELS, splits=SPLITS, precision="bfloat16"
    )
    assert experiment.precision.dtype == "bfloat16"
    test = images[SPLITS == "test"]
    served = predict_probabilities(experiment.classifier, test)
    np.testing.assert_allclose(served, experiment.answers["probe"].test, atol=1e-5)
    plain = probe_then_fine_tune(classifier, images, LABELS, splits=SPLITS)
    assert plain.precision.dtype == "float32"
    assert not np.array_equal(plain.probe.kernel, experiment.probe.kernel)


def test_fine_tuning_is_kept_where_it_is_better(classifier, images):
    experiment = probe_then_fine_tune(
        classifier,
        images,
        LABELS,
        splits=SPLITS,
        phase=Phase(
            epochs=15, learning_rate=1e-2, batch_size=8, patience_epochs=15, augment="none"
        ),
    )
    assert experiment.kept == "fine-tuned"
    losses = {name: answers.validation_loss for name, answers in experiment.answers.items()}
    assert losses["fine-tuned"] < losses["probe"]
    np.testing.assert_allclose(
        predict_probabilities(experiment.classifier, images[SPLITS == "test"]),
        experiment.answers["fine-tuned"].test,
        atol=1e-5,
    )


def test_several_labels_learn(classifier, images):
    inputs = keras.Input((*SIZE, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    model = build_classifier(
        backbone, num_classes=2, image_size=SIZE, preprocessing="tf", multi_label=True
    )
    labels = np.stack([LABELS != 0, LABELS != 1], axis=1).astype(np.int8)
    experiment = probe_then_fine_tune(
        model,
        images,
        labels,
        splits=SPLITS,
        phase=Phase(epochs=2, learning_rate=1e-3, batch_size=8, augment="none"),
    )
    answers = experiment.answers[experiment.kept].test
    assert ((answers > 0.5) == labels[SPLITS == "test"]).mean() > 0.8
    assert parts_of(model).output.activation is keras.activations.sigmoid


def test_the_epoch_is_chosen_by_the_weighted_loss(classifier, images):
    weights = np.array([0.5, 0.7, 1.8], np.float32)
    val = np.flatnonzero(SPLITS == "val")
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=np.flatnonzero(SPLITS == "train"),
        val_rows=val,
        border=None,
        phase=Phase(epochs=2, learning_rate=1e-2, batch_size=8, augment="none"),
        class_weights=weights,
        balanced=True,
    )
    answers = predict_probabilities(classifier, images[val])
    weighted = log_loss_nats(LABELS[val], answers, class_weights=weights)
    assert min(row["val_loss"] for row in result.history) == pytest.approx(weighted, abs=1e-5)
    assert weighted != pytest.approx(log_loss_nats(LABELS[val], answers), abs=1e-3)
    assert {row["val_loss_kind"] for row in result.history} == {"class-weighted"}


def test_weights_and_draws_reach_the_training(classifier, images):
    """A class of weight 0 is not learnt; one of 2 rows in 26 is, the more if drawn as often."""
    start = classifier.get_weights()
    kept = {label: np.flatnonzero((label == LABELS) & (SPLITS == "train")) for label in range(3)}
    recalls = {}
    for name, sizes, options in (
        ("no weight", (12, 12, 12), {"class_weights": np.array([1.5, 1.5, 0], np.float32)}),
        ("few", (12, 12, 2), {}),
        ("few, drawn", (12, 12, 2), {"balanced": True}),
    ):
        classifier.set_weights(start)
        fine_tune(
            classifier,
            images,
            one_hot(LABELS, num_classes=3),
            train_rows=np.concatenate([kept[c][:size] for c, size in enumerate(sizes)]),
            val_rows=np.flatnonzero(SPLITS == "train"),
            border=None,
            phase=Phase(epochs=4, learning_rate=1e-2, batch_size=8, augment="none"),
            **options,
        )
        answers = predict_probabilities(classifier, images)[LABELS == 2]
        recalls[name] = float(answers[:, 2].mean())
    assert recalls["no weight"] < recalls["few"] < recalls["few, drawn"], recalls


def test_a_hidden_layer_is_weighted_too():
    """Two overlapping Gaussians at 10 to 1: weighted, the rare one is found more often."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [200, 20])
    features = (rng.normal(size=(220, 4)) + labels[:, None]).astype(np.float32)
    targets = one_hot(labels, num_classes=2)
    recalls = []
    for weights in (None, class_weights(labels, num_classes=2, how="balanced")):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 3))
        model = build_classifier(
            keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs)),
            num_classes=2,
            image_size=(8, 8),
            preprocessing="tf",
            hidden_units=4,
            seed=0,
        )
        arrays = (features, targets, features, targets)
        head = fit_head(model, *arrays, epochs=12, learning_rate=3e-2, class_weights=weights)
        recalls.append(float((head(features[labels == 1]).numpy().argmax(axis=1) == 1).mean()))
    assert recalls[1] > recalls[0] + 0.2, recalls


def test_logit_adjustment_shifts_after_every_choice(classifier, images):
    """Same choices and losses as without; answers are those of the shifted model."""
    start = classifier.get_weights()
    uneven = SPLITS.copy()
    uneven[(LABELS == 2) & (SPLITS == "train") & (ROWS > 10)] = "unused"
    found = {}
    for imbalance in ("none", "logit-adjust"):
        classifier.set_weights(start)
        found[imbalance] = probe_then_fine_tune(
            classifier,
            images,
            LABELS,
            splits=uneven,
            phase=Phase(epochs=1, learning_rate=1e-3, batch_size=8, augment="none"),
            imbalance=imbalance,
        )
    plain, adjusted = found["none"], found["logit-adjust"]
    assert adjusted.kept == plain.kept
    rows = uneven == "test"
    priors = log_priors(LABELS[uneven == "train"], num_classes=3)
    for name, answers in adjusted.answers.items():
        assert answers.validation_loss == pytest.approx(
            plain.answers[name].validation_loss, abs=1e-4
        )
        expected = adjusted_probabilities(plain.answers[name].test, priors)
        np.testing.assert_allclose(answers.test, expected, atol=1e-3)
    np.testing.assert_allclose(
        predict_probabilities(adjusted.classifier, images[rows]),
        adjusted.answers[adjusted.kept].test,
        atol=1e-4,
    )


def test_logit_adjustment_needs_one_class_per_image():
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    model = build_classifier(
        backbone, num_classes=2, image_size=(8, 8), preprocessing="tf", multi_label=True
    )
    with pytest.raises(ConfigError, match="Choose a threshold per label"):
        adjust_bias(model, np.log(np.array([0.9, 0.1], np.float32)))


def test_strong_augmentation_of_few_images_is_warned_of():
    assert "--augment light" in augmentation_warning("strong", num_train=SMALL_DATA_IMAGES - 1)
    assert augmentation_warning("strong", num_train=SMALL_DATA_IMAGES) == ""
    assert augmentation_warning("medium", num_train=10) == ""


def test_recipe_numbers():
    assert default_learning_rate(num_parameters=25_000_000) < default_learning_rate(
        num_parameters=3_000_000
    )
    assert warmup_steps(total_steps=3) == 1


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixed_images_teach_too(classifier, images, mix):
    """Training accuracy is a share of images even where targets are soft; validation is plain."""
    result = fine_tune(
        classifier,
        images,
        one_hot(LABELS, num_classes=3),
        train_rows=np.flatnonzero(SPLITS == "train"),
        val_rows=np.flatnonzero(SPLITS == "val"),
        border=None,
        phase=Phase(
            epochs=8,
            learning_rate=1e-2,
            batch_size=8,
            patience_epochs=8,
            augment="none",
            mix=mix,
        ),
    )
    losses = [row["val_loss"] for row in result.history]
    assert min(losses) < 0.7 * losses[0]
    assert all(0 <= row["accuracy"] <= 1 for row in result.history)
    assert result.history[-1]["accuracy"] > 0.5


@pytest.mark.parametrize(
    "weights", [None, np.array([1, 2, 3], np.float32)], ids=["plain", "weights"]
)
@pytest.mark.parametrize("views", ["live", 1])
def test_the_step_that_is_proven_is_the_step_that_trains(classifier, images, views, weights):
    """The training step is traced once: the graph of the proof is that of the training."""
    traced = []
    train_step = keras.Model.train_step

    def counting(self, data):
        traced.append(self.name)
        return train_step(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "train_step", counting)
        fine_tune(
            classifier,
            images,
            one_hot(LABELS, num_classes=3),
            train_rows=np.flatnonzero(SPLITS == "train"),
            val_rows=np.flatnonzero(SPLITS == "val"),
            border=borders(classifier.get_layer("two_blocks"), r"conv0")[0],
            phase=Phase(epochs=2, learning_rate=1e-3, batch_size=8, augment="none", views=views),
            class_weights=weights,
        )
    assert len(traced) == 1
