"""What decides a result, as one short text: equal parts give an equal key, in any process.

SHA-256: with the SHA instructions of current processors it is faster than BLAKE2b (1.6 to 1.8
against 1.1 to 1.2 GB/s, 3 runs on one core of an AMD EPYC, 2026-11-21,
`python benchmarks/store.py`), and nobody can make two data sets that share a key.
"""

from __future__ import annotations

import hashlib
import os
import struct
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kerastl.data.stream import Images

# What one thread reads at once; no influence on the digest.
_CHUNK_BYTES = 16 * 2**20


def content_key(**parts: object) -> str:
    """Return the key of all that a result depends on.

    Types count: 1, 1.0, True and "1" are four different parts. NumPy's scalars are what
    Python's are; a list is not a tuple. The order of the names does not count. A part is a
    str, int, float, bool, None, bytes, a NumPy array or scalar of numbers or texts, or a
    tuple, list or str-keyed mapping of all these.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: A part is of another type; the message names it.

    Example:
        >>> content_key(border=3, policy="none") == content_key(policy="none", border=3)
        True
        >>> content_key(border=3) == content_key(border=3.0)
        False
    """
    digest = hashlib.sha256(b"kerastl content 1")
    for name in sorted(parts):
        _add(digest.update, name, name)
        _add(digest.update, parts[name], name)
    return digest.hexdigest()


def digest_images(images: Images, rows: NDArray[np.int64] | None = None) -> list[bytes]:
    """Return a digest of each image, read some at a time by all processors.

    It depends on its pixels and its size, not on where it is kept or what is beside it: an
    array and a stream of the same images are the same.

    Args:
        images: uint8 of shape (n, height, width, 3), an array or a stream.
        rows: int64: which of them, in which order; all when not given.

    Returns:
        32 bytes for each, in the order of the rows.

    Raises:
        TypeError: Images are not uint8.

    Example:
        >>> images = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
        >>> digest_images(images, np.array([2])) == digest_images(images)[2:3]
        True
        >>> len(set(digest_images(images)))
        4
    """
    chosen = np.arange(images.shape[0]) if rows is None else rows

    def digests_of(chunk: NDArray[np.int64]) -> list[bytes]:
        return [digest_image(image) for image in images[_slice_or_rows(chunk)]]

    step = max(_CHUNK_BYTES // max(int(np.prod(images.shape[1:])), 1), 1)
    num_threads = os.cpu_count() or 1
    found: list[bytes] = []
    with ThreadPoolExecutor(num_threads) as threads:
        ahead: deque[Future[list[bytes]]] = deque()
        for start in range(0, len(chosen), step):
            if len(ahead) > num_threads:
                found += ahead.popleft().result()
            ahead.append(threads.submit(digests_of, chosen[start : start + step]))
        for future in ahead:
            found += future.result()
    return found


class KnownDigests:
    """Digests of images that were asked for before: reading them again may take long.

    Images must not change while this is used.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Images], dict[int, bytes]]] = {}

    def of(self, images: Images, rows: NDArray[np.int64]) -> list[bytes]:
        """Return what `digest_images` does.

        Args:
            images: uint8 of shape (n, height, width, 3), an array or a stream. The same object
                as before, not an equal one.
            rows: int64: which of them.

        Example:
            >>> known, images = KnownDigests(), np.zeros((3, 2, 2, 3), np.uint8)
            >>> known.of(images, np.array([1])) == digest_images(images, np.array([1]))
            True
        """
        seen, known = self._known.get(id(images), (None, {}))
        if seen is None or seen() is not images:
            known = {}
            self._known[id(images)] = weakref.ref(images), known
        new = np.array([row for row in rows.tolist() if row not in known], np.int64)
        known.update(zip(new.tolist(), digest_images(images, new), strict=True))
        return [known[row] for row in rows.tolist()]


def digest_image(pixels: NDArray[np.uint8]) -> bytes:
    """Return a digest of one image, of 32 bytes.

    Args:
        pixels: uint8 of shape (height, width, 3).

    Raises:
        TypeError: The image is not uint8.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"Images must be uint8; received {pixels.dtype}.")
    digest = hashlib.sha256(b"kerastl image 2" + str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def digest_variables(variables: Iterable[Any]) -> str:
    """Return a digest of the weights of a part of a model.

    Weights alone do not say how they are joined: the key needs the part's configuration too.

    Args:
        variables: `keras.Variable`s in the order of the model, such as `model.variables`.
            Names count without their layer's (`kernel`, not `conv2d_3/kernel`), because Keras
            numbers the layers of a process and not those of a model.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import keras
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 3))
        >>> before = digest_variables(layer.variables)
        >>> _ = layer.bias.assign([0.0, 1.0])
        >>> before == digest_variables(layer.variables)
        False
    """
    import keras  # the rest of the module, and the store, need neither Keras nor TensorFlow

    digest = hashlib.sha256(b"kerastl variables 1")
    for variable in variables:
        values = keras.ops.convert_to_numpy(variable)
        _add(digest.update, (variable.name, str(variable.dtype), values), variable.path)
    return digest.hexdigest()


def _slice_or_rows(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return neighbours as a slice: NumPy copies nothing then."""
    first = int(rows[0])
    if first >= 0 and np.array_equal(rows, np.arange(first, first + len(rows))):
        return slice(first, first + len(rows))
    return rows


def _add(update: Callable[[Any], None], part: object, name: str) -> None:
    """Add a part with its type and its length, so that no two parts read alike."""
    if isinstance(part, np.generic) and not isinstance(part, np.void):
        part = part.item()
    match part:
        case np.ndarray():
            _add_array(update, part, name)
        case tuple() | list():
            update(_head(b"t" if isinstance(part, tuple) else b"l", len(part)))
            for one in part:
                _add(update, one, name)
        case Mapping() if all(isinstance(key, str) for key in part):
            update(_head(b"m", len(part)))
            for key in sorted(part):
                _add(update, key, name)
                _add(update, part[key], name)
        case _:
            tag, content = _scalar(part, name)
            update(_head(tag, len(content)))
            update(content)


def _head(tag: bytes, length: int) -> bytes:
    return tag + struct.pack("<Q", length)


def _scalar(part: object, name: str) -> tuple[bytes, bytes]:
    """Return the tag and the bytes of one value."""
    match part:
        case None:
            return b"n", b""
        case bool():  # before int, which it is too
            return b"b", bytes([part])
        case int():
            return b"i", str(int(part)).encode()
        case float():
            return b"f", struct.pack("<d", part)
        case str():
            return b"s", part.encode("utf-8", "surrogatepass")
        case bytes():
            return b"y", part
    raise TypeError(
        f"A part of a key must be a str, int, float, bool, None, bytes, NumPy array, tuple, list "
        f"or mapping; received {name} of type {type(part).__name__}."
    )


def _add_array(update: Callable[[Any], None], array: NDArray[Any], name: str) -> None:
    """Add dtype, shape and bytes."""
    kind, plain = array.dtype.kind, array.dtype.type is not np.void
    # bfloat16 and its like have kind "V", as records have, but a type of their own.
    if kind not in "biufcUSV" or not plain:
        raise TypeError(f"An array in a key must hold numbers or texts; {name} is {array.dtype}.")
    if kind != "V":
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    _add(update, (array.dtype.name, array.shape), name)
    content = np.ascontiguousarray(array).reshape(-1)
    update(_head(b"a", content.nbytes))
    if content.nbytes:
        update(content.view(np.uint8))
