import io
import json
import os
import resource
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from kerastl.data.preparation import prepare_image
from kerastl.deploy import isolated
from kerastl.deploy import savedmodel as savedmodel_module
from kerastl.deploy import signatures as signatures_module
from kerastl.deploy.batch_decoding import decode_batch
from kerastl.deploy.parity import prove_parity
from kerastl.deploy.savedmodel import export_savedmodel
from kerastl.deploy.served_model import load_savedmodel
from kerastl.errors import ConfigError, ExportError

SERVING_FILES = ("models.config", "batching.config", "docker-compose.yml")
SIGNATURES = {"serving_default", "pixels", "features", "tf_example"}


def export(classifier, directory, model=None, **changes):
    options = {"held_out": classifier.held_out[:3], **classifier.options, **changes}
    return export_savedmodel(model or classifier.model, directory, **options)


def probabilities(classifier, images_bytes):
    options = {key: classifier.options[key] for key in ("image_size", "resize_mode")}
    pixels = np.stack([prepare_image(one, **options) for one in images_bytes])
    return classifier.model(pixels.astype(np.float32), training=False).numpy()


def test_layout_is_what_tensorflow_serving_reads(exported, classifier):
    assert exported.path.name == "1"
    assert exported.version == 1
    assert sorted(os.listdir(exported.path.parent)) == sorted(["1", *SERVING_FILES])
    assert {"saved_model.pb", "variables", "assets", "assets.extra"} <= set(
        os.listdir(exported.path)
    )
    assert (exported.path.stat().st_mode & 0o777) == 0o777 & ~current_umask()
    labels = (exported.path / "assets" / "labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == list(classifier.options["class_names"])
    assert exported.size_bytes > 10_000


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_sidecar_tells_readers_what_they_need(exported, classifier):
    sidecar = json.loads((exported.path / "assets.extra" / "kerastl.json").read_text("utf-8"))
    assert sidecar["class_names"] == list(classifier.options["class_names"])
    assert sidecar["image_size"] == [32, 24]
    assert sidecar["resize_mode"] == "crop"
    assert sidecar["multi_label"] is False
    assert sidecar["exported_with"]["tensorflow"] == tf.__version__
    assert set(sidecar["signatures"]) == SIGNATURES


def test_it_answers_like_the_model(exported, classifier):
    served = load_savedmodel(exported.path)
    assert served.class_names == classifier.options["class_names"]
    classes, scores = served.predict(classifier.held_out, batch_size=3)
    expected = probabilities(classifier, classifier.held_out)
    order = np.argsort(-expected, axis=1)
    np.testing.assert_array_equal(classes, np.array(served.class_names)[order])
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), atol=1e-6)
    assert scores.dtype == np.float32
    assert len(set(classes[:, 0])) > 1  # or the comparison would prove little
    assert exported.parity.num_images == len(classifier.held_out)
    assert exported.parity.max_difference < 1e-6
    assert exported.parity.max_feature_difference < 1e-6
    assert "in a fresh process without Keras" in "\n".join(exported.summary_lines)


def test_signatures(exported, classifier):
    signatures = tf.saved_model.load(exported.path).signatures
    assert set(signatures) == SIGNATURES
    # TF Serving's REST API would base64-encode an output with such a name.
    outputs = {name for one in signatures.values() for name in one.structured_outputs}
    assert outputs == {"classes", "scores", "features", "error"}
    assert not any(name.endswith("_bytes") for name in outputs)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_raw_pixels_of_any_size_and_channels(exported, channels):
    served = tf.saved_model.load(exported.path).signatures
    random = np.random.default_rng(channels)
    pixels = random.integers(0, 256, (2, 45, 51, channels), dtype=np.uint8)
    answer = served["pixels"](pixels=tf.constant(pixels))
    as_png = tf.stack([tf.io.encode_png(one) for one in pixels])
    expected = served["serving_default"](image_bytes=as_png)
    np.testing.assert_array_equal(answer["classes"], expected["classes"])
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)


def test_no_images_give_no_answers(exported):
    classes, scores = load_savedmodel(exported.path).predict([])
    assert classes.shape == scores.shape == (0, 4)
    signatures = tf.saved_model.load(exported.path).signatures
    no_bytes, no_pixels = tf.zeros([0], tf.string), tf.zeros([0, 9, 9, 3], tf.uint8)
    assert signatures["serving_default"](image_bytes=no_bytes)["scores"].shape == (0, 4)
    assert signatures["pixels"](pixels=no_pixels)["scores"].shape == (0, 4)
    assert signatures["features"](image_bytes=no_bytes)["features"].shape == (0, 8)


