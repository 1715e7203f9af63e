"""Exports for other runtimes answer like the model, or are not there."""

import ast
import json
import os
import subprocess
import sys

import keras
import mediapipe
import numpy as np
import onnx
import openvino
import pytest
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.python import BaseOptions, vision

from kerastl.data.preparation import prepare_pixels
from kerastl.deploy import conversion, export_formats
from kerastl.deploy.export_formats import (
    FORMATS,
    PORTABLE_FORMATS,
    newest_export,
    parse_formats,
    require_packages,
)
from kerastl.deploy.judgement import Judgement
from kerastl.deploy.litert_metadata import BUFFER_NAME
from kerastl.deploy.portable_export import export_portable
from kerastl.deploy.predictor import open_predictor
from kerastl.errors import ConfigError, ExportError

EXACT = [name for name, one in PORTABLE_FORMATS.items() if one.is_float32]


@pytest.fixture(scope="module")
def pixels(classifier):
    size = classifier.options["image_size"]
    return np.stack(
        [
            prepare_pixels(one, image_size=size, resize_mode=classifier.options["resize_mode"])
            for one in classifier.held_out
        ]
    )


@pytest.fixture(scope="module")
def expected(classifier, pixels):
    return classifier.model(pixels.astype("float32"), training=False).numpy()


def export(classifier, directory, pixels, format_, judge=lambda _: {}, **changes):
    options = {**classifier.options, "representative": pixels, **changes}
    return export_portable(
        classifier.model, directory, format_=format_, judgement=Judgement(pixels, judge), **options
    )


@pytest.fixture(scope="module")
def exported(classifier, pixels, tmp_path_factory):
    """Every format once: its path and what it was heard to answer."""
    place, heard = tmp_path_factory.mktemp("portable"), {}

    def listener(name):
        def judge(answers):
            heard[name] = answers
            return {"remark": name}

        return judge

    paths = {
        name: export(classifier, place / name, pixels, name, listener(name)).path
        for name in PORTABLE_FORMATS
    }
    return paths, heard


@pytest.mark.parametrize("name", PORTABLE_FORMATS)
def test_each_answers_like_the_model_in_its_own_runtime(exported, expected, name):
    answers = exported[1][name]
    largest = np.abs(answers.probabilities - expected).max()
    if PORTABLE_FORMATS[name].is_float32:
        assert largest < 1e-5
    else:
        # Fewer bits are heard, but not much; LiteRT leaves layers under 1,024 weights alone, and
        # not every CPU has bfloat16.
        assert largest < 0.2
        assert largest > 1e-5 or name in ("litert-dynamic", "openvino-bfloat16")
    assert answers.probabilities.dtype == np.float32
    assert set(answers.milliseconds) == {1, 32}
    assert 0 < answers.milliseconds[1] < 1000
    assert answers.size_bytes > 500


@pytest.mark.parametrize("name", PORTABLE_FORMATS)
def test_what_stands_beside_the_model(exported, classifier, name):
    path = exported[0][name]
    assert path.name == "1"
    assert (path / "labels.txt").read_text("utf-8").splitlines() == list(
        classifier.options["class_names"]
    )
    sidecar = json.loads((path / "kerastl.json").read_text("utf-8"))
    assert sidecar["format"] == name
    assert (path / sidecar["file"]).is_file()
    assert sidecar["parity"] == {"remark": name}
    assert sidecar["input"]["shape"] == ["n", 32, 24, 3]
    assert sidecar["inference_precision"] == ("bf16" if name == "openvino-bfloat16" else "f32")
    assert newest_export(path) == newest_export(path.parent) == (path, name)


@pytest.mark.parametrize("name", EXACT)
def test_they_take_files_through_the_predictor(exported, classifier, expected, name):
    predictor = open_predictor(exported[0][name])
    answers = predictor.predict([*classifier.held_out, b"no image", b""])
    names = list(predictor.class_names)
    for answer, row in zip(answers, expected, strict=False):
        by_name = dict(zip(answer.classes, answer.scores, strict=True))
        np.testing.assert_allclose([by_name[name] for name in names], row, atol=1e-5)
        assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert [bool(answer.error) for answer in answers[-3:]] == [False, True, True]
    assert predictor.predict([]) == []


def test_litert_says_its_labels_where_phones_look(exported, classifier, pixels, expected):
    """Without that metadata the categories of MediaPipe's image classifier have no names."""
    file = exported[0]["litert"] / "model.tflite"
    options = vision.ImageClassifierOptions(base_options=BaseOptions(str(file)))
    with vision.ImageClassifier.create_from_options(options) as task:
        for image, row in zip(pixels, expected, strict=True):
            picture = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
            )
            (found,) = task.classify(picture).classifications
            scores = {one.category_name: one.score for one in found.categories}
            wanted = dict(zip(classifier.options["class_names"], row.tolist(), strict=True))
            assert scores == pytest.approx(wanted, abs=1e-4)


def test_litert_metadata_is_read_by_its_schema(exported):
    from tensorflow.lite.tools import flatbuffer_utils

    content = (exported[0]["litert-int8"] / "model.tflite").read_bytes()
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    (entry,) = [one for one in model.metadata if one.name.decode() == BUFFER_NAME]
    found = metadata_schema.ModelMetadataT.InitFromPackedBuf(
        bytes(model.buffers[entry.buffer].data), 0
    )
    (subgraph,) = found.subgraphMetadata
    (image,), (scores,) = subgraph.inputTensorMetadata, subgraph.outputTensorMetadata
    assert image.content.contentProperties.colorSpace == metadata_schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([0.0], [1.0])
    (labels,) = scores.associatedFiles
    assert labels.name == b"labels.txt"
    assert labels.type == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS


