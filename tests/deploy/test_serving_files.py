"""What TF Serving reads beside a SavedModel, read by its own messages."""

import re

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from kerastl.deploy.serving_files import (
    BATCHING_CONFIG,
    COMPOSE,
    MODELS_CONFIG,
    WARMUP_FILE,
    write_serving_files,
)


def test_it_is_warmed_up_with_requests_that_it_answers(exported):
    served = tf.saved_model.load(exported.path).signatures
    records = tf.data.TFRecordDataset(str(exported.path / "assets.extra" / WARMUP_FILE))
    asked = []
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == exported.path.parent.name
        signature = served[request.model_spec.signature_name]
        inputs = {name: tf.make_ndarray(one) for name, one in request.inputs.items()}
        answers = signature(**{name: tf.constant(one) for name, one in inputs.items()})
        (count,) = {len(one) for one in inputs.values()}
        assert not answers["error"].numpy().astype(bool).any()
        asked.append((request.model_spec.signature_name, count))
    wanted = [(name, size) for name in ("serving_default", "features") for size in (1, 2, 8)]
    assert asked == wanted


@pytest.mark.parametrize("name", ["photos", 'a "b" \\c', "$HOME & Äpfel", "x: y # z"])
def test_every_name_can_be_served(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    assert {path.name for path in write_serving_files(directory)} == {
        BATCHING_CONFIG,
        COMPOSE,
        MODELS_CONFIG,
    }
    models = text_format.Parse(
        (directory / MODELS_CONFIG).read_text("utf-8"), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = models.model_config_list.config
    assert (model.name, model.base_path) == (name, f"/models/{name}")
    assert model.model_platform == "tensorflow"
    compose = yaml.safe_load((directory / COMPOSE).read_text("utf-8"))
    serving = compose["services"]["serving"]
    assert serving["image"] == f"tensorflow/serving:{tf.__version__}"
    # Compose replaces what begins with one dollar.
    place = f"/models/{name}".replace("$", "$$")
    (mount,) = serving["volumes"]
    assert mount == {"type": "bind", "source": ".", "target": place, "read_only": True}
    assert f"--model_config_file={place}/{MODELS_CONFIG}" in serving["command"]
    assert all(port.startswith("127.0.0.1:") for port in serving["ports"])


def test_the_batching_file_has_known_fields(tmp_path):
    write_serving_files(tmp_path)
    lines = (tmp_path / BATCHING_CONFIG).read_text("utf-8").splitlines()
    settings = [line for line in lines if not line.startswith("#")]
    # tensorflow_serving/servables/tensorflow/session_bundle_config.proto, BatchingParameters.
    found = [re.fullmatch(r"(\w+) \{ value: (\d+) \}", line).groups() for line in settings]
    assert dict(found).keys() == {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches"}


def test_what_a_person_wrote_stays(tmp_path):
    (tmp_path / COMPOSE).write_text("mine")
    written = write_serving_files(tmp_path)
    assert {path.name for path in written} == {BATCHING_CONFIG, MODELS_CONFIG}
    assert (tmp_path / COMPOSE).read_text() == "mine"
    assert write_serving_files(tmp_path) == ()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([BATCHING_CONFIG, COMPOSE, MODELS_CONFIG])
    assert np.all([(tmp_path / name).stat().st_mode & 0o444 == 0o444 for name in names])
