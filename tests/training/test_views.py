"""Kept views: the frozen part runs once, and training is what it was."""

import dataclasses

import keras
import numpy as np
import pytest

from kerastl.errors import ConfigError, FrozenPartError
from kerastl.features.border_views import bytes_per_view, view_batches
from kerastl.features.extract import folded_feature_model
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.shelf import NO_STORE
from kerastl.features.stored_features import stored_features
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.models.frozen import prove_rejoined, training_view
from kerastl.training.cut import cut_classifier
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.targets import one_hot
from kerastl.training.view_plan import plan_views

SIZE = (16, 16)
ROWS = np.arange(60)
LABELS = ROWS % 3
TRAIN, VAL = ROWS[ROWS % 5 < 4], ROWS[ROWS % 5 == 4]
TARGETS = one_hot(LABELS, num_classes=3)


def make_classifier(*, two_tensors=False, hidden_units=0):
    """BatchNorm with statistics, and what crosses the border is one tensor or two."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, use_bias=False, name="conv0")(inputs)
    x = keras.layers.BatchNormalization(name="norm0")(x)
    first = keras.layers.ReLU(name="relu0")(x)
    second = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(first)
    x = keras.layers.Concatenate(name="both")([first, second]) if two_tensors else second
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv2")(x)
    x = keras.layers.BatchNormalization(name="norm2")(x)
    backbone = keras.Model(inputs, keras.layers.ReLU()(x), name="net")
    rng = np.random.default_rng(1)
    for variable in backbone.variables:
        if "norm" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return build_classifier(
        backbone,
        num_classes=3,
        image_size=SIZE,
        preprocessing="tf",
        hidden_units=hidden_units,
        dropout=0.0,
        seed=0,
    )


def border_of(classifier, *, two_tensors=False):
    backbone = classifier.get_layer("net")
    if two_tensors:
        return next(b for b in borders(backbone, "conv1", max_tensors=2) if b.num_tensors == 2)
    return borders(backbone, "conv1")[0]


def tuned(images, views, **changes):
    classifier = make_classifier()
    phase = Phase(epochs=4, learning_rate=1e-2, batch_size=8, views=views, **changes)
    result = fine_tune(
        classifier,
        images,
        TARGETS,
        train_rows=TRAIN,
        val_rows=VAL,
        border=border_of(classifier),
        phase=phase,
    )
    return classifier, result


def test_without_augmentation_kept_and_live_training_are_the_same(images):
    """Same order, same losses, same weights, to float tolerance; a shuffled control differs."""
    (live, of_live), (kept, of_kept) = (
        tuned(images, views, augment="none") for views in ("live", "auto")
    )
    assert (of_live.plan.num_views, of_kept.plan.num_views) == (0, 1)
    for one, other in zip(of_live.history, of_kept.history, strict=True):
        for column in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert one[column] == pytest.approx(other[column], rel=2e-4, abs=2e-5), column
    for one, other in zip(live.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    _, of_shuffled = tuned(images, "auto", augment="none", seed=1)
    assert abs(of_shuffled.history[0]["loss"] - of_kept.history[0]["loss"]) > 1e-3


def test_views_in_bfloat16_train_the_same_network(images):
    """Half the room, the frozen part's weights untouched, answers in float32."""
    exact, of_exact = tuned(images, 2, augment="light")
    rounded, of_rounded = tuned(images, 2, augment="light", view_dtype="bfloat16")
    for one, other in zip(of_exact.history, of_rounded.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.05)
    assert of_exact.history[0]["loss"] != of_rounded.history[0]["loss"]
    frozen = [v.path for v in training_view(exact, border=border_of(exact)).reference.variables]
    for one, other in zip(exact.variables, rounded.variables, strict=True):
        if one.path in frozen:
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_views_that_bear_no_rounding_are_float32(images, monkeypatch, caplog):
    monkeypatch.setattr("kerastl.models.frozen.BFLOAT16_TOLERANCE", 0.0)
    _, of_exact = tuned(images, 1, augment="none")
    _, of_given_way = tuned(images, 1, augment="none", view_dtype="bfloat16")
    assert "Kept views are float32" in caplog.text
    assert [row["loss"] for row in of_exact.history] == [
        row["loss"] for row in of_given_way.history
    ]


def test_views_that_do_not_rejoin_give_way_to_live_training(images, monkeypatch):
    from kerastl.training import cut

    def refuse(*_arguments, **_options):
        raise FrozenPartError("a probability differs")

    monkeypatch.setattr(cut, "prove_rejoined", refuse)
    _, result = tuned(images, "auto", augment="none")
    assert result.plan.num_views == 0
    assert "a probability differs" in result.plan.words
    with pytest.raises(FrozenPartError):
        tuned(images, 1, augment="none")


