"""Ask a SavedModel in a process of its own, where Keras and kerastl cannot be imported.

Run by file name: what works here works wherever TensorFlow alone is installed.
`kerastl.deploy.parity` writes the questions and judges the answers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORBIDDEN = frozenset({"keras", "tf_keras", "keras_core", "keras_cv", "kerastl"})
BATCH_SIZE = 16


class _Without:
    """A finder of modules that does not see some packages, as if they were not installed."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> Any:
        """Return what the finder finds, unless it is forbidden."""
        if fullname.partition(".")[0] in FORBIDDEN:
            return None
        return self._finder.find_spec(fullname, path, target)


def main(arguments: Sequence[str]) -> None:
    """Load a SavedModel, answer all questions, write the answers.

    Args:
        arguments: Path of the SavedModel, of the questions (.npz) and of the answers (.npz).
    """
    # `import tensorflow` itself looks for Keras and imports it where it finds it.
    sys.meta_path[:] = [_Without(finder) for finder in sys.meta_path]
    import tensorflow as tf

    path, questions_path, answers_path = arguments
    model = tf.saved_model.load(path)
    with np.load(questions_path, allow_pickle=False) as questions:
        answers: dict[str, Any] = _answers(tf, model.signatures, dict(questions))
    if FORBIDDEN & set(sys.modules):
        raise RuntimeError(f"imported all the same: {FORBIDDEN & set(sys.modules)}")
    np.savez(answers_path, **answers)


def _answers(
    tf: ModuleType, signatures: Any, questions: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Call every signature; classes come as bytes of equal width, for a file without pickles."""
    ends = np.cumsum(questions["lengths"])
    packed = questions["packed"].tobytes()
    contents = [
        packed[end - size : end] for end, size in zip(ends, questions["lengths"], strict=True)
    ]
    answers: dict[str, NDArray[Any]] = {}

    def ask(signature: str, as_name: str, inputs: list[Any]) -> None:
        collected = [signatures[signature](**one) for one in inputs]
        for name in collected[0]:
            values = np.concatenate([answer[name].numpy() for answer in collected])
            answers[f"{as_name}/{name}"] = values.astype("S") if values.dtype == object else values

    def batch(start: int, end: int) -> dict[str, Any]:
        return {"image_bytes": tf.constant(contents[start:end], tf.string, shape=[end - start])}

    starts = range(0, len(contents), BATCH_SIZE)
    batches = [batch(start, min(start + BATCH_SIZE, len(contents))) for start in starts]
    ask("serving_default", "bytes", batches)
    ask("serving_default", "empty", [batch(0, 0)])
    # Among what cannot be read, in one batch.
    some = [b"", contents[0], b"no image", contents[0][: len(contents[0]) // 2], contents[-1]]
    ask("serving_default", "damaged", [{"image_bytes": tf.constant(some)}])
    raw = [questions[name] for name in sorted(questions) if name.startswith("pixels")]
    ask("pixels", "pixels", [{"pixels": tf.constant(p[None])} for p in raw])
    ask("tf_example", "examples", [{"inputs": tf.constant([_example(tf, contents[0]), b"no"])}])
    if "features" in signatures:
        ask("features", "features", batches)
    return answers


def _example(tf: ModuleType, content: bytes) -> bytes:
    """Return an image as TensorFlow's data sets hold it."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    features = tf.train.Features(feature={"image/encoded": feature})
    example: bytes = tf.train.Example(features=features).SerializeToString()
    return example


if __name__ == "__main__":
    main(sys.argv[1:])
