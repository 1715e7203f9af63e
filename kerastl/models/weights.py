"""Where a backbone's weights come from, and a clear word when they cannot be had.

Keras loads what it can and stays silent about some of the rest (a deeper network's file fits
a shallower one; a layer that the file lacks may keep its random weights). Here every weight is
shown to have come from the file, or the backbone stays as it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import textwrap
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kerastl.errors import WeightsError

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]

SUFFIXES = (".weights.h5", ".h5", ".keras")

# What h5py, zipfile and Keras raise for files that are damaged, and for files that are whole
# but hold something else.
_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error)
_UNFIT = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ImportError,
    AssertionError,
)

# get_file in keras/src/utils/file_utils.py raises it as a bare `Exception`.
_FETCH_FAILURE = re.compile(r"URL fetch failure on (?P<url>\S+): (?P<reason>.*)", re.DOTALL)


def fetch_imagenet(build: Callable[[], keras.Model], *, name: str) -> keras.Model:
    """Return what `build` returns, with a helpful error if its download fails.

    Args:
        build: Calls a builder of `keras.applications` with weights="imagenet".
        name: Name of the backbone, for the message.

    Returns:
        The model that `build` made.

    Raises:
        WeightsError: Keras could not download the weights. All other errors pass.

    Example:
        >>> def build():
        ...     raise Exception("URL fetch failure on https://a.org/b.h5: None -- no network")
        >>> fetch_imagenet(build, name="ResNet50")
        Traceback (most recent call last):
        ...
        kerastl.errors.WeightsError: The ImageNet weights of ResNet50 could not be downloaded ...
    """
    try:
        # Keras tells of its downloads on standard output, where a command has its result.
        with contextlib.redirect_stdout(sys.stderr):
            return build()
    except Exception as error:  # Keras' error has no class of its own; all others pass
        failure = _FETCH_FAILURE.match(str(error)) if type(error) is Exception else None
        if failure is None:
            raise
        url, reason = failure["url"], failure["reason"].removeprefix("None -- ")
        raise WeightsError(
            f"The ImageNet weights of {name} could not be downloaded from {url} ({reason}). "
            "Three ways out: `--backbone EfficientNetLite0`, whose weights are installed with "
            "kerastl and need no download; `--weights FILE`, with the file that you downloaded "
            "from that address elsewhere; `--weights none`, which trains from random weights "
            "(poor with few images)."
        ) from None


def load_backbone_weights(backbone: keras.Model, path: str | os.PathLike[str]) -> None:
    """Load a file's weights into a backbone, in place: all of them, or none and an error.

    A classification top in the file is left out. No pickle and no code of the file is run.

    Args:
        backbone: A built model.
        path: One of
            `.weights.h5`, as `model.save_weights` of Keras 3 writes;
            `.h5`, as Keras 1 and 2 wrote, weights or whole models, such as the files of
            `keras.applications` (with a top, layers are found by their names);
            `.keras`, the backbone, or a classifier that holds it as a layer, or one whose
            layers have the backbone's names.

    Raises:
        WeightsError: The file is missing, of another kind or damaged, or it holds other
            weights than the backbone's. The backbone is as it was.

    Example:
        >>> import tempfile
        >>> def build():
        ...     return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> trained, fresh = build(), build()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained.save_weights(f"{folder}/trained.weights.h5")
        ...     load_backbone_weights(fresh, f"{folder}/trained.weights.h5")
        >>> bool((fresh.layers[0].kernel.numpy() == trained.layers[0].kernel.numpy()).all())
        True
    """
    path = Path(path)
    load = _loader(path)
    if not backbone.weights:
        raise WeightsError(
            f"The backbone {backbone.name!r} has no weights to load {str(path)!r} into. "
            "Build it first: call it once on images."
        )
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in backbone.weights]
    complete = False
    try:
        _mark(backbone)
        load(backbone, path)
        _check_marks(backbone, path)
        complete = True
    except WeightsError:
        raise
    except _DAMAGED as error:
        raise WeightsError(
            f"The weights file {str(path)!r} is cut off or damaged ({_reason(error)}). The "
            "backbone was not changed. Download or save the file again."
        ) from None
    except _UNFIT as error:
        raise _misfit(backbone, path, f"what Keras refuses ({_reason(error)})") from None
    finally:
        if not complete:
            for weight, value in zip(backbone.weights, before, strict=True):
                weight.assign(value)
        _finalise(backbone)
    logger.info("Loaded all %d weights of %s from %s.", len(before), backbone.name, path)


def _loader(path: Path) -> Callable[[keras.Model, Path], None]:
    """Return the function for this kind of file, once its suffix and first bytes are right."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise WeightsError(
            f"A weights file must end in {', '.join(SUFFIXES)}; received {str(path)!r}. Load it "
            "where it was made and save it again: model.save_weights('backbone.weights.h5')"
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"The weights file {str(path)!r} {what}. Pass the path of a file that ends in "
            f"{', '.join(SUFFIXES)}, or use --weights imagenet."
        )
    try:
        right_kind = zipfile.is_zipfile(path) if suffix == ".keras" else h5py.is_hdf5(path)
        with path.open("rb") as file:
            first_bytes = file.read(24)
    except OSError as error:
        raise WeightsError(f"The weights file {str(path)!r} cannot be read ({error}).") from None
    if not right_kind:
        kind = "a .keras archive" if suffix == ".keras" else "an HDF5 file"
        raise WeightsError(
            f"The weights file {str(path)!r} is not {kind}, or is cut off: expected its kind by "
            f"its name, received a file that begins with {first_bytes!r}. If that is text, a web "
            "page or a Git LFS pointer was saved in its place. Download it again."
        )
    loaders = {".weights.h5": _load_weights, ".h5": _load_legacy, ".keras": _load_model}
    return loaders[suffix]