def test_the_frozen_part_runs_once_per_view(images, monkeypatch):
    from kerastl.features import frozen_pass

    seen = []
    trace = frozen_pass._trace

    def counting(*arguments):
        traced = trace(*arguments)
        return lambda pixels, *rest: seen.append(len(pixels)) or traced(pixels, *rest)

    monkeypatch.setattr(frozen_pass, "_trace", counting)
    _, result = tuned(images, 3, augment="light", patience_epochs=9)
    assert len(result.history) == 4
    assert sum(seen) == 3 * len(TRAIN) + len(VAL)
    assert result.plan.num_views == 3


def test_training_on_views_learns_and_moves_only_what_is_above(images):
    before = make_classifier().get_weights()
    classifier, result = tuned(images, 2, augment="light", patience_epochs=9)
    assert result.history[-1]["val_loss"] < result.history[0]["val_loss"]
    moved = {
        variable.path
        for variable, old in zip(classifier.variables, before, strict=True)
        if not np.array_equal(old, variable.numpy())
    }
    assert moved
    assert not any(part in path for path in moved for part in ("conv0", "conv1", "norm"))


@pytest.mark.parametrize("two_tensors", [False, True])
def test_suffix_on_kept_tensors_is_the_classifier(images, two_tensors):
    classifier = make_classifier(two_tensors=two_tensors, hidden_units=5)
    view = training_view(classifier, border=border_of(classifier, two_tensors=two_tensors))
    kept = FrozenPass(view.frozen, images, batch_size=5).views(VAL)
    assert len(kept.shapes) == (2 if two_tensors else 1)
    assert kept.num_bytes == len(VAL) * bytes_per_view(view.frozen)
    answers = np.concatenate([view.suffix(batch, training=False) for batch in kept.batches(5)])
    np.testing.assert_allclose(answers, classifier(images[VAL].astype(np.float32)), atol=1e-5)
    prove_rejoined(
        view.suffix, reference=classifier, inputs=kept.take(ROWS[:4]), pixels=images[VAL[:4]]
    )
    with pytest.raises(FrozenPartError, match="--views live"):
        prove_rejoined(
            view.suffix,
            reference=classifier,
            inputs=kept.take(ROWS[1:5]),
            pixels=images[VAL[:4]],
        )


def identity():
    pixels = keras.Input((*SIZE, 3))
    return keras.Model(pixels, keras.layers.Rescaling(1.0)(pixels))


def test_views_are_drawn_from_the_policy_and_the_seed(images):
    frozen = identity()
    one, same, other = (
        [view[:] for view in kept.views]
        for kept in (
            FrozenPass(frozen, images, augment="light", seed=seed).views(VAL, num_views=3)
            for seed in (0, 0, 1)
        )
    )
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one[0], images[VAL].reshape(len(VAL), -1))  # the image itself
    assert not np.array_equal(one[1], one[2])
    np.testing.assert_array_equal(one[0], other[0])
    assert not np.array_equal(one[1:], other[1:])
    # What is beside an image, and where it stands, decides nothing.
    once = FrozenPass(frozen, images, augment="light", batch_size=1)
    some = once.views(VAL[[3, 1]], num_views=3).views
    np.testing.assert_array_equal(some[2][:], one[2][[3, 1]])


