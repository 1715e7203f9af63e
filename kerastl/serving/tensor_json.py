"""Tensors as JSON and back, by the rules of TF Serving's REST API.

https://www.tensorflow.org/tfx/serving/api_rest: `instances` row by row or `inputs` by column; bytes
as {"b64": ...}; outputs whose name ends in _bytes come back so too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_BYTES_SUFFIX = "_bytes"


class RequestError(Exception):
    """A request that cannot be understood."""


class TooLargeError(Exception):
    """One request wants more than may ever be answered; to come again would not help."""


def read_predict(
    body: Any, *, input_name: str, dtype: tf.DType, rank: int, most_rows: int
) -> tuple[NDArray[Any], bool]:
    """Return the value of the one input of a signature, and whether rows were given.

    Args:
        body: Of the request, parsed.
        input_name: Of the signature.
        dtype: Of that input.
        rank: Its number of axes, the batch included.
        most_rows: That may be given.

    Raises:
        RequestError: It is not what the signature takes.
        TooLargeError: There are more rows.

    Example:
        >>> read_predict({"instances": ["a"]}, input_name="x", dtype=tf.string, rank=1, most_rows=9)
        (array([b'a'], dtype=object), True)
    """
    by_row = "instances" in body
    if by_row == ("inputs" in body):
        raise RequestError("Missing 'inputs' or 'instances' key" if not by_row else _BOTH)
    if by_row:
        rows = body["instances"]
        if not isinstance(rows, list):
            raise RequestError(f"`instances` must be a list; received {_kind(rows)}")
        require_few(len(rows), most_rows)
        values = [_of_input(row, input_name) for row in rows]
    else:
        values = _of_input(body["inputs"], input_name)
        if not isinstance(values, list):
            values = [values] if _is_bytes(values) or isinstance(values, str) else values
    if not isinstance(values, list):
        raise RequestError(f"input {input_name!r} must be a list; received {_kind(values)}")
    require_few(len(values), most_rows)
    return to_array(values, dtype=dtype, rank=rank, name=input_name), by_row


def require_few(num_rows: int, most_rows: int) -> None:
    """Refuse a request that could never be answered.

    Args:
        num_rows: That it has.
        most_rows: That may wait.

    Raises:
        TooLargeError: They are too many.
    """
    if num_rows > most_rows:
        raise TooLargeError(
            f"A request may have {most_rows} images at most; received {num_rows} "
            "(--max-queued). Send them in several."
        )


_BOTH = "Only one of the keys 'inputs' and 'instances' may be given"


def _of_input(value: Any, name: str) -> Any:
    """Return what is given for the one input, by its name or bare."""
    if not isinstance(value, dict) or _is_bytes(value):
        return value
    if set(value) != {name}:
        raise RequestError(
            f"the signature has one input, {name!r}; received {sorted(map(str, value))[:5]}"
        )
    return value[name]


def to_array(values: Sequence[Any], *, dtype: tf.DType, rank: int, name: str) -> NDArray[Any]:
    """Return nested lists as an array of a type.

    Args:
        values: The lists; for strings a flat one of text and {"b64": ...}.
        dtype: `tf.string` or a type of numbers.
        rank: Axes that there must be.
        name: Of the input, for messages.

    Raises:
        RequestError: They are something else.
    """
    if dtype == tf.string:
        return _array_of([_as_bytes(one, name) for one in values])
    shape = [len(values)]
    flat = list(values)
    # Level by level: NumPy alone would make 40 GB of a million letters beside some lists.
    for _ in range(rank - 1):
        lengths = {len(row) if isinstance(row, list) else -1 for row in flat}
        if -1 in lengths or (len(values) and 0 in lengths):
            raise RequestError(f"input {name!r} must have {rank} axes of whole numbers")
        if len(lengths) > 1:
            raise RequestError(f"input {name!r} has lists of different lengths")
        shape.append(lengths.pop() if lengths else 1)
        flat = [one for row in flat for one in row]
    if not all(type(one) is int for one in flat):
        raise RequestError(f"input {name!r} must have {rank} axes of whole numbers")
    if flat and not (dtype.min <= min(flat) and max(flat) <= dtype.max):
        raise RequestError(f"input {name!r} must be {dtype.min} to {dtype.max}; it is not")
    return np.array(flat, dtype.as_numpy_dtype).reshape(shape)


def _array_of(contents: Sequence[bytes]) -> NDArray[Any]:
    """Return bytes as a column; NumPy's own type of bytes drops zeros at their end."""
    column = np.empty(len(contents), object)
    column[:] = contents
    return column


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _as_bytes(value: Any, name: str) -> bytes:
    """Return one string of an input."""
    if isinstance(value, str):
        return value.encode()
    if _is_bytes(value) and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(f"input {name!r}: b64 is no base64") from None
    raise RequestError(f'input {name!r} takes text or {{"b64": "..."}}; received {_kind(value)}')


