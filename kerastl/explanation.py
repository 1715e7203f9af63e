"""Images explained by a finished run: pictures of the evidence, files and a page."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerastl._version import __version__
from kerastl.data.preparation import prepare_pixels
from kerastl.data.wording import counted
from kerastl.deploy.runs import FinishedRun
from kerastl.errors import ConfigError, DataError, UnreadableImageError, did_you_mean
from kerastl.evaluation.explanation_page import ExplanationPage, render_explanation
from kerastl.evaluation.explanation_pictures import (
    evidence_figure,
    feature_maps_figure,
    filters_figure,
    layer_title,
    preferred_figure,
    strongest_channels,
)
from kerastl.evaluation.figures import file_data_uri, save_figure
from kerastl.evaluation.report import Picture
from kerastl.interpretation.attribution import grad_cam, occlusion
from kerastl.interpretation.filters import first_filters
from kerastl.interpretation.layer_maps import MapLayer, find_layer, map_layers, maps_of
from kerastl.interpretation.preferred_pictures import preferred_pictures
from kerastl.models.classifier import parts_of
from kerastl.progress import Advance, track
from kerastl.run_folder import FolderKind

PAGE = "explanation.html"
EXPLANATION_FOLDER = FolderKind("folder of an explanation", "explanations", (PAGE,))
# Squares along each side of an image that are covered in turn.
PLACES = 10
# Images whose pieces are covered before the progress is told.
_AT_ONCE = 4
# Rows of feature maps on the page.
_MOST_LAYERS = 6
_MOST_CHANNELS = 8
_CLIMBED_STEPS = 128
# Names of answers below each image.
_MOST_ANSWERS = 3


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    Attributes:
        class_name: Evidence for this class; None for each image's own answer.
        layer: Whose maps Grad-CAM weights; None for the last one.
        layers: Whose feature maps are shown; none for some from the input to the top.
        preferred: Whether to climb to the pictures that their strongest channels answer to most.
    """

    class_name: str | None = None
    layer: str | None = None
    layers: tuple[str, ...] = ()
    preferred: bool = False


