"""One version of an exported model, loaded to answer requests for its signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from kerastl.deploy.export_formats import SAVEDMODEL_FILE, SIDECAR
from kerastl.deploy.served_model import load_savedmodel
from kerastl.deploy.serving_files import WARMUP_FILE

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY_SIGNATURE = "tf_example"
# TF Serving too replays no more.
_MOST_WARMUP_RECORDS = 1000


@dataclass(frozen=True, eq=False)
class Servable:
    """A loaded version.

    Attributes:
        path: DIRECTORY/VERSION.
        version: Its number.
        signatures: By name what it can be asked: `SignatureDef` messages, as TF Serving shows them.
        class_names: In the model's own order.
        thresholds: By class the score from which it counts; none where an image has one class.
        notes: What its sidecar file says.
    """

    path: Path
    version: int
    signatures: Mapping[str, Any] = field(repr=False)
    class_names: tuple[str, ...]
    thresholds: Mapping[str, float] = field(repr=False)
    notes: Mapping[str, Any] = field(repr=False)
    _functions: Mapping[str, Any] = field(repr=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels that images are brought to."""
        height, width = self.notes["image_size"]
        return int(height), int(width)

    def input_of(self, signature: str) -> tuple[str, Any, int]:
        """Return the one input of a signature: its name, data type and number of axes.

        Args:
            signature: One of `signatures`.
        """
        ((name, info),) = self.signatures[signature].inputs.items()
        return name, tf.as_dtype(info.dtype), len(info.tensor_shape.dim)

    def run(self, signature: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return all outputs for a batch.

        Args:
            signature: One of `signatures`.
            values: For its one input: bytes of shape (n,), or uint8 (n, height, width, channels).

        Raises:
            tf.errors.OpError: The batch cannot be answered.
        """
        name, dtype, _ = self.input_of(signature)
        answer = self._functions[signature](**{name: tf.constant(values, dtype)})
        return {key: value.numpy() for key, value in answer.items()}

    def warm_up(self) -> None:
        """Answer the requests that came with the export."""
        # Only here: it takes a moment.
        from tensorflow_serving.apis import prediction_log_pb2

        path = self.path / "assets.extra" / WARMUP_FILE
        if not path.is_file():
            return
        for record in tf.data.TFRecordDataset(str(path)).take(_MOST_WARMUP_RECORDS):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            for values in request.inputs.values():
                self.run(signature, tf.make_ndarray(values))


def load_servable(path: Path) -> Servable:
    """Load one exported version.

    Args:
        path: DIRECTORY/VERSION.

    Raises:
        ConfigError: It is no SavedModel that kerastl exported.
    """
    model = load_savedmodel(path)
    saved = saved_model_pb2.SavedModel.FromString((path / SAVEDMODEL_FILE).read_bytes())
    (graph,) = [one for one in saved.meta_graphs if "serve" in one.meta_info_def.tags]
    notes = json.loads((path / "assets.extra" / SIDECAR).read_text(encoding="utf-8"))
    return Servable(
        path=path,
        version=int(path.name) if path.name.isdigit() else 1,
        signatures=_shown(graph),
        class_names=model.class_names,
        thresholds=dict(zip(model.class_names, model.thresholds or (), strict=False)),
        notes=notes,
        _functions=model.functions,
    )


def _shown(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, Any]:
    """Return the signatures of a graph that can be asked."""
    return {
        name: one for name, one in graph.signature_def.items() if not name.startswith("__saved")
    }


def rows_of(answers: Mapping[str, NDArray[Any]], start: int, end: int) -> dict[str, NDArray[Any]]:
    """Return some rows of all outputs.

    Args:
        answers: By output.
        start: The first row.
        end: After the last row.
    """
    return {name: values[start:end] for name, values in answers.items()}


def joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of several batches as those of one.

    Args:
        parts: At least one, with the same outputs.
    """
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
