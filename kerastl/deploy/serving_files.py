"""What TF Serving reads beside a SavedModel: requests to warm up with, and how to be started."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

# TF Serving replays all of them before a version is given requests; it refuses over 1,000.
_WARMUP_SIZES = (1, 2, 8)
WARMUP_FILE = "tf_serving_warmup_requests"
MODELS_CONFIG, BATCHING_CONFIG, COMPOSE = (
    "models.config",
    "batching.config",
    "docker-compose.yml",
)

_BATCHING = """\
# How TF Serving puts requests together: it takes what is queued and does not wait for more.
# Requests of `pixels` with images of different sizes cannot go together and are refused then:
# resize them alike, or send encoded images.
max_batch_size { value: 32 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 100 }
"""


def write_warmup(
    path: Path, contents: Sequence[bytes], *, name: str, signatures: Collection[str]
) -> None:
    """Write requests that make TensorFlow ready before the first client comes.

    The first request of a signature, and of a batch size, takes many times as long as later ones.

    Args:
        path: The SavedModel, with a folder assets.extra.
        contents: Encoded images, at least one; the smallest files of them are taken.
        name: Of the model.
        signatures: That it has.
    """
    # Only here: it takes a moment, and exports alone need it.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    inputs = {"serving_default": "image_bytes", "features": "image_bytes"}
    smallest = sorted(contents, key=len)[: max(_WARMUP_SIZES)]
    with tf.io.TFRecordWriter(str(path / "assets.extra" / WARMUP_FILE)) as writer:
        for signature, key in inputs.items():
            if signature not in signatures:
                continue
            for size in _WARMUP_SIZES:
                batch = [smallest[index % len(smallest)] for index in range(size)]
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                request.inputs[key].CopyFrom(tf.make_tensor_proto(np.array(batch, object)))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())


def write_serving_files(directory: Path) -> tuple[Path, ...]:
    """Write how to start TF Serving on a model; files that are there already stay as they are.

    Args:
        directory: EXPORT_DIR/NAME, that has the versions.

    Returns:
        Those that were written.
    """
    name = directory.resolve().name
    texts = {
        MODELS_CONFIG: _models_config(name),
        BATCHING_CONFIG: _BATCHING,
        COMPOSE: _compose(name),
    }
    written = []
    for file_name, text in texts.items():
        path = directory / file_name
        if not path.exists():
            _write_new(path, text)
            written.append(path)
    return tuple(written)


def _write_new(path: Path, text: str) -> None:
    """Write a file under a temporary name and give it its own; a file of that name stays."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial, 0o644)
        try:
            os.link(partial, path)
        except FileExistsError:  # another export was faster
            return
        except OSError:  # a file system without links
            os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _quoted(text: str) -> str:
    """Return a text as a string of a protocol buffer in text form, and of YAML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _in_compose(text: str) -> str:
    """Return a text as a string of a Compose file, which replaces what begins with a dollar."""
    return _quoted(text.replace("$", "$$"))


def _models_config(name: str) -> str:
    """Return the list of models for TF Serving; add others to it."""
    return (
        "# Which models TF Serving offers; it takes the highest version, and new ones as they "
        "come.\n"
        "model_config_list {\n"
        "  config {\n"
        f"    name: {_quoted(name)}\n"
        f"    base_path: {_quoted(f'/models/{name}')}\n"
        '    model_platform: "tensorflow"\n'
        "  }\n"
        "}\n"
    )


def _compose(name: str) -> str:
    """Return how Docker starts TF Serving on this folder."""
    version = importlib.metadata.version("tensorflow")
    place = f"/models/{name}"
    command = [
        f"--model_config_file={place}/{MODELS_CONFIG}",
        "--enable_batching=true",
        f"--batching_parameters_file={place}/{BATCHING_CONFIG}",
    ]
    lines = "".join(f"      - {_in_compose(word)}\n" for word in command)
    return (
        "# Type here: docker compose up\n"
        "# REST at http://127.0.0.1:8501/v1/models/…, gRPC at 127.0.0.1:8500.\n"
        "services:\n"
        "  serving:\n"
        "    # The decoders of images are part of TensorFlow: the version that exported, or later\n"
        "    # (2.20 and older cannot read WebP). On a GPU: the tag with -gpu.\n"
        f"    image: tensorflow/serving:{version}\n"
        "    command:\n"
        f"{lines}"
        "    ports:\n"
        '      - "127.0.0.1:8500:8500"\n'
        '      - "127.0.0.1:8501:8501"\n'
        "    volumes:\n"
        "      - type: bind\n"
        "        source: .\n"
        f"        target: {_in_compose(place)}\n"
        "        read_only: true\n"
        "    restart: unless-stopped\n"
    )