def write_explanation(
    folder: Path, run: FinishedRun, files: Sequence[Path], question: Question, *, command: str
) -> list[str]:
    """Write a page and its pictures.

    Args:
        folder: Where to write; it exists and is empty.
        run: The run that answers.
        files: Images.
        question: What is to be explained.
        command: What was typed, for the page.

    Returns:
        What was left out, in sentences.

    Raises:
        ConfigError: There is no such class or layer.
        DataError: No image can be read.
    """
    wanted = _class_number(run, question.class_name)
    backbone = parts_of(run.model).backbone
    top = find_layer(backbone, question.layer)
    layers = _layers(backbone, question.layers)
    names, pixels, notes = _read(run, files)
    with track("Explaining", total=len(names)) as advance:
        found = _evidence(run, np.stack(pixels), wanted, top, advance)
    images = []
    for number, (name, one) in enumerate(zip(names, found, strict=True), start=1):
        stem = re.sub(r"[^\w.-]+", "-", Path(name).stem)[:60]
        (png,) = save_figure(one.figure, folder / f"{number:03d}-{stem}", ["png"])
        images.append(_picture(run, name, one, source=file_data_uri(png)))
    page = ExplanationPage(
        title=f"{run.path.resolve().name}: {counted(len(names))}",
        created=datetime.datetime.now(datetime.UTC),
        version=__version__,
        command=command,
        subject="the answer" if question.class_name is None else repr(question.class_name),
        layer=top.name,
        places=PLACES,
        images=images,
        layers=_layer_pictures(
            folder, run, names[0], pixels[0], layers, preferred=question.preferred
        ),
        first=names[0],
        notes=notes,
    )
    (folder / PAGE).write_text(render_explanation(page), encoding="utf-8")
    return notes


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What was found about one image.

    Attributes:
        about: Number of the class.
        answer: float32 of shape (num_classes,): probabilities.
        strongest: By how much the log-odds fall at most when a square is covered.
        figure: The image, and the evidence over it.
    """

    about: int
    answer: NDArray[np.float32]
    strongest: float
    figure: Figure


def _evidence(
    run: FinishedRun,
    images: NDArray[np.uint8],
    wanted: int | None,
    top: MapLayer,
    advance: Advance,
) -> list[_Evidence]:
    """Return where the evidence for a class is in each image."""
    answers = run.model.predict(images.astype(np.float32), batch_size=8, verbose=0)
    about = answers.argmax(axis=1) if wanted is None else np.full(len(images), wanted)
    weighted = grad_cam(run.model, images, about.tolist(), layer=top.name)
    found = []
    for start in range(0, len(images), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        covered = occlusion(run.model, images[rows], about[rows].tolist(), places=PLACES)
        advance(len(covered))
        for row, one in enumerate(covered, start=start):
            panels = {
                f"Grad-CAM, {top.shape[0]} x {top.shape[1]} places": weighted[row],
                f"Covering {PLACES} x {PLACES} squares": one,
            }
            strongest = float(one.ravel()[np.abs(one).argmax()])
            figure = evidence_figure(images[row], panels)
            found.append(_Evidence(int(about[row]), answers[row], strongest, figure))
    return found


def _picture(run: FinishedRun, name: str, found: _Evidence, *, source: str) -> Picture:
    """Return the picture of one image for the page."""
    best = np.argsort(-found.answer)[:_MOST_ANSWERS]
    answers = ", ".join(f"{run.class_names[index]} {found.answer[index]:.1%}" for index in best)
    about = run.class_names[found.about]
    against = " (against it)" if found.strongest < 0 else ""
    return Picture(
        name,
        source,
        alt=f"Where the evidence for {about} is in {name}.",
        caption=f"{answers}. Evidence for {about}: the strongest square changes its log-odds by "
        f"{abs(found.strongest):.2f} nats{against}.",
    )


def _layer_pictures(
    folder: Path,
    run: FinishedRun,
    name: str,
    image: NDArray[np.uint8],
    layers: Sequence[MapLayer],
    *,
    preferred: bool,
) -> list[Picture]:
    """Return feature maps of an image and the first filters, files of their own too."""
    found = maps_of(run.model, image[None], [layer.name for layer in layers])
    titles = {
        layer.name: layer_title(
            layer.name,
            layer.shape,
            receptive_field=layer.receptive_field,
            image_pixels=max(image.shape[:2]),
        )
        for layer in layers
    }
    figure = feature_maps_figure(
        {titles[one]: maps[0] for one, maps in found.items()}, num_channels=_MOST_CHANNELS
    )
    (png,) = save_figure(figure, folder / "feature_maps", ["png"])
    pictures = [
        Picture(
            "Feature maps",
            file_data_uri(png),
            alt=f"The strongest feature maps of some layers for {name}.",
            caption="What a place can see is a bound: most of the influence comes from its middle "
            "(Luo et al. 2016).",
        )
    ]
    if preferred:
        strongest = {
            one: strongest_channels(maps[0])[:_MOST_CHANNELS] for one, maps in found.items()
        }
        pictures.append(_preferred_picture(folder, run, strongest, titles))
    return [*pictures, *_filter_pictures(folder, run)]


def _preferred_picture(
    folder: Path,
    run: FinishedRun,
    channels: Mapping[str, Sequence[int]],
    titles: Mapping[str, str],
) -> Picture:
    """Return the pictures that channels answer to most, by layer; a file of its own too."""
    climbed = {}
    with track("Climbing to pictures", total=_CLIMBED_STEPS * len(channels)) as advance:
        for layer, wanted in channels.items():
            found = preferred_pictures(run.model, layer, wanted, steps=_CLIMBED_STEPS, tell=advance)
            climbed[titles[layer]] = wanted, found.pictures
    figure = preferred_figure(climbed, num_columns=_MOST_CHANNELS)
    (png,) = save_figure(figure, folder / "preferred_pictures", ["png"])
    return Picture(
        "What these channels answer to most",
        file_data_uri(png),
        alt="For the strongest channels of some layers the picture that each answers to most.",
        caption="The same channels as above. Found by climbing from noise, with no image of yours "
        "(Olah et al. 2017): edges and textures at first, parts of things later. A network "
        "without trained weights shows noise here.",
    )


def _filter_pictures(folder: Path, run: FinishedRun) -> list[Picture]:
    """Return the first filters; none of a network that sees no colours first."""
    try:
        layer, filters = first_filters(run.model)
    except ConfigError:
        return []
    (png,) = save_figure(filters_figure(filters), folder / "filters", ["png"])
    height, width = filters.shape[1:3]
    return [
        Picture(
            f"The first filters: {layer}",
            file_data_uri(png),
            alt=f"The {len(filters)} filters of {layer} as pictures.",
            caption=f"{len(filters)} of {height} x {width} pixels, each scaled by its largest "
            "weight; mid-grey is no weight.",
        )
    ]


def _layers(backbone: keras.Model, names: Sequence[str]) -> list[MapLayer]:
    """Return the layers that are named, or the last of each size of maps."""
    if names:
        return [find_layer(backbone, name) for name in names]
    layers = map_layers(backbone)
    last_of_size = {layer.shape[:2]: layer for layer in layers if layer.shape[2] > 3}
    chosen = [*last_of_size.values()]
    wide = [layer for layer in chosen if max(layer.shape[:2]) > 1] or chosen
    return wide[-_MOST_LAYERS:]


def _class_number(run: FinishedRun, name: str | None) -> int | None:
    """Return the number of a class."""
    if name is None or name in run.class_names:
        return None if name is None else run.class_names.index(name)
    raise ConfigError(
        f"`class_name` must be a class of the run: {', '.join(run.class_names[:10])}; received "
        f"{name!r}.{did_you_mean(name, run.class_names)}"
    )


def _read(
    run: FinishedRun, files: Sequence[Path]
) -> tuple[list[str], list[NDArray[np.uint8]], list[str]]:
    """Return names and pixels of the images that can be read, and why others cannot."""
    names, pixels, notes = [], [], []
    for file in files:
        try:
            image = prepare_pixels(
                file.read_bytes(), image_size=run.image_size, resize_mode=run.resize_mode
            )
        except UnreadableImageError as error:
            notes.append(f"{file}: {error.reason}")
        except OSError as error:
            notes.append(f"{file}: {error.strerror or error}")
        else:
            names.append(str(file))
            pixels.append(np.asarray(image, np.uint8))
    if not names:
        raise DataError(f"None of the images can be read. {notes[0]}")
    return names, pixels, notes
