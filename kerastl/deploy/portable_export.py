"""A classifier in a format whose runtime takes pixels: ONNX, LiteRT, OpenVINO."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.deploy.conversion import INPUT, OUTPUT, convert_network
from kerastl.deploy.export_formats import LABELS_FILE, PORTABLE_FORMATS, SIDECAR
from kerastl.deploy.judgement import Judgement
from kerastl.deploy.savedmodel import check_classifier, folded_or_not
from kerastl.deploy.versions import partial_version, publish_version, writing_version

_RESIZED = {
    "stretch": "bring the whole image to image_size, whatever its aspect ratio",
    "crop": "take the largest centred window of the aspect ratio of image_size, then resize it",
    "pad": "keep the aspect ratio, centre, and fill the rest with grey 127",
}


@dataclass(frozen=True)
class PortableExport:
    """A portable export that was judged.

    Attributes:
        path: DIRECTORY/VERSION.
        version: 1, 2 and so on.
        seconds: For writing and judging.
    """

    path: Path
    version: int
    seconds: float


def export_portable(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    format_: str,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    judgement: Judgement,
    resize_mode: str = "stretch",
    multi_label: bool = False,
    thresholds: Sequence[float] | None = None,
    representative: NDArray[np.uint8] | None = None,
    fold: bool = True,
) -> PortableExport:
    """Write a model as DIRECTORY/VERSION in a portable format, once its judge agrees.

    Beside the file of the model stand labels.txt and kerastl.json: labels, what the input is, how
    images are brought to it, and what was measured.

    Args:
        model: From float32 (batch, height, width, 3), RGB 0..255, to probabilities
            (batch, num_classes). It does its own scaling.
        directory: Of the versions of this model in this format.
        format_: A name of `kerastl.deploy.export_formats.PORTABLE_FORMATS`.
        class_names: In the order of the probabilities.
        image_size: (height, width) in pixels.
        judgement: Images that it is asked in a fresh process, by its own runtime, and who decides.
        resize_mode: "stretch", "crop" or "pad": how images are brought to that size.
        multi_label: Whether an image can have several classes.
        thresholds: Then for each class the score from which it counts as answered.
        representative: uint8 (n, height, width, 3): images of the training split, for
            "litert-int8".
        fold: Whether BatchNorm layers are folded, see `kerastl.deploy.savedmodel`.

    Raises:
        ConfigError: The arguments do not fit together.
        ExportError: It cannot be written, or is refused; nothing is left behind.

    Example::

        export_portable(model, "saved_models/photos/onnx", format_="onnx",
                        class_names=["cat", "dog"], image_size=(224, 224),
                        judgement=Judgement(pixels, judge=lambda answers: {}))
    """
    started = time.monotonic()
    check_classifier(model, class_names=class_names, image_size=image_size)
    directory = Path(directory)
    with partial_version(directory) as partial:
        served, _, num_folded = folded_or_not(model, None, fold=fold)
        sidecar: dict[str, Any] = {
            "format": format_,
            "file": PORTABLE_FORMATS[format_].file,
            "class_names": list(class_names),
            "multi_label": multi_label,
            "thresholds": None if thresholds is None else list(map(float, thresholds)),
            "image_size": list(image_size),
            "resize_mode": resize_mode,
            "input": {
                "name": INPUT,
                "dtype": "float32",
                "shape": ["n", *image_size, 3],
                "values": "RGB 0..255; scaling is inside",
            },
            "output": {"name": OUTPUT, "dtype": "float32", "shape": ["n", len(class_names)]},
            "preprocessing": [
                "decode to RGB of 8 bits",
                "turn as the EXIF orientation says",
                _RESIZED[resize_mode],
                "resize with a triangle filter as wide as the reduction, rounded to whole numbers: "
                "Pillow's Image.resize(..., Image.Resampling.BILINEAR)",
            ],
            "inference_precision": "bf16" if format_.endswith("bfloat16") else "f32",
            "batch_norm_layers_folded": num_folded,
            "exported_with": {
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "kerastl": __version__,
            },
        }
        with writing_version(directory):
            labels = "".join(f"{name}\n" for name in class_names)
            (partial / LABELS_FILE).write_text(labels, encoding="utf-8")
            _write(partial / SIDECAR, sidecar)
            convert_network(
                served,
                partial,
                format_=format_,
                class_names=class_names,
                image_size=image_size,
                pixels=representative,
            )
        parity = judgement.of(partial)
        with writing_version(directory):
            _write(partial / SIDECAR, {**sidecar, "parity": dict(parity)})
            version = publish_version(partial, directory)
    path = directory / str(version)
    return PortableExport(path=path, version=version, seconds=time.monotonic() - started)


def _write(path: Path, values: dict[str, Any]) -> None:
    """Write plain values for people and programs."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
