"""What an export answers and how fast, for whoever decides whether it may be published."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.deploy import portable_runtime
from kerastl.deploy.fresh_process import run_alone
from kerastl.errors import ExportError


@dataclass(frozen=True, eq=False)
class ExportAnswers:
    """What one export gave for images, in a fresh process.

    Attributes:
        probabilities: float32 of shape (n, num_classes).
        milliseconds: By batch size (1 and 32): the median time of the network alone, pixels in
            and probabilities out, decoding not included.
        size_bytes: Of all its files.
    """

    probabilities: NDArray[np.float32] = field(repr=False)
    milliseconds: Mapping[int, float]
    size_bytes: int


@dataclass(frozen=True, eq=False)
class Judgement:
    """Images that an export is asked before it is published, and who decides.

    Attributes:
        pixels: uint8 of shape (n, height, width, 3), as the network sees images.
        judge: Returns plain values for the sidecar file, or raises `ExportError`: then nothing is
            published.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    judge: Callable[[ExportAnswers], Mapping[str, Any]] = field(repr=False)

    def of(self, path: Path) -> Mapping[str, Any]:
        """Return what the judge says of an export.

        Args:
            path: The version, complete.

        Raises:
            ExportError: It is refused, or could not be asked.
        """
        return self.judge(ask_export(path, self.pixels))


def ask_export(path: Path, pixels: NDArray[np.uint8]) -> ExportAnswers:
    """Ask one exported version in a fresh process, with its own runtime and without Keras.

    Args:
        path: DIRECTORY/VERSION.
        pixels: uint8 of shape (n, height, width, 3), n at least 1.

    Raises:
        ExportError: The process failed.

    Example::

        ask_export(Path("saved_models/photos/onnx/1"), pixels).milliseconds[1]
    """
    size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    try:
        with tempfile.TemporaryDirectory(prefix="kerastl-") as place:
            questions, answers = Path(place, "pixels.npy"), Path(place, "answers.npz")
            np.save(questions, pixels)
            run_alone(portable_runtime.__file__, [path, questions, answers])
            with np.load(answers, allow_pickle=False) as found:
                milliseconds = map(float, found["milliseconds"])
                return ExportAnswers(
                    probabilities=found["probabilities"],
                    milliseconds=dict(zip(portable_runtime.BATCH_SIZES, milliseconds, strict=True)),
                    size_bytes=size_bytes,
                )
    except OSError as error:
        raise ExportError(
            "The exported model could not be asked in a fresh process, because the questions "
            f"could not be written: {error.strerror or error}. Make room in "
            f"{tempfile.gettempdir()!r} or point TMPDIR to another folder."
        ) from error