def test_every_epoch_draws_order_and_views_anew(images):
    kept = FrozenPass(identity(), images, augment="light").views(TRAIN, num_views=4)
    weights = np.array([1, 2, 3], np.float32)

    def epochs(seed):
        batches = view_batches(kept, TARGETS[TRAIN], batch_size=8, seed=seed, class_weights=weights)
        assert batches.options().autotune.enabled is False
        return [list(batches.as_numpy_iterator()) for _ in range(2)]

    first, second = epochs(0)
    again = epochs(0)[0]
    for (x, target, weight), (same_x, _, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(weight, weights[target.argmax(axis=1)])
    assert not np.array_equal(first[0][0], second[0][0])
    drawn = np.concatenate([x for x, _, _ in first])
    flat = np.stack([view[:] for view in kept.views])
    found = [
        {view for view in range(4) if (flat[view] == x.ravel()).all(axis=1).any()} for x in drawn
    ]
    assert all(found)  # each is a kept view ...
    assert len(set.union(*found)) == 4  # ... and all views are used
    places = [int(np.flatnonzero((flat == x.ravel()).all(axis=2).any(axis=0))[0]) for x in drawn]
    assert sorted(places) == list(range(len(TRAIN)))  # each image once


PLAN = {
    "augment": "light",
    "mix": "none",
    "epochs": 8,
    "num_train": 100,
    "num_val": 20,
    "view_bytes": 1000,
    "budget_bytes": 10**6,
}


@pytest.mark.parametrize(
    ("views", "changes", "num_views", "words"),
    [
        ("auto", {}, 4, "once over 4 views"),
        ("auto", {"epochs": 2}, 2, "once over 2 views"),
        ("auto", {"epochs": 1}, 0, "there is one"),
        ("auto", {"epochs": 1, "augment": "none"}, 1, "once over each image;"),
        (1, {}, 1, "as it is (without --augment light)"),
        ("auto", {"augment": "none"}, 1, "once over each image"),
        ("auto", {"augment": "strong"}, 0, "--augment strong wants new pixels"),
        ("auto", {"mix": "cutmix"}, 0, "--mix cutmix blends"),
        ("auto", {"view_bytes": 0}, 0, "nothing is frozen"),
        ("auto", {"budget_bytes": 330_000}, 3, "4 would not fit"),
        (11, {}, 9, "11 would not fit"),
        (1, {"budget_bytes": 100}, 0, "1 view of each image would take"),
        ("auto", {"budget_bytes": 130_000}, 0, "4 views of each image would take"),
        ("auto", {"budget_bytes": 100}, 0, "4 views of each image would take"),
        ("live", {}, 0, "--views live"),
        (7, {}, 7, "once over 7 views"),
        (2, {"augment": "strong"}, 2, "once over 2 views"),
    ],
)
def test_the_plan_says_what_and_why(views, changes, num_views, words):
    plan = plan_views(views, **{**PLAN, **changes})
    assert plan.num_views == num_views
    assert words in plan.words
    assert plan.num_bytes == ((num_views * 100 + 20) * 1000 if num_views else 0)


@pytest.mark.parametrize(
    ("views", "changes", "message"),
    [
        (2, {"mix": "mixup"}, "cannot be 2: --mix mixup"),
        (1, {"view_bytes": 0}, "cannot be 1: nothing is frozen"),
    ],
)
def test_views_that_cannot_be_had_are_refused(views, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan_views(views, **{**PLAN, **changes})


def test_the_room_for_views_is_that_of_the_disk_or_of_the_memory(images, tmp_path):
    from kerastl.data.memory import memory_bytes
    from kerastl.features.store import open_store
    from kerastl.training.view_plan import room_for_views

    third = memory_bytes() // 3
    assert room_for_views(images, NO_STORE.room_bytes, None) == {
        "budget_bytes": third,
        "place": "memory",
    }
    assert room_for_views(images, NO_STORE.room_bytes, 5) == {"budget_bytes": 5, "place": "memory"}
    small = open_store(tmp_path, largest_bytes=1000)
    assert room_for_views(images, small.room_bytes, None)["place"] == "memory"
    large = open_store(tmp_path, largest_bytes=2**60)
    room = room_for_views(images, large.room_bytes, None)
    if room["place"] == "disk":  # unless this disk is nearly full
        assert third <= room["budget_bytes"] < 2**60


@pytest.mark.parametrize("two_tensors", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_past_the_border_are_those_of_the_whole_network(images, two_tensors, dtype):
    """And the frozen part runs once for both: over each image that fine-tuning keeps."""
    classifier = make_classifier(two_tensors=two_tensors)
    phase = Phase(epochs=2, learning_rate=1e-3, batch_size=7, augment="none", view_dtype=dtype)
    cut = cut_classifier(
        classifier,
        images,
        train_rows=TRAIN,
        val_rows=VAL,
        border=border_of(classifier, two_tensors=two_tensors),
        phase=phase,
    )
    model = folded_feature_model(classifier, dtype=dtype)
    shortcut = cut.shortcut(TRAIN, dtype=dtype)
    through, whole = (
        stored_features(model, images, NO_STORE, batch_size=5, shortcut=one)
        for one in (shortcut, None)
    )
    view = ("left-right", lambda pixels: pixels[:, :, ::-1])
    tolerance = 1e-4 if dtype == "float32" else 0.05
    for rows, change in ((TRAIN, None), (VAL, None), (TRAIN, view)):
        expected = whole(rows, "whole", change)
        spread = expected.std()
        np.testing.assert_allclose(through(rows, "cut", change), expected, atol=tolerance * spread)
    assert cut.train.computes_in == dtype
    first = cut.train.view(TRAIN)
    assert cut.train.view(TRAIN) is first  # what fine-tuning asks for next
    cut.release()
    assert cut.train.view(TRAIN) is not first


def test_live_training_and_other_precisions_have_no_shortcut(images):
    classifier = make_classifier()
    ask = {"train_rows": TRAIN, "val_rows": VAL, "border": border_of(classifier)}
    phase = Phase(epochs=2, learning_rate=1e-3)
    live = cut_classifier(classifier, images, **ask, phase=dataclasses.replace(phase, views="live"))
    assert live.shortcut(TRAIN, dtype="float32") is None
    kept = cut_classifier(classifier, images, **ask, phase=phase)
    assert kept.shortcut(TRAIN, dtype="bfloat16") is None