def test_int8_has_no_tensor_of_floats_but_its_ends(exported):
    from ai_edge_litert.interpreter import Interpreter

    def floats(name):
        interpreter = Interpreter(str(exported[0][name] / "model.tflite"))
        details = interpreter.get_tensor_details()
        return sum(one["dtype"] == np.float32 for one in details), len(details)

    assert floats("litert-int8")[0] == 2
    assert floats("litert")[0] > 4


def test_onnx_and_openvino_say_their_labels(exported, classifier):
    model = onnx.load(exported[0]["onnx"] / "model.onnx")
    properties = {one.key: one.value for one in model.metadata_props}
    names = classifier.options["class_names"]
    assert ast.literal_eval(properties["names"]) == dict(enumerate(names))
    assert [one.name for one in (*model.graph.input, *model.graph.output)] == [
        "pixels",
        "probabilities",
    ]
    model = openvino.Core().read_model(exported[0]["openvino"] / "model.xml")
    assert model.get_rt_info(["model_info", "labels"]).astype(str) == "dog cat 10 Äpfel_&_pears"


def test_the_runtime_file_needs_neither_kerastl_nor_tensorflow(exported, pixels, tmp_path):
    """As someone would copy it beside an export: its own process says what it imported."""
    np.save(tmp_path / "pixels.npy", pixels)
    script = export_formats.__file__.replace("export_formats", "portable_runtime")
    code = (
        "import runpy, sys; sys.argv[1:] = sys.argv[2:]; "
        f"runpy.run_path({script!r}, run_name='__main__'); "
        "print(sorted({'tensorflow', 'keras', 'kerastl'} & set(sys.modules)))"
    )
    for name in ("litert", "onnx", "openvino"):
        words = [exported[0][name], tmp_path / "pixels.npy", tmp_path / "answers.npz"]
        run = subprocess.run(
            [sys.executable, "-I", "-c", code, "-", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines()[-1] == "[]"


def test_versions_are_numbered_and_a_refusal_leaves_nothing(classifier, pixels, tmp_path):
    def refuse(_answers):
        raise ExportError("not good enough")

    with pytest.raises(ExportError, match="not good enough"):
        export(classifier, tmp_path / "photos" / "onnx", pixels, "onnx", refuse)
    assert os.listdir(tmp_path) == []
    for version in ("1", "2"):
        assert export(classifier, tmp_path / "photos", pixels, "onnx").path.name == version
    assert sorted(os.listdir(tmp_path / "photos")) == ["1", "2"]


def test_int8_without_images_and_networks_that_cannot_be_converted(classifier, pixels, tmp_path):
    with pytest.raises(ExportError, match="training split; received none"):
        export(classifier, tmp_path, pixels, "litert-int8", representative=pixels[:0])
    broken = tmp_path / "broken"
    broken.mkdir()
    sidecar = {"class_names": ["a"], "thresholds": None, "image_size": [2, 2], "format": "onnx"}
    sidecar |= {"resize_mode": "crop", "multi_label": False}
    (broken / "kerastl.json").write_text(json.dumps(sidecar))
    for content in (None, b"", b"no model"):
        if content is not None:
            (broken / "model.onnx").write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be opened"):
            open_predictor(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onx", "Did you mean 'onnx'"),
        ("", "names none"),
        (",", "names none"),
    ],
)
def test_formats_that_there_are_not(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_formats(text)


def test_formats_by_name():
    assert parse_formats("all") == FORMATS
    assert parse_formats("litert-int8,savedmodel, litert-int8") == ("litert-int8", "savedmodel")


def test_what_is_not_installed_is_said_before_any_work(monkeypatch):
    find_spec = export_formats.importlib.util.find_spec
    monkeypatch.setattr(
        export_formats.importlib.util,
        "find_spec",
        lambda name: None if name in ("openvino", "tf2onnx") else find_spec(name),
    )
    require_packages(["savedmodel", "litert"])
    with pytest.raises(
        ConfigError, match=r"onnx, openvino.*pip install 'kerastl\[onnx,openvino\]'"
    ):
        require_packages(["litert", "onnx", "openvino"])


def test_what_converters_say_and_a_full_temporary_folder(
    classifier_of_pixels, tmp_path, monkeypatch
):
    """Each is one clear error, of the right folder."""
    network = classifier_of_pixels
    options = {"format_": "litert", "class_names": ["a", "b"], "image_size": (8, 8)}

    def fail(*_arguments, **_options):
        raise KeyError("an operation that nobody knows")

    monkeypatch.setattr(conversion, "_litert", fail)
    with pytest.raises(ExportError, match="cannot be written as litert: 'an operation that nobody"):
        conversion.convert_network(network, tmp_path, **options)

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "_save_core", full)
    with pytest.raises(ExportError, match=r"No space left on device .*TMPDIR"):
        conversion.convert_network(network, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def classifier_of_pixels():
    pixels = keras.Input((8, 8, 3))
    answers = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(pixels))
    return keras.Model(pixels, answers)
