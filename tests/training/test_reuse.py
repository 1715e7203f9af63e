"""What an earlier run computed: reused when it is the same, never when it is not."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerastl.data.imbalance import NONE
from kerastl.features import frozen_pass, stored_features
from kerastl.features.frozen_pass import FrozenPass
from kerastl.features.shelf import NO_STORE, shelf_of
from kerastl.features.store import open_store
from kerastl.models.blocks import borders
from kerastl.models.classifier import build_classifier
from kerastl.training.experiment import probe_then_fine_tune
from kerastl.training.phase import Phase

SIZE = (12, 12)
ROWS = np.arange(40)
SPLITS = np.array(["train", "train", "val", "test"])[ROWS % 4]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SIZE, 3), dtype=np.uint8)
LABELS = (IMAGES[:, 0, 0, 0] > 128).astype(np.int64)

# What a run can differ in from the one before, and whether the frozen part gives anything else for
# any image.
CHANGES = {
    "labels": False,
    "hidden_units": False,
    "learning_rate": False,
    "epochs": False,
    "imbalance": False,
    "order": False,
    "image": True,
    "weights": True,
    "border": True,
    "policy": True,
    "seed_of_views": True,
    "num_views": True,
    "precision": True,
    "preprocessing": True,
}


def network(*, weight=0.0):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3, name="conv0")(inputs)
    x = keras.layers.BatchNormalization(name="norm0")(x)
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv1")(x)
    x = keras.layers.Conv2D(5, 3, activation="relu", name="conv2")(x)
    model = keras.Model(inputs, x, name="net")
    kernel = model.get_layer("conv0").kernel.numpy()
    kernel[0, 0, 0, 0] += weight
    model.get_layer("conv0").kernel.assign(kernel)
    return model


def run(store, changes=(), *, splits=SPLITS, images=IMAGES, labels=LABELS):
    """Train on the images, changed; return how many images went through the frozen part."""
    images, labels = images.copy(), labels.copy()
    if "image" in changes:
        images[[0, 2, 3], 5, 5, 1] ^= 1
    if "order" in changes:
        images = images[[4, 1, 6, 7, 0, 5, 2, 3, *range(8, 40)]]  # within the splits
    if "labels" in changes:
        labels[:12] = 1 - labels[:12]
    classifier = build_classifier(
        network(weight=1e-3 * ("weights" in changes)),
        num_classes=2,
        image_size=SIZE,
        preprocessing="tf" if "preprocessing" in changes else "identity",
        hidden_units=3 if "hidden_units" in changes else 0,
        dropout=0.0,
        seed=0,
    )
    phase = Phase(
        epochs=2 if "epochs" in changes else 1,
        learning_rate=1e-3 if "learning_rate" in changes else 1e-4,
        batch_size=8,
        augment="mirrors" if "policy" in changes else "light",
        views=3 if "num_views" in changes else 2,
        seed=1 if "seed_of_views" in changes else 0,
    )
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((frozen_pass, "_trace"), (stored_features, "trace_forward")):
            trace = getattr(module, name)

            def counting(*arguments, trace=trace):
                traced = trace(*arguments)
                return lambda pixels, *rest: seen.append(len(pixels)) or traced(pixels, *rest)

            patch.setattr(module, name, counting)
        # Of the answers of the fine-tuned model, which are always computed.
        patch.setattr(
            "kerastl.training.experiment.probability_reader",
            lambda *_a, **_k: lambda rows, _what: np.full((len(rows), 2), 0.5, np.float32),
        )
        probe_then_fine_tune(
            classifier,
            images,
            labels,
            splits=splits,
            border=borders(
                classifier.get_layer("net"), "conv0" if "border" in changes else "conv1"
            )[0],
            phase=phase,
            augment=phase.augment,
            imbalance="balanced" if "imbalance" in changes else NONE,
            batch_size=8,
            precision="bfloat16" if "precision" in changes else "float32",
            store=store,
        )
    return sum(seen)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store after one run, and what that run computed."""
    store = open_store(tmp_path_factory.mktemp("store"), largest_bytes=2**28)
    return store, run(store)


def test_the_same_again_computes_nothing(filled):
    store, first = filled
    num_train, num_others = 20, 20
    # The image itself, for features and border; its mirror image; another view for the border.
    assert first == 3 * num_train + num_others
    assert run(store) == 0


@pytest.mark.parametrize("change", [name for name, matters in CHANGES.items() if not matters])
def test_labels_head_and_rates_reuse_everything(filled, change):
    assert run(filled[0], {change}) == 0


@pytest.mark.parametrize("change", [name for name, matters in CHANGES.items() if matters])
def test_what_matters_is_computed_anew_and_once(filled, change):
    assert run(filled[0], {change}) > 0
    assert run(filled[0], {change}) == 0
    assert run(filled[0]) == 0


def test_one_image_more_is_one_image_to_compute(filled):
    new = np.random.default_rng(1).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    more = {
        "images": np.concatenate([new, IMAGES]),
        "labels": np.array([1, *LABELS]),
        "splits": np.array(["train", *SPLITS]),
    }
    assert run(filled[0], **more) == 3  # the image itself, its mirror image, another view
    assert run(filled[0], **more) == 0
    less = {name: values[3:] for name, values in more.items()}
    assert run(filled[0], **less) == 0


def test_another_split_computes_what_was_not_in_training(filled):
    splits = SPLITS.copy()
    splits[[0, 2, 3]] = ["test", "train", "train"]
    # Of the second and third the mirror image, the border's first view (of the one that was in
    # test) and its second view; the first one has all.
    assert run(filled[0], splits=splits) == 2 + 1 + 2
    assert run(filled[0], splits=splits) == 0
    assert run(filled[0]) == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_from_the_store_are_always_those_that_would_be_computed(tmp_path_factory, data):
    """Any sequence of images, weights, rows, policies and batch sizes on one store."""
    store = open_store(tmp_path_factory.mktemp("any"), largest_bytes=2**24)
    for _ in range(data.draw(st.integers(2, 5))):
        images = IMAGES.copy()
        images[0, 0, 0, 0] = data.draw(st.sampled_from([0, 1]))
        model = network(weight=data.draw(st.sampled_from([0.0, 0.5])))
        rows = np.array(data.draw(st.sampled_from([[0, 1, 2], [2, 1, 0], [0, 1], [1, 2, 5, 1]])))
        options = {
            "augment": data.draw(st.sampled_from(["none", "light", "mirrors"])),
            "seed": data.draw(st.integers(0, 1)),
            "batch_size": data.draw(st.sampled_from([2, 8])),
        }
        num_views = data.draw(st.integers(1, 2))
        stored, fresh = (
            FrozenPass(model, images, one, **options).views(rows, num_views=num_views)
            for one in (store, NO_STORE)
        )
        for one, other in zip(stored.views, fresh.views, strict=True):
            np.testing.assert_allclose(one[:], other[:], atol=1e-4)


def test_a_network_that_cannot_be_described_is_computed_every_time(tmp_path, caplog):
    store = open_store(tmp_path, largest_bytes=2**24)
    space = {"keras": keras, "__name__": "a_notebook"}
    exec("class Twice(keras.layers.Layer):\n    def call(self, inputs): return 2 * inputs", space)
    inputs = keras.Input((*SIZE, 3))
    with caplog.at_level("INFO"):
        shelf = shelf_of(keras.Model(inputs, space["Twice"]()(inputs)), IMAGES, store)
    assert shelf.store.directory is None
    assert "Nothing is kept for later runs" in caplog.text
