"""What a LiteRT file says of itself: labels and input, where Android and MediaPipe look for it.

The format is TensorFlow Lite's model metadata: a flatbuffer among the buffers of the model, and a
zip archive of the files that it names behind the model's end
(https://ai.google.dev/edge/litert/models/metadata). The packages that wrote it no longer can:
tflite-support ended with Python 3.10, and MediaPipe's writer (1.2.2) lacks a module of its own.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from kerastl.deploy.export_formats import LABELS_FILE

BUFFER_NAME, _FILE_IDENTIFIER = "TFLITE_METADATA", b"M001"
# The first version of the format that has all that is written here.
_MIN_PARSER_VERSION = "1.0.0"
# Of its unions and enumerations (metadata_schema.fbs).
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES, _NORMALIZATION, _RGB, _AXIS_LABELS = 1, 2, 1, 1, 2


def with_metadata(content: bytes, *, class_names: Sequence[str]) -> bytes:
    """Return a LiteRT file that has its labels and says what its input is.

    Args:
        content: The file: float32 RGB 0..255 to one score for each class.
        class_names: In the order of the scores.

    Raises:
        ValueError: It is no such file.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER_NAME.encode(), len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    file = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        # A date of its own: the same model is the same file.
        name = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(name, "".join(f"{label}\n" for label in class_names))
    return file.getvalue()


def _metadata() -> bytes:
    """Return the flatbuffer: numbers are places of fields in their tables (metadata_schema.fbs)."""
    builder = flatbuffers.Builder(512)

    def table(num_fields: int, fields: dict[int, tuple[str, int]]) -> int:
        builder.StartObject(num_fields)
        for place, (kind, value) in fields.items():
            if kind == "table":
                builder.PrependUOffsetTRelativeSlot(place, value, 0)
            else:
                getattr(builder, f"Prepend{kind}Slot")(place, value, 0)
        return builder.EndObject()

    def tables(offsets: Sequence[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    def numbers(values: Sequence[float]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return builder.EndVector()

    def text(words: str) -> tuple[str, int]:
        return "table", builder.CreateString(words)

    def content(kind: int, properties: int) -> tuple[str, int]:
        return "table", table(3, {0: ("Uint8", kind), 1: ("table", properties)})

    # Scaling is inside the network: pixels go in as they are, which is mean 0 and deviation 1.
    options = table(2, {0: ("table", numbers([0.0])), 1: ("table", numbers([1.0]))})
    unit = table(2, {0: ("Uint8", _NORMALIZATION), 1: ("table", options)})
    image = table(2, {0: ("Int8", _RGB)})
    units = tables([unit])
    name, description = text("pixels"), text("RGB 0..255")
    properties = content(_IMAGE_PROPERTIES, image)
    pixels = table(7, {0: name, 1: description, 3: properties, 4: ("table", units)})
    file_name = text(LABELS_FILE)
    labels = tables([table(5, {0: file_name, 2: ("Int8", _AXIS_LABELS)})])
    name, properties = text("probabilities"), content(_FEATURE_PROPERTIES, table(0, {}))
    scores = table(7, {0: name, 3: properties, 6: ("table", labels)})
    inputs, outputs = tables([pixels]), tables([scores])
    subgraph = table(10, {2: ("table", inputs), 3: ("table", outputs)})
    name, made_by = text("image classifier"), text("kerastl")
    subgraphs, version = tables([subgraph]), text(_MIN_PARSER_VERSION)
    root = table(8, {0: name, 3: ("table", subgraphs), 4: made_by, 7: version})
    builder.Finish(root, _FILE_IDENTIFIER)
    return bytes(builder.Output())
