"""The formats that a model can be exported in, and what each needs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerastl.errors import ConfigError, did_you_mean

SAVEDMODEL = "savedmodel"
SAVEDMODEL_FILE = "saved_model.pb"
# Beside the file of a portable format.
SIDECAR, LABELS_FILE = "kerastl.json", "labels.txt"


@dataclass(frozen=True)
class PortableFormat:
    """A format whose runtime takes pixels, because it cannot decode files.

    Attributes:
        title: For people.
        file: Name of the model's file.
        extra: Of kerastl's installation, that brings what writes and runs it.
        packages: That this needs, as they are imported.
        is_float32: Whether it computes as the model does, so that it must answer alike; the
            others are judged by how many answers stay.
    """

    title: str
    file: str
    extra: str
    packages: tuple[str, ...]
    is_float32: bool = True


_LITERT = ("model.tflite", "litert", ("ai_edge_litert",))
_OPENVINO = ("model.xml", "openvino", ("openvino",))

PORTABLE_FORMATS: dict[str, PortableFormat] = {
    "litert": PortableFormat("LiteRT (TensorFlow Lite)", *_LITERT),
    "litert-float16": PortableFormat("LiteRT, weights of 16 bits", *_LITERT, is_float32=False),
    "litert-dynamic": PortableFormat("LiteRT, weights of 8 bits", *_LITERT, is_float32=False),
    "litert-int8": PortableFormat("LiteRT, all in 8 bits", *_LITERT, is_float32=False),
    "onnx": PortableFormat("ONNX", "model.onnx", "onnx", ("tf2onnx", "onnx", "onnxruntime")),
    "openvino": PortableFormat("OpenVINO", *_OPENVINO),
    "openvino-bfloat16": PortableFormat("OpenVINO, bfloat16", *_OPENVINO, is_float32=False),
}
FORMATS = (SAVEDMODEL, *PORTABLE_FORMATS)
QUANTIZED_WITH_IMAGES = "litert-int8"


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats that a user names, each once.

    Args:
        text: Names with commas between them, or "all".

    Raises:
        ConfigError: One is unknown, or there is none.

    Example:
        >>> parse_formats("onnx, litert")
        ('onnx', 'litert')
    """
    names = [name for part in text.split(",") if (name := part.strip())]
    if "all" in names:
        return FORMATS
    for name in names:
        if name not in FORMATS:
            raise ConfigError(
                f"`format` must be of {', '.join(FORMATS)}, or all; received {name!r}."
                f"{did_you_mean(name, FORMATS)}"
            )
    if not names:
        raise ConfigError(f"`format` names none. Choose of {', '.join(FORMATS)}, or all.")
    return tuple(dict.fromkeys(names))


def require_model_name(name: str) -> None:
    """Refuse a name that is no name of one folder.

    Args:
        name: Of a model.

    Raises:
        ConfigError: It would lead elsewhere, or could not stand in an address.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise ConfigError(
            f"`name` must be the name of one folder, without slashes; received name={name!r}."
        )


def require_packages(formats: Sequence[str]) -> None:
    """Refuse formats that need what is not installed, before any work is done.

    Args:
        formats: Names.

    Raises:
        ConfigError: Something is missing.
    """
    missing = {
        format_.extra: name
        for name in formats
        if (format_ := PORTABLE_FORMATS.get(name)) is not None
        and not all(importlib.util.find_spec(package) for package in format_.packages)
    }
    if missing:
        raise ConfigError(
            f"The format {', '.join(missing.values())} needs packages that are not installed. "
            f"Type: pip install 'kerastl[{','.join(missing)}]'"
        )


def format_in(path: Path) -> str | None:
    """Return the format of one exported version, or None where there is none.

    Args:
        path: DIRECTORY/VERSION.
    """
    if (path / SAVEDMODEL_FILE).is_file():
        return SAVEDMODEL
    try:
        name = str(json.loads((path / SIDECAR).read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return name if name in PORTABLE_FORMATS else None


def newest_export(path: Path) -> tuple[Path, str] | None:
    """Return the exported version that a path means, and its format; None where it means none.

    Args:
        path: One version, or the folder of versions, of which it is the highest.
    """
    if not path.is_dir():
        return None
    for version in (path, *(path / str(number) for number in reversed(versions_in(path)))):
        if format_ := format_in(version):
            return version, format_
    return None


def versions_in(directory: Path) -> list[int]:
    """Return the versions in a folder, ascending, as TF Serving reads their names.

    Args:
        directory: EXPORT_DIR/NAME.
    """
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())
