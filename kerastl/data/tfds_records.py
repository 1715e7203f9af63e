"""Examples of a prepared TFDS data set: labels at once, images one by one when asked for.

Only labels, groups and the place of every record are held in memory, so that a data set
may be larger than memory. TFDS's own random access, `as_data_source`, reads ArrayRecord
files alone; almost all data sets are TFRecord files, whose records are found here by
their offsets.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import NDArray

from kerastl.data.lazy_contents import LazyContents
from kerastl.errors import DataError

# A TFRecord is uint64 length, uint32 checksum of the length, data, uint32 checksum of the
# data; little-endian: https://www.tensorflow.org/tutorials/load_data/tfrecord
_HEADER_BYTES = 12
_FRAME_BYTES = _HEADER_BYTES + 4

_BATCH_ROWS = 512


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of some splits, one after the other.

    Attributes:
        columns: Of each feature that was asked for, the value of each example.
        images: The encoded image of each example, none of them in memory.
        splits: The split of each example, as it was asked for.
        numbers: The number of each example in its split, as TFDS counts: "train[7:8]" is
            the one with split "train" and number 7.
    """

    columns: dict[str, list[Any]]
    images: LazyContents
    splits: list[str]
    numbers: list[int]


def read_examples(builder: Any, splits: list[str], *, image_key: str, keys: list[str]) -> Examples:
    """Return the examples of some splits, in the order of their files.

    Every record is read once, and its checksum tested; images are not kept.

    Args:
        builder: Of a data set that was prepared.
        splits: Such as "train" or "train[:10%]+test".
        image_key: Feature with the image.
        keys: Features to return, each with one value or one list of values.

    Raises:
        DataError: There is no such split, or a file is missing, damaged or of a kind that
            TFDS cannot read at random places.
    """
    read = _READERS.get(builder.info.file_format)
    if read is None:
        kind = builder.info.file_format.value
        raise DataError(
            f"The TFDS data set {builder.name!r} was prepared as {kind} files; kerastl reads "
            f"tfrecord and array_record. Type: tfds build {builder.name} --file_format tfrecord"
        )
    counts = [_count(builder, split) for split in splits]
    try:
        columns, record = read(builder, splits, _partial_features(builder, keys))
    except (tf.errors.OpError, OSError, IndexError) as error:
        raise _damaged(builder, error) from error
    count = len(columns[keys[0]])
    if count != sum(counts):
        raise _damaged(builder, f"{count} records instead of {sum(counts)}")
    return Examples(
        columns=columns,
        images=LazyContents(lambda row: _image_bytes(record(row), image_key), range(count)),
        splits=[name for name, one in zip(splits, counts, strict=True) for _ in range(one)],
        numbers=[number for one in counts for number in range(one)],
    )


def _count(builder: Any, split: str) -> int:
    """Return how many examples a split has."""
    try:
        return sum(one.take for one in builder.info.splits[split].file_instructions)
    except ValueError as error:
        names = list(builder.info.splits)
        raise DataError(
            f"The TFDS data set {builder.name!r} has no split {split!r} "
            f"({' '.join(str(error).split())}) Its splits are {', '.join(names)}; write for "
            f"example tfds:{builder.name}:{names[0]}[:10%]."
        ) from None


def _damaged(builder: Any, error: object) -> DataError:
    """Return the error for files that are not as the data set says."""
    reason = getattr(error, "message", None) or str(error)
    return DataError(
        f"The files of the TFDS data set {builder.name!r} in {str(builder.data_dir)!r} are missing "
        f"or damaged ({' '.join(reason.split())[:200]}). Remove that folder and prepare the data "
        "set again, or copy it again."
    )


def _partial_features(builder: Any, keys: list[str]) -> Any:
    """Return what parses these features of a record, and skips the rest."""
    # What tfds.decode.PartialDecoding gives, which warns of its own use of a deprecated attribute.
    features = builder.info.features
    return tfds.features.FeaturesDict({key: features[key] for key in keys})


