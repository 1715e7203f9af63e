"""A temperature: fitted on validation, kept if it proves better, and a part of the model then."""

import keras
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import log_loss

from kerastl.features.extract import predict_probabilities
from kerastl.features.probe import image_losses, log_loss_nats
from kerastl.models.classifier import build_classifier
from kerastl.models.view_mean import mean_over_views
from kerastl.training.decision import FINE_TUNED, PROBE
from kerastl.training.experiment import probe_then_fine_tune
from kerastl.training.phase import Phase
from kerastl.training.temperature import (
    Temperature,
    bake_temperature,
    choose_temperature,
    fit_temperature,
    tempered_losses,
    tempered_probabilities,
)


def answers(count, *, over, num_classes=3, seed=0, several=False):
    """Labels drawn from probabilities, and answers that are surer than these by a factor."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, num_classes))
    if several:
        labels = (rng.random(logits.shape) < expit(logits)).astype(int)
        return labels, expit(over * logits).astype(np.float32)
    drawn = [rng.choice(num_classes, p=row) for row in softmax(logits, axis=1)]
    return np.array(drawn), softmax(over * logits, axis=1).astype(np.float32)


@pytest.mark.parametrize("over", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("several", [False, True])
def test_the_true_temperature_is_found(over, several):
    labels, probabilities = answers(20_000, over=over, several=several)
    assert fit_temperature(labels, probabilities) == pytest.approx(over, rel=0.05)


def test_it_is_the_minimum_that_another_optimizer_finds():
    labels, probabilities = answers(400, over=2.0)
    weights = np.array([0.5, 1.0, 2.0], np.float32)

    def penalised(log_temperature):
        logs = log_softmax(np.log(probabilities.astype(float)) / np.exp(log_temperature[0]), axis=1)
        loss = log_loss(labels, np.exp(logs), sample_weight=weights[labels])
        return loss + 0.5 * (log_temperature[0] / np.log(2)) ** 2 / len(labels)

    expected = np.exp(minimize(penalised, [0.0]).x[0])
    found = fit_temperature(labels, probabilities, class_weights=weights)
    assert found == pytest.approx(expected, rel=1e-3)


def test_losses_are_those_of_scikit_learn():
    labels, probabilities = answers(300, over=3.0)
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    assert image_losses(labels, probabilities).mean() == pytest.approx(
        log_loss(labels, probabilities), rel=1e-5
    )
    assert image_losses(labels, probabilities, class_weights=weights).mean() == pytest.approx(
        log_loss_nats(labels, probabilities, class_weights=weights)
    )
    assert (
        tempered_losses(labels, probabilities).mean() < image_losses(labels, probabilities).mean()
    )
    several, of_several = answers(300, over=3.0, several=True)
    assert image_losses(several, of_several).mean() == pytest.approx(
        log_loss_nats(several, of_several)
    )


def test_few_images_choose_none():
    labels, probabilities = answers(49, over=4.0)
    chosen = choose_temperature(labels, probabilities)
    assert (chosen.fitted, chosen.value, chosen.loss_after) == (1.0, 1.0, None)
    assert "too few images" in chosen.words
    of_one_group = choose_temperature(*answers(90, over=4.0), groups=np.zeros(90))
    assert of_one_group.value == 1.0
    # All are right, and a temperature near 0 would say so with certainty.
    sure = np.tile(np.array([[0.9, 0.1]], np.float32), (60, 1))
    assert 0.3 < fit_temperature(np.zeros(60, int), sure) < 1


@pytest.mark.parametrize("groups", [None, np.repeat([0, 1], 30), np.repeat([0, 1, 1], 20)])
def test_the_images_of_a_fold_may_be_fewer(groups):
    """60 images are enough; what is left of them to fit on without a fold is, too."""
    chosen = choose_temperature(*answers(60, over=6.0, seed=3), groups=groups)
    assert chosen.value == chosen.fitted > 1.5


def test_logits_of_rare_labels_are_not_cut_off():
    """Most labels are surely not there: a float32 knows 1e-30 as well as 0.1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-25, 5, (300, 10)).astype(np.float32)
    found = tempered_probabilities(expit(logits), 2.0, multi_label=True)
    np.testing.assert_allclose(found, expit(logits / 2), rtol=1e-4)