def _kind(value: Any) -> str:
    """Return what JSON calls a value."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")


def read_examples(body: Any, *, most_rows: int) -> NDArray[Any]:
    """Return the examples of a Classify request as serialized `tf.train.Example` messages.

    Args:
        body: Of the request, parsed: {"context": {…}, "examples": [{feature: value}, …]}.
        most_rows: Examples that may be given.

    Raises:
        RequestError: It is something else.
        TooLargeError: There are more examples.
    """
    examples = body.get("examples")
    context = body.get("context", {})
    if not isinstance(examples, list) or not isinstance(context, dict):
        raise RequestError("Missing 'examples' list")
    require_few(len(examples), most_rows)
    serialized = []
    for one in examples:
        if not isinstance(one, dict):
            raise RequestError(f"an example must be an object; received {_kind(one)}")
        features = {str(key): _feature(key, value) for key, value in {**context, **one}.items()}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        serialized.append(example.SerializeToString())
    return _array_of(serialized)


def _feature(name: str, value: Any) -> tf.train.Feature:
    """Return one feature of an example."""
    values = value if isinstance(value, list) else [value]
    if all(isinstance(one, str) or _is_bytes(one) for one in values):
        contents = [_as_bytes(one, name) for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=contents))
    if all(isinstance(one, int) and abs(one) < 2**63 for one in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if all(isinstance(one, int | float) for one in values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    raise RequestError(f"feature {name!r} must be text, bytes or numbers, or a list of one of them")


def write_predict(answers: Mapping[str, NDArray[Any]], *, by_row: bool) -> dict[str, Any]:
    """Return the body of an answer.

    Args:
        answers: By output, n rows each.
        by_row: Whether rows were given.

    Example:
        >>> write_predict({"a": np.array([1]), "b": np.array([b"x"], object)}, by_row=True)
        {'predictions': [{'a': 1, 'b': 'x'}]}
    """
    columns = {name: _plain(values, name) for name, values in answers.items()}
    if not by_row:
        (only, *others) = columns.values()
        return {"outputs": columns if others else only}
    rows = zip(*columns.values(), strict=True)
    if len(columns) == 1:
        return {"predictions": [row for (row,) in rows]}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def write_classify(answers: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the body of an answer to a Classify request: pairs of label and score.

    Args:
        answers: With classes and scores, n rows each.
    """
    classes, scores = _plain(answers["classes"], "classes"), answers["scores"].tolist()
    return {
        "results": [
            [[label, score] for label, score in zip(*row, strict=True)]
            for row in zip(classes, scores, strict=True)
        ]
    }


def _plain(values: NDArray[Any], name: str) -> list[Any]:
    """Return an array as lists that JSON can hold."""
    if values.dtype != object:
        plain: list[Any] = values.tolist()
        return plain

    def text(one: bytes) -> Any:
        if name.endswith(_BYTES_SUFFIX):
            return {"b64": base64.b64encode(one).decode()}
        return one.decode(errors="replace")

    flat = [text(one) for one in values.ravel()]
    if values.ndim == 1:
        return flat
    width = values.shape[1]
    return [flat[start : start + width] for start in range(0, len(flat), max(width, 1))]
