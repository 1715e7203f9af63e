"""Half precision of training steps: taken where it is faster, float32 in all that is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerastl.models import mixed_precision
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier, parts_of
from kerastl.models.frozen import training_view
from kerastl.training import step_precision
from kerastl.training.phase import Phase
from kerastl.training.phases import fine_tune
from kerastl.training.step_precision import choose_step_precision

SIZE = (16, 16)
ROWS = np.arange(48)
TRAIN, VAL = ROWS[ROWS % 4 > 0], ROWS[ROWS % 4 == 0]
LABELS = ROWS % 3
TARGETS = np.eye(3, dtype=np.float32)[LABELS]


def pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (len(ROWS), *SIZE, 3), dtype=np.uint8)
    for row, label in enumerate(LABELS):
        images[row, :, :, label] += 100
    return images


def make_classifier(**options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv0")(inputs)
    x = keras.layers.BatchNormalization(name="norm0")(x)
    x = keras.layers.ReLU(name="relu0")(x)
    x = keras.layers.Conv2D(12, 3, name="conv1")(x)
    x = keras.layers.BatchNormalization(name="norm1")(x)
    x = keras.layers.ReLU(name="relu1")(x)
    backbone = keras.Model(inputs, x, name="net")
    return build_classifier(
        backbone, num_classes=3, image_size=SIZE, preprocessing="tf", seed=0, **options
    )


def tuned(monkeypatch, policy, **changes):
    """Fine-tune on a machine that has chosen a policy; return all, and what convolutions saw."""
    monkeypatch.setattr(step_precision, "accelerator_policy", lambda: (policy, "in a test"))
    classifier = make_classifier()
    seen = []
    call = keras.layers.Conv2D.call

    def watched(self, inputs):
        if self.name == "conv1":
            seen.append(inputs.dtype.name)
        return call(self, inputs)

    monkeypatch.setattr(keras.layers.Conv2D, "call", watched)
    changes = {"views": "live", "augment": "none", **changes}
    result = fine_tune(
        classifier,
        pictures(),
        TARGETS,
        train_rows=TRAIN,
        val_rows=VAL,
        border=borders(classifier.get_layer("net"), "relu0")[0],
        phase=Phase(epochs=3, learning_rate=1e-2, batch_size=10, precision="auto", **changes),
    )
    return classifier, result, seen


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("views", ["live", 1])
def test_steps_in_half_precision_train_the_float32_classifier(monkeypatch, policy, views):
    classifier, result, seen = tuned(monkeypatch, policy, views=views)
    half = policy.removeprefix("mixed_")
    assert half in seen  # the training step
    assert "float32" in seen  # validation, and the proofs
    assert result.step_precision.policy == policy
    assert {v.dtype for v in classifier.variables if v.dtype != "uint32"} == {"float32"}
    assert {layer.dtype_policy.name for layer in classifier._flatten_layers()} == {"float32"}
    losses = [row["val_loss"] for row in result.history]
    assert min(losses[1:]) < losses[0]
    # What the history says is what the float32 classifier answers.
    seen.clear()
    answers = classifier(tf.cast(pictures()[VAL], tf.float32), training=False).numpy()
    assert set(seen) == {"float32"}
    loss = -np.mean(np.log(answers[np.arange(len(VAL)), LABELS[VAL]]))
    assert loss == pytest.approx(losses[result.kept_epoch - 1], abs=1e-4)


def test_half_precision_is_close_to_float32(monkeypatch):
    exact, of_exact, _ = tuned(monkeypatch, None)
    rounded, of_rounded, _ = tuned(monkeypatch, "mixed_bfloat16")
    assert of_exact.step_precision.words == "float32 (in a test)"
    for one, other in zip(of_exact.history, of_rounded.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.05)
    different = [
        np.abs(one - other).max()
        for one, other in zip(exact.get_weights(), rounded.get_weights(), strict=True)
    ]
    assert max(different) > 0


def test_with_parts_of_a_step_too(monkeypatch):
    _, whole, _ = tuned(monkeypatch, "mixed_bfloat16")
    _, parts, seen = tuned(monkeypatch, "mixed_bfloat16", accumulate_steps=2)
    assert "bfloat16" in seen
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.02)


def test_pixels_pooling_and_head_stay_float32(monkeypatch):
    seen = set()

    def watched(layers, policy):
        seen.update(layer.name for layer in layers)
        return mixed_precision.computing_in(layers, policy)

    monkeypatch.setattr("kerastl.training.prepared_steps.computing_in", watched)
    classifier, _, _ = tuned(monkeypatch, "mixed_bfloat16")
    parts = parts_of(classifier)
    exact = {
        layer.name
        for part in (parts.preprocessing, parts.pooling, *parts.head)
        for layer in part._flatten_layers()
    }
    assert {"conv1", "norm1", "relu1"} <= seen
    assert not exact & seen


def test_a_layer_that_has_its_own_precision_keeps_it():
    layer = keras.layers.Dense(2, dtype="float64")
    with mixed_precision.computing_in([layer], "mixed_bfloat16"):
        assert layer.dtype_policy.name == "float64"


@pytest.mark.parametrize(
    ("precision", "speed", "steps", "expected"),
    [
        ("float32", 3.0, 10**6, "float32 (asked for)"),
        ("auto", 3.0, 100, "float32 (about 10 s of training are too short to try others)"),
        ("auto", 3.0, 1000, "mixed_bfloat16 (3.0 times as fast as float32 here)"),
        ("bfloat16", 3.0, 100, "mixed_bfloat16 (3.0 times as fast as float32 here)"),
        ("bfloat16", 1.1, 100, "float32 (bfloat16 is 1.10 times as fast here, 1.15 wanted)"),
        ("auto", 0.5, 10**6, "float32 (bfloat16 is 0.50 times as fast here, 1.15 wanted)"),
    ],
)
def test_the_faster_one_is_taken(monkeypatch, precision, speed, steps, expected):
    monkeypatch.setattr(step_precision, "bfloat16_is_fast", lambda: True)
    monkeypatch.setattr(step_precision, "accelerator_policy", lambda: (None, ""))
    asked = []

    def seconds(policy):
        asked.append(policy)
        first = 5.0 if asked.count(policy) == 1 else 0.0  # tracing
        return first + (0.1 if policy == "float32" else 0.1 / speed)

    chosen = choose_step_precision(precision, seconds_of_step=seconds, num_steps=steps)
    assert chosen.words == expected


@pytest.mark.parametrize(
    ("capability", "policy"),
    [((9, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), None), (None, None)],
)
def test_the_policy_of_a_gpu(monkeypatch, capability, policy):
    from kerastl.models.hardware import accelerator_policy

    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["gpu"] if kind == "GPU" else []
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda _gpu: {} if capability is None else {"compute_capability": capability},
    )
    found, words = accelerator_policy()
    assert found == policy
    assert words
    monkeypatch.setattr(step_precision, "bfloat16_is_fast", lambda: True)
    chosen = choose_step_precision("auto", seconds_of_step=lambda _: 1.0, num_steps=10**6)
    assert chosen.policy == (policy or "float32")
    asked = choose_step_precision("bfloat16", seconds_of_step=lambda _: 1.0, num_steps=10**6)
    assert asked.policy == ("mixed_bfloat16" if policy == "mixed_bfloat16" else "float32")


def test_nothing_is_changed_by_trying(monkeypatch):
    """On a CPU one step of each is timed; the training after it is that without trying."""
    monkeypatch.setattr(step_precision, "bfloat16_is_fast", lambda: True)
    monkeypatch.setattr(step_precision, "SMALLEST_SPEED_RATIO", 1e9)
    histories = []
    for precision in ("float32", "bfloat16"):
        classifier = make_classifier(dropout=0.3)
        view = training_view(classifier, border=borders(classifier.get_layer("net"), "relu0")[0])
        assert view.num_folded == 1
        keras.utils.set_random_seed(1)
        result = fine_tune(
            classifier,
            pictures(),
            TARGETS,
            train_rows=TRAIN,
            val_rows=VAL,
            border=borders(classifier.get_layer("net"), "relu0")[0],
            phase=Phase(epochs=2, learning_rate=1e-2, batch_size=10, precision=precision),
        )
        histories.append([(row["loss"], row["val_loss"]) for row in result.history])
        assert result.step_precision.policy == "float32"
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-5)