def _load_weights(backbone: keras.Model, path: Path) -> None:
    """Load a `.weights.h5` file of Keras 3."""
    with h5py.File(path) as file:
        if _legacy_group(file) is not None:
            raise WeightsError(
                f"The weights file {str(path)!r} has the layout of Keras 1 and 2, which Keras 3 "
                f"reads by another name. Rename it to {path.name.removesuffix('.weights.h5')}.h5"
            )
        received: list[Shape] = []

        def visit(name: str, item: Any) -> None:
            parts = name.split("/")
            # A compiled model saves its optimizer's moments too, shaped like the weights.
            if isinstance(item, h5py.Dataset) and "vars" in parts and parts[0] != "optimizer":
                received.append(tuple(item.shape))

        file.visititems(visit)
    expected = Counter(_shapes(backbone))
    missing = expected - Counter(received)
    if missing:
        raise _misfit(
            backbone,
            path,
            f"{len(received)}, and none for {missing.total()} of the expected, such as one of "
            f"shape {next(iter(missing))}",
        )
    _check_left_over(backbone, path, (Counter(received) - expected).elements())
    with warnings.catch_warnings():
        # Keras warns that it may leave weights out; whether it did is checked afterwards.
        warnings.filterwarnings("ignore", message="Skipping nested container")
        backbone.load_weights(str(path))


def _load_legacy(backbone: keras.Model, path: Path) -> None:
    """Load a `.h5` file of Keras 1 or 2: by order as Keras does, or by name if it has a top."""
    with h5py.File(path) as file:
        group = _legacy_group(file)
        if group is None:
            raise WeightsError(
                f"The weights file {str(path)!r} has no list of layers, as files of Keras 1 and 2 "
                f"have. If Keras 3 wrote it, rename it to {path.name.removesuffix('.h5')}"
                ".weights.h5"
            )
        saved = {name: _saved_shapes(group, name) for name in _names(group, "layer_names")}
    saved = {name: shapes for name, shapes in saved.items() if shapes}
    expected = {layer.name: _shapes(layer) for layer in backbone.layers if layer.weights}
    if len(saved) == len(expected):
        backbone.load_weights(str(path))
        return
    missing = [name for name in expected if name not in saved]
    if missing:
        raise _misfit(
            backbone,
            path,
            f"{len(saved)} layers with weights ({', '.join(list(saved)[:3])}, ...) instead of "
            f"{len(expected)}, and none of the name {missing[0]!r}",
        )
    others = [shape for name, shapes in saved.items() if name not in expected for shape in shapes]
    _check_left_over(backbone, path, others)
    backbone.load_weights(str(path), by_name=True)