def test_an_image_that_cannot_be_read_is_named_and_fails_no_other(exported, classifier):
    good = classifier.held_out[:3]
    bad = {
        b"": "the file is empty",
        b"text": "unknown image file format",
        b"x": "unknown image file format",
        good[0][:200]: "damaged or truncated",
        good[1][:-40]: "damaged or truncated",
        b"BM" + bytes(60): "damaged or truncated",
        b"RIFF\x00\x00\x00\x00WEBP": "damaged or truncated",
    }
    served = load_savedmodel(exported.path)
    mixed = [good[0], *bad, good[1], good[2], good[0]]
    answers = served.ask(mixed)
    alone = served.ask(good)
    right = [0, len(bad) + 1, len(bad) + 2, len(bad) + 3]
    for name in ("classes", "scores"):
        np.testing.assert_array_equal(answers[name][right], alone[name][[0, 1, 2, 0]])
    assert set(answers["error"][right]) == {""}
    for row, words in enumerate(bad.values(), start=1):
        assert answers["error"][row].startswith(words), row
        assert set(answers["classes"][row]) == {""}
        assert not answers["scores"][row].any()
    nothing = served.ask(list(bad))
    assert all(nothing["error"])
    features = tf.saved_model.load(exported.path).signatures["features"]
    found = features(image_bytes=tf.constant(mixed))
    assert not found["features"].numpy()[1 : len(bad) + 1].any()
    assert found["features"].numpy()[right].any(axis=1).all()
    np.testing.assert_array_equal(found["error"].numpy() != b"", answers["error"] != "")


def operations(path):
    """Names of all operations in a SavedModel, those of its functions too."""
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    return {node.op for node in nodes}