@dataclass(frozen=True, eq=False)
class _TFRecords:
    """Where the records of some TFRecord files lie, one row each."""

    paths: list[str]
    files: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __call__(self, row: int) -> bytes:
        """Read one record: threads share no file, and no more files are open than threads."""
        path, length = self.paths[self.files[row]], int(self.lengths[row])
        file = os.open(path, os.O_RDONLY)
        try:
            framed = os.pread(file, _HEADER_BYTES + length, int(self.offsets[row]))
        finally:
            os.close(file)
        if len(framed) < _HEADER_BYTES + length or struct.unpack_from("<Q", framed) != (length,):
            raise OSError(f"{path} was changed while it was being read")
        return framed[_HEADER_BYTES:]


def _read_tfrecords(
    builder: Any, splits: list[str], features: Any
) -> tuple[dict[str, list[Any]], Callable[[int], bytes]]:
    """Return the features of all examples, and the function from a row to its record."""
    parts = [part for split in splits for part in builder.info.splits[split].file_instructions]
    paths = [part.filename for part in parts]
    ends = np.array([part.skip + part.take for part in parts], np.int64)

    def parse(record: tf.Tensor) -> tuple[Any, tf.Tensor]:
        return features.deserialize_example(record), tf.strings.length(record)

    # Records before those that are wanted are read too: the offsets are sums of lengths.
    records = tf.data.Dataset.from_tensor_slices((tf.constant(paths, tf.string), ends)).flat_map(
        lambda path, end: tf.data.TFRecordDataset(path, buffer_size=8 << 20).take(end)
    )
    columns: dict[str, list[Any]] = {key: [] for key in features}
    files, offsets, lengths = [], [], []
    parsed = records.map(parse, tf.data.AUTOTUNE).ragged_batch(_BATCH_ROWS).prefetch(2)
    found = _unbatched(parsed)
    for number, part in enumerate(parts):
        offset = 0
        for place, (value, length) in zip(range(ends[number]), found, strict=False):
            if place >= part.skip:
                for key, column in columns.items():
                    column.append(value[key])
                files.append(number)
                offsets.append(offset)
                lengths.append(length)
            offset += _FRAME_BYTES + length
    return columns, _TFRecords(
        paths, np.array(files, np.int32), np.array(offsets, np.int64), np.array(lengths, np.int64)
    )


def _unbatched(batches: tf.data.Dataset) -> Iterator[tuple[dict[str, Any], int]]:
    """Return single examples; one by one, they cost about 0.1 ms each."""
    for columns, lengths in batches:
        lists = {
            key: column.to_list() if isinstance(column, tf.RaggedTensor) else list(column.numpy())
            for key, column in columns.items()
        }
        for place, length in enumerate(lengths.numpy().tolist()):
            yield {key: values[place] for key, values in lists.items()}, length


def _read_array_records(
    builder: Any, splits: list[str], features: Any
) -> tuple[dict[str, list[Any]], Callable[[int], bytes]]:
    """Return the features of all examples, and the function from a row to its record."""
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    sources = [builder.as_data_source(split, deserialize_method=raw) for split in splits]
    places = [(source, number) for source in sources for number in range(len(source))]

    def record(row: int) -> bytes:
        source, number = places[row]
        found: bytes = source[number]
        return found

    columns: dict[str, list[Any]] = {key: [] for key in features}
    for row in range(len(places)):
        for key, value in features.deserialize_example_np(record(row)).items():
            columns[key].append(value)
    return columns, record


_READERS = {
    tfds.core.FileFormat.TFRECORD: _read_tfrecords,
    tfds.core.FileFormat.ARRAY_RECORD: _read_array_records,
}


def _image_bytes(record: bytes, image_key: str) -> bytes:
    """Return the encoded image in one record."""
    values = tf.train.Example.FromString(record).features.feature[image_key].bytes_list.value
    if not values:
        raise OSError(f"its record has no {image_key!r}")
    image: bytes = values[0]
    return image
