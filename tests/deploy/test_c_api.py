"""The export answers without Python: through TensorFlow's C API, which is what servers use."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from kerastl.deploy.served_model import load_savedmodel

TENSORFLOW = Path(importlib.util.find_spec("tensorflow").origin).parent
CLIENT = Path(__file__).with_name("c_api_client.py")


def signatures(path):
    saved_model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (serving,) = [one for one in saved_model.meta_graphs if "serve" in one.meta_info_def.tags]
    return serving.signature_def


def call(signature, **question):
    """Graph names differ from those of the signature, which says what they are."""
    (fed,) = signature.inputs.values()
    return {
        "input": fed.name,
        "outputs": {name: info.name for name, info in signature.outputs.items()},
        **question,
    }


@pytest.fixture(scope="module")
def answered(exported, classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    files = []
    for number, content in enumerate([*classifier.held_out, b"no image"]):
        files.append(str(folder / str(number)))
        Path(files[-1]).write_bytes(content)
    signature = signatures(exported.path)
    calls = [
        call(signature["serving_default"], files=files[:-1]),
        call(signature["serving_default"], files=files[-1:]),
        call(signature["serving_default"], files=files[:1]),
        call(signature["pixels"], pixels={"shape": [2, 50, 60, 1], "fill": 200}),
        call(signature["features"], files=files[:2]),
        call(signature["serving_default"], files=[]),
    ]
    process = subprocess.run(
        [sys.executable, "-I", CLIENT, TENSORFLOW, exported.path],
        input=json.dumps(calls),
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_no_python_library_took_part(answered):
    assert answered["imported"] == []
    assert answered["version"].startswith("2.")


def test_encoded_images_get_the_same_labels_and_scores(answered, exported, classifier):
    answer = answered["answers"][0]
    classes, scores = load_savedmodel(exported.path).predict(classifier.held_out)
    assert answer["classes"]["shape"] == answer["scores"]["shape"] == list(scores.shape)
    assert answer["classes"]["values"] == classes.ravel().tolist()
    np.testing.assert_allclose(answer["scores"]["values"], scores.ravel(), rtol=0, atol=1e-6)
    assert len(set(classes[:, 0])) > 1


def test_a_damaged_image_is_an_error_and_the_session_goes_on(answered):
    (error,) = answered["answers"][1]["error"]["values"]
    assert error.startswith("unknown image file format")
    assert answered["answers"][1]["scores"]["values"] == [0, 0, 0, 0]
    assert set(answered["answers"][0]["error"]["values"]) == {""}
    first, alone = answered["answers"][0], answered["answers"][2]
    assert alone["classes"]["values"] == first["classes"]["values"][:4]


def test_raw_pixels(answered, exported, classifier):
    answer = answered["answers"][3]
    assert answer["classes"]["shape"] == [2, 4]
    expected = classifier.model(np.full((1, 32, 24, 3), 200, np.float32), training=False).numpy()
    np.testing.assert_allclose(
        answer["scores"]["values"][:4], np.sort(expected[0])[::-1], atol=1e-6
    )


def test_features(answered):
    assert answered["answers"][4]["features"]["shape"] == [2, 8]


def test_no_images(answered):
    assert answered["answers"][5]["scores"] == {"shape": [0, 4], "values": []}
