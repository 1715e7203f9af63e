"""Run an exported model with the runtime that it is for.

As a module it opens one; run by file name it answers images and times itself, in a process of its
own without Keras, and but for SavedModels without TensorFlow too. So it imports nothing of kerastl.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As `kerastl.deploy.export_formats`, which this file cannot import.
_LITERT, _ONNX, _OPENVINO, _SAVEDMODEL = (
    "model.tflite",
    "model.onnx",
    "model.xml",
    "saved_model.pb",
)
_SIDECAR = "kerastl.json"
_FORBIDDEN = frozenset({"tensorflow", "keras", "kerastl"})
BATCH_SIZES = (1, 32)
_ANSWERED_AT_ONCE = 32
# Of one batch size: as many runs as fit, at least some, after two that are not counted.
_TIMED_SECONDS, _FEWEST_RUNS, _WARM_RUNS = 0.5, 5, 2


def _as_float32(answer: Any) -> NDArray[np.float32]:
    return np.asarray(answer, np.float32)


@dataclass(frozen=True)
class Runtime:
    """An opened model, called with pixels. Not for several threads at the same time.

    Attributes:
        ask: The runtime's own call, from float32 (n, height, width, 3) to its own answer: what is
            timed.
        to_probabilities: From that answer to float32 (n, num_classes), in the order of labels.txt.
    """

    ask: Callable[[NDArray[np.float32]], Any]
    to_probabilities: Callable[[Any], NDArray[np.float32]] = _as_float32

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities of images."""
        return self.to_probabilities(self.ask(pixels))


def open_runtime(path: Path) -> Runtime:
    """Return what answers pixels, from the file of one exported version.

    Args:
        path: DIRECTORY/VERSION, with model.tflite, model.onnx, model.xml or saved_model.pb.

    Returns:
        From float32 (n, height, width, 3), RGB 0..255, to probabilities (n, num_classes) in the
        order of labels.txt.

    Raises:
        ImportError: The runtime is not installed.
        Exception: What that runtime raises of a file that it cannot read.

    Example::

        run = open_runtime(Path("saved_models/photos/onnx/1"))
        run(pixels[np.newaxis].astype(np.float32))
    """
    openers = {
        _LITERT: _open_litert,
        _ONNX: _open_onnx,
        _OPENVINO: _open_openvino,
        _SAVEDMODEL: _open_savedmodel,
    }
    for name, opener in openers.items():
        if (path / name).is_file():
            return opener(path / name)
    raise FileNotFoundError(f"no exported model in {path}")


def _open_litert(path: Path) -> Runtime:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=_num_processors())
    number = interpreter.get_input_details()[0]["index"]
    answer = interpreter.get_output_details()[0]["index"]
    batch_size = 0

    def ask(pixels: NDArray[np.float32]) -> Any:
        nonlocal batch_size
        if len(pixels) != batch_size:
            batch_size = 0  # until it is there: an allocation may fail
            interpreter.resize_tensor_input(number, pixels.shape)
            interpreter.allocate_tensors()
            batch_size = len(pixels)
        interpreter.set_tensor(number, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return Runtime(ask)


def _num_processors() -> int:
    """Return how many this process may use, of those that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_onnx(path: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=onnxruntime.get_available_providers()
    )
    name = session.get_inputs()[0].name
    return Runtime(lambda pixels: session.run(None, {name: pixels})[0])


def _open_openvino(path: Path) -> Runtime:
    import openvino

    # Its own choice is bfloat16 where a CPU has it: probabilities that differ by 0.03 (measured).
    hint = json.loads((path.parent / _SIDECAR).read_text("utf-8"))["inference_precision"]
    model = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    )
    output = model.output(0)
    # A copy: the next call writes its answer in the same place.
    return Runtime(lambda pixels: model([pixels])[output].copy())


def _open_savedmodel(path: Path) -> Runtime:
    import tensorflow as tf

    model = tf.saved_model.load(str(path.parent))
    serve = model.signatures["pixels"]
    labels = (path.parent / "assets" / "labels.txt").read_text("utf-8").splitlines()
    places = {label.encode(): place for place, label in enumerate(labels)}

    def ask(pixels: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        answer = serve(pixels=tf.constant(pixels, tf.uint8))
        return answer["classes"].numpy(), answer["scores"].numpy()

    def to_probabilities(
        answer: tuple[NDArray[Any], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        classes, scores = answer
        order = np.array([[places[label] for label in row] for row in classes])
        by_class = np.empty_like(scores)
        np.put_along_axis(by_class, order, scores, axis=1)
        return by_class

    return Runtime(ask, to_probabilities)


def _milliseconds(run: Runtime, pixels: NDArray[np.uint8], batch_size: int) -> float:
    """Return the median time of a batch."""
    batch = np.resize(pixels, (batch_size, *pixels.shape[1:])).astype(np.float32)
    for _ in range(_WARM_RUNS):
        run.ask(batch)
    seconds: list[float] = []
    while sum(seconds) < _TIMED_SECONDS or len(seconds) < _FEWEST_RUNS:
        started = time.perf_counter()
        run.ask(batch)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def main(arguments: Sequence[str]) -> None:
    """Answer images with one exported version, and time it.

    Args:
        arguments: Path of the version, of the pixels (.npy, uint8) and of the answers (.npz).
    """
    path, pixels_path, answers_path = map(Path, arguments)
    run = open_runtime(path)
    pixels = np.load(pixels_path, mmap_mode="r")
    answers = [
        run(np.asarray(pixels[start : start + _ANSWERED_AT_ONCE], np.float32))
        for start in range(0, len(pixels), _ANSWERED_AT_ONCE)
    ]
    timed = [_milliseconds(run, pixels[: max(BATCH_SIZES)], size) for size in BATCH_SIZES]
    if not (path / _SAVEDMODEL).is_file() and (found := _FORBIDDEN & set(sys.modules)):
        raise RuntimeError(f"needed more than its runtime: {found}")
    np.savez(answers_path, probabilities=np.concatenate(answers), milliseconds=np.array(timed))


if __name__ == "__main__":
    main(sys.argv[1:])