def test_a_temperature_must_prove_better_on_images_that_it_was_not_fitted_on():
    taken = [
        choose_temperature(*answers(120, over=1.0, seed=seed)).value != 1 for seed in range(20)
    ]
    assert np.mean(taken) < 0.5
    too_sure = choose_temperature(*answers(120, over=2.0))
    assert too_sure.value == too_sure.fitted > 1.4
    assert too_sure.loss_after < too_sure.loss_before
    assert "all logits are divided by it" in too_sure.words


def test_groups_are_held_out_together():
    """Each group errs in its own way, so that what fits one of them does not fit the other."""
    parts = [answers(60, over=over, seed=seed) for seed, over in enumerate((0.3, 6.0))]
    labels, probabilities = (np.concatenate(one) for one in zip(*parts, strict=True))
    groups = np.repeat(["a", "b"], 60)
    alone, together = (
        choose_temperature(labels, probabilities, groups=one) for one in (None, groups)
    )
    assert together.loss_after > alone.loss_after
    assert together.fitted == alone.fitted


def test_one_that_does_not_prove_better_says_so():
    assert "does not prove better" in Temperature(1.2, 0.3, 0.31).words
    assert Temperature(1.2, 0.3, 0.31).to_dict()["value"] == 1.0


@pytest.mark.parametrize("several", [False, True])
def test_what_is_baked_is_what_was_said(images, several):
    classifier = small_network(several=several)
    views = mean_over_views(classifier, ["as it is", "left-right"])
    before = [predict_probabilities(model, images) for model in (classifier, views)]
    bake_temperature(classifier, 2.5)
    for model, was in zip((classifier, views), before, strict=True):
        expected = tempered_probabilities(was, 2.5, multi_label=several)
        np.testing.assert_allclose(predict_probabilities(model, images), expected, atol=1e-5)
    assert tempered_probabilities(before[0], 1.0, multi_label=several) is before[0]


def small_network(*, several=False, hidden_units=0):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return build_classifier(
        keras.Model(inputs, x, name="net"),
        num_classes=3,
        image_size=(16, 16),
        preprocessing="tf",
        multi_label=several,
        hidden_units=hidden_units,
        seed=0,
    )


def doubtful(count, *, several):
    """Bright, middle and dark pictures; labels are wrong in three of ten but for training."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    shades = 60 + 60 * labels[:, None, None, None] + rng.normal(0, 40, (count, 16, 16, 3))
    splits = np.where(np.arange(count) // 3 % 4 == 0, "train", "val")
    splits[np.arange(count) // 3 % 4 == 3] = "test"
    wrong = (rng.random(count) < 0.3) & (splits != "train")
    labels = np.where(wrong, rng.integers(3, size=count), labels)
    pictures = np.clip(shades, 0, 255).astype(np.uint8)
    return pictures, np.eye(3, dtype=int)[labels] if several else labels, splits


@pytest.mark.parametrize(
    ("several", "options"),
    [
        (False, {}),
        (True, {}),
        (False, {"tta": True}),
        (False, {"imbalance": "logit-adjust"}),
        (False, {"imbalance": "balanced"}),
        (False, {"hidden_units": 4}),
    ],
    ids=["one class", "several", "views", "adjusted", "weighted", "hidden layer"],
)
def test_the_kept_model_is_as_sure_as_it_is_right(several, options):
    """What it learns is cleaner than what it is asked: a temperature says how sure it may be."""
    options = dict(options)
    pictures, labels, splits = doubtful(600, several=several)
    classifier = small_network(several=several, hidden_units=options.pop("hidden_units", 0))
    experiment = probe_then_fine_tune(
        classifier,
        pictures,
        labels,
        splits=splits,
        phase=Phase(epochs=12, learning_rate=2e-2, batch_size=16, patience_epochs=12),
        augment="mirrors",
        **options,
    )
    tuned, probe = experiment.answers[FINE_TUNED], experiment.answers[PROBE]
    assert tuned.temperature.value > 1.1
    test = splits == "test"
    for answer in (tuned, probe):
        if options.get("imbalance") != "logit-adjust":  # after the shift it is another loss
            weights = experiment.class_weights
            loss = image_losses(labels[splits == "val"], answer.validation, class_weights=weights)
            assert loss.mean() == pytest.approx(answer.validation_loss)
    np.testing.assert_allclose(
        predict_probabilities(experiment.classifier, pictures[test]),
        experiment.answers[experiment.kept].test,
        atol=1e-5,
    )
    best = tempered_losses(labels[splits == "val"], tuned.while_training).mean()
    plain = image_losses(labels[splits == "val"], tuned.while_training).mean()
    assert best < plain