def test_batch_norm_is_folded_unless_told_not_to(classifier, tmp_path):
    inputs = keras.Input((32, 24, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(inputs)
    x = keras.layers.BatchNormalization(
        moving_mean_initializer=keras.initializers.RandomNormal(stddev=50.0, seed=2)
    )(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
    for fold in (True, False):
        result = export(classifier, tmp_path / "photos", model, fold=fold)
        found = operations(result.path) & {"Rsqrt", "FusedBatchNormV3"}
        assert bool(found) != fold, found
        sidecar = json.loads((result.path / "assets.extra" / "kerastl.json").read_text("utf-8"))
        assert sidecar["batch_norm_layers_folded"] == int(fold)


def example(content, key="image/encoded"):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    features = tf.train.Features(feature={key: feature})
    return tf.train.Example(features=features).SerializeToString()


def test_examples_of_data_sets_are_answered_like_files(exported, classifier):
    serve = tf.saved_model.load(exported.path).signatures["tf_example"]
    files = classifier.held_out[:3]
    inputs = [*map(example, files), b"no example", example(files[0], key="other"), example(b"no")]
    answers = serve(inputs=tf.constant(inputs))
    expected = load_savedmodel(exported.path).ask(files)
    np.testing.assert_array_equal(answers["scores"][:3], expected["scores"])
    errors = answers["error"].numpy()
    assert (errors[:3] == b"").all()
    assert all(error.startswith(b"no tf.train.Example") for error in errors[3:])
    # TF Serving's Classify: one input called inputs, string classes and float scores (n, k).
    (spec,) = serve.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.rank) == ("inputs", tf.string, 1)


def test_an_export_that_fails_a_batch_for_one_image_is_not_published(
    classifier, tmp_path, monkeypatch
):
    def all_or_nothing(image_bytes, read, *, image_size):
        pixels = tf.map_fn(
            read, image_bytes, fn_output_signature=tf.TensorSpec((*image_size, 3), tf.uint8)
        )
        return pixels, tf.ones_like(image_bytes, tf.bool)

    monkeypatch.setattr(signatures_module, "decode_batch", all_or_nothing)
    with pytest.raises(ExportError, match="InvalidArgumentError"):
        export(classifier, tmp_path / "photos")

    def touched(image_bytes, read, *, image_size):
        pixels, readable = decode_batch(image_bytes, read, image_size=image_size)
        return (tf.roll(pixels, 1, axis=0) if len(readable.shape) else pixels), readable

    monkeypatch.setattr(signatures_module, "decode_batch", touched)
    with pytest.raises(ExportError, match="answer"):
        export(classifier, tmp_path / "photos")
    assert os.listdir(tmp_path) == []


def test_the_fresh_process_has_neither_keras_nor_kerastl():
    code = (
        "import runpy, sys, importlib\n"
        f"names = runpy.run_path({isolated.__file__!r})\n"
        "sys.meta_path[:] = [names['_Without'](finder) for finder in sys.meta_path]\n"
        "import tensorflow as tf\n"
        "for name in ('keras', 'kerastl', 'kerastl.errors'):\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError:\n"
        "        continue\n"
        "    raise SystemExit(f'{name} can be imported')\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_versions_are_added_and_never_touched(classifier, tmp_path):
    directory = tmp_path / "photos"
    (directory / "9").mkdir(parents=True)
    (directory / "9" / "saved_model.pb").write_bytes(b"somebody's")
    (directory / "notes").mkdir()
    measured = probabilities(classifier, classifier.held_out[:3])
    result = export(classifier, directory, measured=measured.tolist())
    assert result.version == 10
    assert result.parity.max_measured_difference < 1e-5
    assert result.parity.max_feature_difference is None
    assert (directory / "9" / "saved_model.pb").read_bytes() == b"somebody's"
    assert sorted(os.listdir(directory)) == sorted(["10", "9", "notes", *SERVING_FILES])
    assert load_savedmodel(directory).path == directory / "10"


@keras.saving.register_keras_serializable("kerastl_tests")
class ActsDifferentlyInGraphs(keras.layers.Layer):
    """What the proof is for: Python code that a graph does not repeat."""

    def call(self, inputs):
        return inputs if tf.executing_eagerly() else inputs[:, ::-1]


def test_an_export_that_answers_differently_is_not_published(classifier, tmp_path):
    model = keras.Sequential([classifier.model, ActsDifferentlyInGraphs()])
    model.build((None, 32, 24, 3))
    with pytest.raises(ExportError, match=r"does not answer like the model.*Look for layers"):
        export(classifier, tmp_path / "photos", model)
    assert os.listdir(tmp_path) == []


def test_labels_and_resizing_are_part_of_the_proof(exported, classifier):
    options = {**classifier.options, "held_out": classifier.held_out}
    swapped = {**options, "class_names": classifier.options["class_names"][::-1]}
    with pytest.raises(ExportError, match="does not answer like the model"):
        prove_parity(exported.path, classifier.model, **swapped)
    with pytest.raises(ExportError, match="does not answer like the model"):
        prove_parity(exported.path, classifier.model, **{**options, "resize_mode": "pad"})
    renamed = {**options, "class_names": ("a", "b", "c", "d")}
    with pytest.raises(ExportError, match="each of the 4 labels once"):
        prove_parity(exported.path, classifier.model, **renamed)


def test_a_model_that_changed_since_training_is_not_published(classifier, tmp_path):
    wrong = probabilities(classifier, classifier.held_out[:3])[:, ::-1].tolist()
    with pytest.raises(ExportError, match=r"measured after training.*Make the run again"):
        export(classifier, tmp_path / "photos", measured=wrong)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ExportError, match=r"shape \(3, 4\).*received \(2, 4\)"):
        export(classifier, tmp_path / "photos", measured=wrong[:2])


def test_interrupting_leaves_nothing(classifier, tmp_path, monkeypatch):
    def interrupt(path, *_, **__):
        assert (path / "saved_model.pb").is_file()
        assert path.parent == tmp_path
        assert not path.name.isdigit()
        raise KeyboardInterrupt

    monkeypatch.setattr(savedmodel_module, "prove_parity", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(classifier, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_clear_error(classifier, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ExportError, match=r"could not be written in .*Make room") as caught:
            export(classifier, tmp_path / "photos")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(classifier, tmp_path):
    (tmp_path / "file").write_text("mine")
    for directory in (tmp_path / "file", tmp_path / "file" / "photos"):
        with pytest.raises(ExportError, match=r"could not be written.*--export-dir"):
            export(classifier, directory)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a", "b", "c")}, r"\(None, 3\).*Check `image_size` and `class_names`"),
        ({"image_size": (24, 32)}, r"images \(None, 24, 32, 3\)"),
        ({"class_names": ("a", "b", "c", "a")}, "must differ"),
        ({"class_names": ("a", "b", "c", "d\ne")}, "one line of UTF-8 text.*Rename the class"),
        ({"class_names": ("a", "b", "c", "")}, "one line of UTF-8 text"),
        ({"class_names": ("a", "b", "c", "\udcff")}, "one line of UTF-8 text"),
        ({"resize_mode": "padd"}, "Did you mean 'pad'"),
        ({"held_out": []}, "held-out images; received none"),
        ({"held_out": [b""]}, r"held_out\[0\] cannot be read \(the file is empty\)"),
    ],
)
def test_arguments_that_do_not_fit(classifier, tmp_path, changes, message):
    with pytest.raises((ConfigError, ExportError), match=message):
        export(classifier, tmp_path / "photos", **changes)
    assert os.listdir(tmp_path) == []


def test_loading_what_is_none(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ConfigError, match=r"no SavedModel that kerastl exported.*saved_models"):
            load_savedmodel(path)


def test_half_of_an_animation_is_no_reason_to_refuse_an_export(classifier, tmp_path):
    """Its first picture may be whole: the proof must not ask for an error."""
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (40, 40), np.uint8)) for _ in range(4)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    held_out = [content.getvalue(), *classifier.held_out[:2]]
    assert export(classifier, tmp_path / "photos", held_out=held_out).version == 1
