"""Any table of images as a prepared TFDS data set: read without our code, and without a network."""

from __future__ import annotations

import logging
import os
import re
import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from numpy.typing import ArrayLike, NDArray

from kerastl._version import __version__
from kerastl.data.decode import to_rgb
from kerastl.data.exif import exif_orientation
from kerastl.data.given_splits import SPLIT_NAMES, settle_splits
from kerastl.data.image_reader import read_image
from kerastl.data.pixels import Unreadable, encoded_image
from kerastl.data.table import ImageTable
from kerastl.data.wording import counted
from kerastl.errors import ConfigError, DataError, UnreadableImageError
from kerastl.progress import track

logger = logging.getLogger(__name__)

# The middle of what TFDS itself aims at, 64 MiB to 1 GiB (tfds.core.utils.shard_utils).
SHARD_BYTES = 256 << 20

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TFDS_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def write_tfds(
    table: ImageTable,
    splits: ArrayLike | None,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: str = "1.0.0",
) -> Path:
    """Write a table as a prepared TFDS data set, DIRECTORY/NAME/VERSION.

    `tfds.load(NAME, data_dir=DIRECTORY)` reads it, and kerastl as tfds:NAME with
    --data-dir DIRECTORY. Its features are image, label (labels if an image may have several),
    file_name, and group if the table has groups. JPEG and PNG files keep their bytes; other
    files and arrays become PNG, without loss. Images that cannot be read are left out and
    named in the log. The rows of a split are shuffled, always in the same way, as TFDS does:
    "train[:10%]" of a table that is sorted by class would be one class.

    Args:
        table: The images.
        splits: Shape (n,) of "train", "val" and "test"; those of the table when not given.
            Rows without a split are train.
        directory: Where TFDS data sets are, or will be.
        name: Of the data set; the name of the table when not given. It becomes snake case.
        version: Three numbers with dots.

    Returns:
        The folder of this version.

    Raises:
        ConfigError: The name or the version is none that TFDS can have.
        DataError: This version exists, the folder cannot be written, a class has a name that
            TFDS cannot keep, or a split has no image that can be read.

    Example:
        >>> import tempfile
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((4, 8, 8), np.uint8), ["cat", "dog", "cat", "dog"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_tfds(table, None, folder, name="Two Animals")
        ...     data = tfds.load("two_animals", data_dir=folder, split="train", as_supervised=True)
        >>> path.parts[-2:], data.element_spec[0].shape
        (('two_animals', '1.0.0'), TensorShape([8, 8, 3]))
    """
    path = tfds_folder(table, directory, name=name, version=version)
    data_set = path.parent.name
    given = settle_splits(
        table.splits if splits is None else splits, groups=None, count=len(table.ids)
    )
    rows_of_split = {
        split: np.flatnonzero((given == split) | ((given == "") & (split == "train")))
        for split in SPLIT_NAMES
    }
    partial = path.parents[1] / f".{data_set}-{version}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        _write(table, rows_of_split, partial, name=data_set, version=version)
        path.parent.mkdir(exist_ok=True)
        _refuse_existing(path)
        partial.rename(path)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise DataError(
            f"The TFDS data set cannot be written to {str(path)!r} ({reason}). Choose another "
            "folder, or make room."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("Written to %s; tfds:%s --data-dir %s reads it.", path, data_set, path.parents[1])
    return path


def tfds_folder(
    table: ImageTable,
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: str = "1.0.0",
) -> Path:
    """Return where `write_tfds` would write a table, or refuse it before any work is done.

    Args:
        table: The images.
        directory: Where TFDS data sets are, or will be.
        name: Of the data set; the name of the table when not given. It becomes snake case.
        version: Three numbers with dots.

    Raises:
        ConfigError: The name or the version is none that TFDS can have.
        DataError: This version exists, or a class has a name that TFDS cannot keep.

    Example:
        >>> from kerastl.data.table import table_from_arrays
        >>> table = table_from_arrays(np.zeros((2, 8, 8), np.uint8), ["cat", "dog"])
        >>> tfds_folder(table, "data", name="Two Animals").as_posix()
        'data/two_animals/1.0.0'
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise ConfigError(
            f"`version` must be three numbers with dots, such as 1.0.0; received {version!r}."
        )
    _check_class_names(table.class_names)
    data_set = _data_set_name(table.name if name is None else name, given=name is not None)
    path = Path(directory).expanduser() / data_set / version
    _refuse_existing(path)
    return path


def _write(
    table: ImageTable,
    rows_of_split: dict[str, NDArray[np.int64]],
    folder: Path,
    *,
    name: str,
    version: str,
) -> None:
    """Write records and metadata into an empty folder."""
    label_key = "labels" if table.multi_label else "label"
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name,
            version=tfds.core.Version(version),
            data_dir=os.fspath(folder),
            module_name=__name__,
        ),
        description=f"The images of {table.name!r}, written by kerastl {__version__}.",
        features=_features(table, label_key),
        supervised_keys=("image", label_key),
    )
    shard_rows = max(1, SHARD_BYTES // _mean_bytes(table))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=shard_rows)
    order = np.random.default_rng(0)
    unreadable: list[Unreadable] = []
    with (
        ThreadPoolExecutor(max_workers=os.cpu_count()) as workers,
        track("Writing images", total=len(table.ids)) as advance,
    ):
        for split, rows in rows_of_split.items():
            if not rows.size:
                continue
            before = len(unreadable)
            images = _images(table, order.permutation(rows), workers, unreadable, advance)
            writer.initialize_splits([_TFDS_SPLITS[split]])
            writer.add_examples({_TFDS_SPLITS[split]: _examples(table, images, label_key)})
            if len(unreadable) - before == rows.size:
                first = unreadable[before]
                raise DataError(
                    f"None of the {counted(int(rows.size))} of the split {split!r} can be read; "
                    f"the first is {first.id!r} ({first.reason}). Repair or remove them and run "
                    "again."
                )
    writer.close_all()
    for fault in unreadable:
        logger.warning("Left out %s: %s", fault.id, fault.reason)


def _features(table: ImageTable, label_key: str) -> Any:
    """Return the features of the data set."""
    label = tfds.features.ClassLabel(names=table.class_names)
    # The images of an array have one size: with it they can be batched as they are.
    height, width = (
        table.contents.shape[1:3] if isinstance(table.contents, np.ndarray) else (None, None)
    )
    features = {
        "image": tfds.features.Image(shape=(height, width, 3)),
        label_key: tfds.features.Sequence(label) if table.multi_label else label,
        "file_name": tfds.features.Text(),
    }
    if table.groups is not None:
        features["group"] = tfds.features.Text()
    return tfds.features.FeaturesDict(features)


def _examples(
    table: ImageTable, images: Iterator[tuple[int, bytes]], label_key: str
) -> Iterator[dict[str, Any]]:
    """Return the examples that TFDS shall write."""
    names = _file_names(table)
    for row, image in images:
        label = table.labels[row]
        example = {
            "image": image,
            label_key: np.flatnonzero(label).tolist() if table.multi_label else int(label),
            "file_name": names[row],
        }
        if table.groups is not None:
            example["group"] = _utf8(str(table.groups[row]))
        yield example


def _images(
    table: ImageTable,
    rows: NDArray[np.int64],
    workers: ThreadPoolExecutor,
    unreadable: list[Unreadable],
    advance: Callable[[int], None],
) -> Iterator[tuple[int, bytes]]:
    """Return row and image of all that can be read, in the order of `rows`."""
    num_lying = 0
    for answer in _in_order(lambda row: _portable(table, row), rows.tolist(), workers):
        advance(1)
        if isinstance(answer, Unreadable):
            unreadable.append(answer)
            continue
        num_lying += answer.lying
        yield answer.row, answer.image
    if num_lying:
        logger.warning(
            "%s turned by their EXIF orientation, which tfds.load does not heed.",
            counted(num_lying, "image is", "images are"),
        )


def _in_order(
    work: Callable[[int], _Portable | Unreadable], rows: list[int], workers: ThreadPoolExecutor
) -> Iterator[_Portable | Unreadable]:
    """Return what `work` makes of each row; `workers.map` would hold all images at once."""
    waiting: deque[Future[_Portable | Unreadable]] = deque()
    for row in rows:
        waiting.append(workers.submit(work, row))
        if len(waiting) > 2 * (os.cpu_count() or 1):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@dataclass(frozen=True)
class _Portable:
    """An image that TFDS can decode; `lying` if EXIF says that it must be turned."""

    row: int
    image: bytes
    lying: bool


def _portable(table: ImageTable, row: int) -> _Portable | Unreadable:
    """Return one image as TFDS can decode it, or why it cannot be read."""
    try:
        if isinstance(table.contents, np.ndarray):
            image = _png(table.contents[row]).numpy()
        else:
            image = encoded_image(table, row)
            if _tfds_decodes(image):
                return _Portable(row, image, lying=exif_orientation(image) != 1)
            image = tf.io.encode_png(read_image(image)).numpy()
    except UnreadableImageError as error:
        return Unreadable(row, table.ids[row], error.reason)
    except DataError as error:
        return Unreadable(row, table.ids[row], str(error))
    return _Portable(row, image, lying=False)


# Traced: one by one the operations take 1.8 ms for 28 x 28 pixels, not 0.6 ms.
@tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.uint8)])
def _png(pixels: tf.Tensor) -> tf.Tensor:
    """Return pixels with 1 to 4 channels as PNG with the three of RGB."""
    return tf.io.encode_png(to_rgb(pixels))


def _tfds_decodes(image: bytes) -> bool:
    """Whether `tfds.features.Image` decodes these bytes; GIF, BMP and WebP have catches there."""
    if not image.startswith((_JPEG, _PNG)):
        return False
    try:
        tf.io.decode_image(image, channels=3)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _mean_bytes(table: ImageTable) -> int:
    """Return about how many bytes an image has, from 16 of them."""
    rows = np.unique(np.linspace(0, len(table.ids) - 1, 16).astype(int))
    answers = [_portable(table, int(row)) for row in rows]
    sizes = [len(answer.image) for answer in answers if isinstance(answer, _Portable)]
    return sum(sizes) // len(sizes) + 1 if sizes else 1


def _file_names(table: ImageTable) -> list[bytes]:
    """Return what the images are called, without the folders that are common to all files."""
    if table.contents is not None:
        return [_utf8(name) for name in table.ids]
    paths = [os.path.abspath(name) for name in table.ids]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [_utf8(os.path.relpath(path, root)) for path in paths]


def _utf8(text: str) -> bytes:
    """Return text for TFDS; bytes of a file name that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace")


def _refuse_existing(path: Path) -> None:
    """Refuse to write where something is."""
    if path.exists():
        major, minor, patch = path.name.split(".")
        raise DataError(
            f"The TFDS data set {str(path)!r} exists already and is never overwritten. Choose "
            "another folder (--as-tfds DIR) or remove this one; from Python you can also pass "
            f"write_tfds(..., version='{major}.{minor}.{int(patch) + 1}')."
        )


def _check_class_names(class_names: Sequence[str]) -> None:
    """Refuse what does not come back from the file of TFDS: a name per line, spaces cut off."""
    for name in class_names:
        if name != name.strip() or not name or re.search(r"[\n\r\ud800-\udfff]", name):
            raise DataError(
                f"TFDS keeps class names in a text file, one per line and without spaces around "
                f"them; received {name!r}. Rename that class."
            )


def _data_set_name(name: str, *, given: bool) -> str:
    """Return the name as TFDS wants it: snake case of plain letters, and none that it knows."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
    snake = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    if not snake:
        raise ConfigError(
            f"The name of a TFDS data set must have letters from a to z; received {name!r}. Rename "
            "the folder or file, or pass name='photos'."
        )
    if snake[0].isdigit():
        snake = f"images_{snake}"
    # `tfds.load` prefers the code of a data set that it knows to files of that name.
    if snake not in tfds.list_builders(with_community_datasets=False):
        return snake
    if given:
        raise ConfigError(
            f"TFDS has a data set {snake!r} of its own, which tfds.load would take instead. Pass "
            f"another name, such as name='my_{snake}'."
        )
    logger.info("TFDS has a data set %s of its own; this one is my_%s.", snake, snake)
    return f"my_{snake}"
