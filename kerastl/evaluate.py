"""`python -m kerastl.evaluate MODELS… [DATA]`: how good models are, and which is better."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.data.image_files import find_images
from kerastl.deploy.export_formats import newest_export
from kerastl.errors import ConfigError
from kerastl.evaluation.measure_words import measure_words, too_sure_words
from kerastl.run_folder import LABELS, REPORT, choose_run_folder, new_run_folder, publish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kerastl.assessment import Assessment

_HELP = """Measure finished models, on new images or on the test images that they recorded.

MODELS are run folders or exports. With DATA, a source of images as fit takes it, all models
are asked about these images, but for those that a run was trained on or chosen by. Without, two
runs or more are compared on the test images that they have in common."""
_EXAMPLES = (
    "python -m kerastl.evaluate runs/photos new/",
    "python -m kerastl.evaluate runs/photos saved_models/photos table.csv --group-column patient",
    "python -m kerastl.evaluate runs/photos runs/photos-2",
)

_DATA = Group("Data", sort_key=1)
_OUTPUT = Group("Output", sort_key=4)


def evaluate(
    *paths: Annotated[str, Parameter(required=True)],
    data_dir: Annotated[str | None, Parameter(group=_DATA)] = None,
    path_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    label_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    label_separator: Annotated[str | None, Parameter(group=_DATA)] = None,
    split_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    group_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    group_by: Annotated[str | None, Parameter(group=_DATA)] = None,
    unknown: Annotated[
        list[str] | None, Parameter(group=_DATA, negative="", consume_multiple=True)
    ] = None,
    all_images: Annotated[bool, Parameter(group=_DATA, negative="")] = False,
    seed: int = 0,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
) -> None:
    """Measure models.

    Args:
        paths: Run folders or exports, then the images, if they are not the runs' own.
        data_dir: Where relative paths of a CSV or JSONL file start, or where TFDS keeps its data.
        path_column: Column of the table with the image paths.
        label_column: Column of the table with the labels.
        label_separator: Several labels per image: what stands between them.
        split_column: Column of the table with train, val or test; test is asked alone.
        group_column: Column of the table with what is not independent: patient, module, scene.
            Intervals are then over whole groups.
        group_by: Column of the table with what to tell apart: camera, place, age. The page says for
            whom the first model is worst, and whether by more than chance.
        unknown: Pictures, folders or patterns of something else, of none of the classes: how well
            the first model's doubt tells them.
        all_images: Ask about all images, also those that a run was trained on or chosen by.
        seed: Of the resamples behind the intervals.
        out: Folder to make. Default: evaluations/NAME, then evaluations/NAME-2 and so on.
        overwrite: Replace an existing folder of an evaluation, once the new one is complete.
    """
    columns = {
        "data_dir": data_dir,
        "path_column": path_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "split_column": split_column,
        "group_column": group_column,
    }
    asked = {**columns, "group_by": group_by, "unknown": unknown or None}
    models, data = split_paths(paths)
    given = {name: value for name, value in asked.items() if value is not None}
    if data is None and (given or all_images):
        name = next(iter(given), "all_images")
        raise ConfigError(
            f"--{name.replace('_', '-')} is about images, and none are named after the models. "
            "Name a folder or a table of images last."
        )
    terminal.import_tensorflow_quietly()
    from kerastl.assessment import assess_images, assess_recorded
    from kerastl.assessment_page import EVALUATION_FOLDER, write_assessment
    from kerastl.data.sources import load_table

    with terminal.progress_on_stderr():
        if data is None:
            folder = _folder(out, "-and-".join(path.name for path in models), overwrite)
            assessment = assess_recorded(models, seed=seed)
        else:
            table = load_table(data, to_learn=False, **columns)
            folder = _folder(out, f"{models[0].name}-on-{table.name}", overwrite)
            groups = None if group_by is None else (group_by, _groups(data, group_by, columns))
            assessment = assess_images(
                models,
                table,
                group_by=groups,
                unknown=find_images(unknown) if unknown else (),
                all_images=all_images,
                seed=seed,
            )
        with new_run_folder(folder, kind=EVALUATION_FOLDER) as partial:
            command = command_of(paths, given, all_images=all_images, seed=seed)
            write_assessment(partial, assessment, command=command)
            folder = publish(partial, folder, overwrite=overwrite, kind=EVALUATION_FOLDER)
    terminal.print_lines(summary_lines(assessment, folder))


def _groups(data: str, column: str, columns: Mapping[str, str | None]) -> NDArray[np.str_]:
    """Return what each image has in a column."""
    from kerastl.data.sources import load_table

    try:
        table = load_table(data, to_learn=False, **{**columns, "group_column": column})
    except ConfigError as error:  # it speaks of the option that reads such a column elsewhere
        raise ConfigError(str(error).replace("group_column", "group_by")) from None
    assert table.groups is not None  # there is such a column
    return table.groups


def _folder(out: str | None, name: str, overwrite: bool) -> Path:
    """Return where the evaluation goes."""
    from kerastl.assessment_page import EVALUATION_FOLDER

    return choose_run_folder(out, name=name, overwrite=overwrite, kind=EVALUATION_FOLDER)


def split_paths(paths: Sequence[str]) -> tuple[list[Path], str | None]:
    """Return the models that a user names, and the images after them, if any.

    Args:
        paths: As typed.

    Raises:
        ConfigError: What comes first is no model, or there is one model and nothing else.
    """
    models = [path for path in paths if is_model(Path(path))]
    others = [path for path in paths if path not in models]
    if not models or list(paths[: len(models)]) != models:
        first = next((path for path in paths if path not in models), "")
        raise ConfigError(
            f"The models come first; {first!r} is no run folder and no export. Type for "
            f"example: python -m kerastl.evaluate runs/photos {shlex.quote(first or 'photos/')}"
        )
    if len(others) > 1:
        raise ConfigError(
            f"Name images once, after the models; received {others[0]!r} and {others[1]!r}."
        )
    if not others and len(models) == 1:
        raise ConfigError(
            f"Name images after {models[0]!r} to measure it on, or a second run to compare it "
            f"with. Type for example: python -m kerastl.evaluate {shlex.quote(models[0])} photos/"
        )
    return [Path(path) for path in models], others[0] if others else None


def is_model(path: Path) -> bool:
    """Whether a path is a run folder or an export.

    Args:
        path: Anything.
    """
    return (path / LABELS).is_file() or newest_export(path) is not None


def command_of(paths: Sequence[str], given: dict[str, Any], *, all_images: bool, seed: int) -> str:
    """Return what to type for the same evaluation.

    Args:
        paths: Models and images.
        given: Options of the data that were given.
        all_images: Whether all images were asked about.
        seed: Of the resamples.

    Example:
        >>> command_of(["runs/a", "my photos"], {"group_column": "scene"}, all_images=True, seed=0)
        "python -m kerastl.evaluate runs/a 'my photos' --group-column scene --all-images"
    """
    words = list(paths)
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    words += ["--all-images"] if all_images else []
    words += ["--seed", str(seed)] if seed else []
    return f"python -m kerastl.evaluate {shlex.join(words)}"


def summary_lines(assessment: Assessment, folder: Path) -> list[str]:
    """Return what a terminal shows.

    Args:
        assessment: What was found.
        folder: Where its files are now.
    """
    from kerastl.data.wording import counted

    first = next(iter(assessment.answered.values()))
    images = counted(len(first.ids))
    lines = [f"{images} of {assessment.name} {assessment.untouched}."]
    if assessment.unreadable:
        lines.append(f"{counted(len(assessment.unreadable))} could not be read: quarantine.csv.")
    lines += assessment.notes
    width = max(map(len, assessment.metrics))
    for name, metrics in assessment.metrics.items():
        lines.append(f"{name:<{width}}  {measure_words(metrics)}")
        if words := too_sure_words(metrics):
            lines.append(f"{'':<{width}}  {words}")
    if assessment.subgroups is not None:
        lines.append(assessment.subgroups.words)
    if assessment.unknown is not None:
        lines.append(assessment.unknown.words)
    reference = next(iter(assessment.models))
    for name, one in assessment.comparisons.items():
        gain = one.accuracy
        value, low, high = (100 * end for end in (gain.value, gain.low, gain.high))
        sure = "more than noise" if low > 0 or high < 0 else "within the noise"
        lines.append(
            f"Accuracy of {name} less that of {reference}: {value:+.1f} points "
            f"({low:+.1f} to {high:+.1f}), {sure}."
        )
    lines.append(f"Open {folder / REPORT}")
    return lines


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "evaluate", help_text=_HELP, usage="MODELS… [DATA] [OPTIONS]", examples=_EXAMPLES
    )
    app.default(evaluate)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