def _load_model(backbone: keras.Model, path: Path) -> None:
    """Load from a whole model in a `.keras` file, without its code."""
    try:
        whole = keras.saving.load_model(path, compile=False, safe_mode=True)
    except _UNFIT as error:
        raise WeightsError(
            f"Keras does not open the model in {str(path)!r} ({_reason(error)}). Code in files, "
            "such as Lambda layers, is never run here, and layers must be Keras' own or "
            "registered. Open it where it was made and save the backbone's weights alone: "
            "backbone.save_weights('backbone.weights.h5')"
        ) from None
    models = list(_models(whole))
    for model in models:
        if _shapes(model) == _shapes(backbone):
            for weight, value in zip(backbone.weights, model.weights, strict=True):
                weight.assign(value)
            return
    expected = {layer.name: layer for layer in backbone.layers if layer.weights}
    for model in models:
        received = {layer.name: layer for layer in model.layers if layer.weights}
        if all(
            name in received and _shapes(received[name]) == _shapes(layer)
            for name, layer in expected.items()
        ):
            others = [layer for name, layer in received.items() if name not in expected]
            _check_left_over(backbone, path, (s for layer in others for s in _shapes(layer)))
            for name, layer in expected.items():
                layer.set_weights(received[name].get_weights())
            return
    found = ", ".join(
        f"{model.name!r} with {len(model.weights)} weights ({model.count_params():,} numbers)"
        for model in models
    )
    raise _misfit(backbone, path, f"no model of these shapes (only {found or 'no model at all'})")


def _models(whole: Any) -> Iterator[keras.Model]:
    """Yield a model and the models among its layers, outermost first."""
    if isinstance(whole, keras.Model):
        yield whole
        for layer in whole.layers:
            yield from _models(layer)


def _mark(backbone: keras.Model) -> None:
    """Set all weights to NaN, so that one that is not loaded shows."""
    for weight in backbone.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(np.full(weight.shape, np.nan))


def _check_marks(backbone: keras.Model, path: Path) -> None:
    """Refuse weights that are still NaN."""
    left = [
        weight.path
        for weight in backbone.weights
        if keras.backend.is_float_dtype(weight.dtype)
        and np.isnan(keras.ops.convert_to_numpy(weight)).any()
    ]
    if left:
        raise _misfit(
            backbone,
            path,
            f"none, or numbers that are NaN, for {len(left)} of them, such as {left[0]!r}",
        )


def _check_left_over(backbone: keras.Model, path: Path, shapes: Iterable[Shape]) -> None:
    """Refuse a file with more than a top besides the backbone: it is of a larger network.

    Tops are vectors, matrices and convolutions of 1x1 (MobileNet); every stage of a
    convolutional network has larger kernels.
    """
    left_over = list(shapes)
    larger = [shape for shape in left_over if len(shape) > 2 and shape[:-2] != (1, 1)]
    if larger:
        raise _misfit(
            backbone,
            path,
            f"{len(left_over)} more than these, such as a kernel of shape {larger[0]}: the file "
            "is of a larger network",
        )
    if left_over:
        logger.info("Left out %d weights of %s: a top.", len(left_over), path)


def _misfit(backbone: keras.Model, path: Path, received: str) -> WeightsError:
    """Return the error for a file of another architecture."""
    return WeightsError(
        f"The weights file {str(path)!r} does not fit the backbone {backbone.name!r}: expected "
        f"{len(backbone.weights)} weights ({backbone.count_params():,} numbers), received "
        f"{received}. The backbone was not changed. Pass weights of this architecture (from "
        "keras.applications: the ..._notop.h5 or ..._no_top.h5 file), or name the file's own "
        "architecture with --backbone. Out of a classifier, save the part alone: "
        "model.get_layer(NAME).save_weights('backbone.weights.h5')"
    )


def _finalise(backbone: keras.Model) -> None:
    """Let normalisation layers compute anew what they derive from their weights."""
    for model in _models(backbone):
        for layer in model.layers:
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()


def _shapes(layer: keras.Layer) -> list[Shape]:
    """Return the shapes of a layer's or model's weights."""
    return [tuple(weight.shape) for weight in layer.weights]


def _legacy_group(file: h5py.File) -> h5py.Group | None:
    """Return the group of a Keras 1 or 2 file that lists the layers, if it has one."""
    for group in (file, file.get("model_weights")):
        if group is not None and _names(group, "layer_names"):
            return group
    return None


def _saved_shapes(group: h5py.Group, layer_name: str) -> list[Shape]:
    """Return the shapes of a layer's weights in a Keras 1 or 2 file."""
    layer = group[layer_name]
    return [tuple(layer[name].shape) for name in _names(layer, "weight_names")]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras cuts long ones into NAME0, NAME1, ... (HDF5's limit)."""
    if attribute in group.attrs:
        pieces = [group.attrs[attribute]]
    else:
        pieces = []
        while f"{attribute}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{attribute}{len(pieces)}"])
    return [
        name.decode() if isinstance(name, bytes) else str(name)
        for piece in pieces
        for name in piece
    ]


def _reason(error: BaseException) -> str:
    """Return the beginning of an error's message in one line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 240, placeholder=" ...")
