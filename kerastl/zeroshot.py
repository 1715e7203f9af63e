"""`python -m kerastl.zeroshot IMAGES… --labels "cat,dog"`: label images without any training."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.answer_rows import AnswerRows, write_answers
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError
from kerastl.zero_shot.labels import (
    Label,
    labels_from_file,
    labels_from_text,
    labels_of_classes,
    require_several,
)
from kerastl.zero_shot.presets import DEFAULT_PRESET, SOFTMAX, require_packages
from kerastl.zero_shot.prompts import TEMPLATES, check_templates

if TYPE_CHECKING:
    from kerastl.data.sources import ImageTable

_HELP = """Label images with words alone: CLIP or SigLIP, by KerasHub, without any training.

Good on everyday photos, weak on satellite, medical and industrial images: OpenAI's B/32 has 90 % of
CIFAR-10 right, 50 % of EuroSAT's 10 kinds of land and 62 % of PCam's 2 of tissue (open_clip's
table). With labelled images measure it (--labelled), or train: python -m kerastl.fit. Weights are
downloaded once, 0.6 GB. A table on a terminal, JSON lines in a pipe. Needs pip install
'kerastl[zeroshot]'."""
_EXAMPLES = (
    'python -m kerastl.zeroshot new/ --labels "cat,dog,something else" --top 3',
    "python -m kerastl.zeroshot photos/ --labelled --preset siglip_base_patch16_224",
    'python -m kerastl.zeroshot a.jpg --labels-file labels.txt --template "a sketch of a {}."',
)

_LABELS = Group("Labels", sort_key=1)
_DATA = Group("Data", sort_key=2)
EXIT_SOME_UNREADABLE = 1


def zeroshot(
    *images: Annotated[str, Parameter(required=True)],
    labels: Annotated[str | None, Parameter(group=_LABELS)] = None,
    labels_file: Annotated[Path | None, Parameter(group=_LABELS)] = None,
    template: Annotated[list[str] | None, Parameter(group=_LABELS, negative="")] = None,
    preset: str = DEFAULT_PRESET,
    top: int = 1,
    output_format: Annotated[
        Literal["auto", "table", "jsonl", "csv"], Parameter(name="--format")
    ] = "auto",
    labelled: Annotated[bool, Parameter(group=_DATA, negative="")] = False,
    data_dir: Annotated[str | None, Parameter(group=_DATA)] = None,
    path_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    label_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    split_column: Annotated[str | None, Parameter(group=_DATA)] = None,
    group_column: Annotated[str | None, Parameter(group=_DATA)] = None,
) -> int:
    """Label images, or measure how well that goes.

    Args:
        images: Images, folders (searched to the bottom) and glob patterns; with --labelled one
            source of labelled images, as fit takes it.
        labels: What to choose from: "cat,dog", or "n01=tabby cat,n02=dog" where answers and
            prompts differ.
        labels_file: The same, one a line; commas are then part of a label.
        template: Sentence with {} where the label goes. Given more than once, the mean of all.
            Default: a photo of a {}., and the same of a big and of a small one.
        preset: A network of KerasHub by name, kaggle://…, hf://…, or the folder of one.
        top: How many labels for each image, best first.
        output_format: auto is a table on a terminal and JSON lines in a pipe; with --labelled it
            is lines for people, and jsonl one object with all measures.
        labelled: Say how often the answer is right. Labels are the classes, if none are given.
        data_dir: Where relative paths of a CSV or JSONL file start, or where TFDS keeps its data.
        path_column: Column of the table with the image paths.
        label_column: Column of the table with the labels.
        split_column: Column of the table with train, val or test; test is asked alone.
        group_column: Column of the table with what is not independent: patient, module, scene.
    """
    templates = check_templates(TEMPLATES if template is None else template)
    chosen = _labels(labels, labels_file, labelled=labelled)
    columns = {
        "data_dir": data_dir,
        "path_column": path_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_column": group_column,
    }
    _check(images, columns, top=top, output_format=output_format, labelled=labelled)
    if Path(preset).name.startswith("clip"):  # or after its weights were downloaded
        require_several(chosen)
    require_packages()
    if labelled:
        from kerastl.data.sources import load_table

        terminal.import_tensorflow_quietly()
        table = load_table(images[0], to_learn=False, **columns)
        chosen = chosen or labels_of_classes(table.class_names)
        _measure(
            table, chosen, templates, preset=preset, data=images[0], output_format=output_format
        )
        return 0
    files = find_images(images)
    terminal.import_tensorflow_quietly()
    return _answer(files, chosen, templates, preset=preset, top=top, output_format=output_format)


def _labels(text: str | None, path: Path | None, *, labelled: bool) -> tuple[Label, ...]:
    """Return the labels that were given; none where the images' own classes are meant."""
    if text is not None and path is not None:
        raise ConfigError("Give --labels or --labels-file; received both.")
    if text is not None:
        return labels_from_text(text)
    if path is not None:
        return labels_from_file(path)
    if labelled:
        return ()
    raise ConfigError(
        'Say what to choose from: --labels "cat,dog", or --labels-file with one label a line; '
        "received neither."
    )


def _check(
    images: Sequence[str],
    columns: Mapping[str, str | None],
    *,
    top: int,
    output_format: str,
    labelled: bool,
) -> None:
    """Refuse options that cannot work."""
    if top < 1:
        raise ConfigError(f"`top` must be 1 or more; received top={top}.")
    given = next((name for name, value in columns.items() if value is not None), None)
    if given is not None and not labelled:
        raise ConfigError(f"--{given.replace('_', '-')} is about labelled images: add --labelled.")
    if labelled and len(images) > 1:
        raise ConfigError(
            f"With --labelled name one source of images; received {images[0]!r} and {images[1]!r}."
        )
    if labelled and output_format == "csv":
        raise ConfigError(
            "--format csv is for single images, and --labelled measures all together. Write "
            "--format jsonl, or leave --labelled out."
        )


def _answer(
    files: Sequence[Path],
    labels: Sequence[Label],
    templates: Sequence[str],
    *,
    preset: str,
    top: int,
    output_format: str,
) -> int:
    """Print the labels of images."""
    from kerastl.zero_shot.answers import SCORE_WORDS, zero_shot_predictor
    from kerastl.zero_shot.two_towers import load_towers

    towers = load_towers(preset)
    predictor = zero_shot_predictor(towers, labels, templates=templates)
    kind = towers.score_kind
    rows = AnswerRows(predictor, files, top=top, also={"score_kind": kind})
    write_answers(rows, output_format=output_format)
    sys.stderr.write(
        f"{SCORE_WORDS[kind]} Zero-shot is weak on satellite, medical and industrial images; "
        "to learn from labelled ones type: python -m kerastl.fit FOLDER\n"
    )
    return EXIT_SOME_UNREADABLE if rows.num_unreadable else 0


def _measure(
    table: ImageTable,
    labels: Sequence[Label],
    templates: Sequence[str],
    *,
    preset: str,
    data: str,
    output_format: str,
) -> None:
    """Print how often the answers to labelled images are right."""
    from kerastl.zero_shot.answers import zero_shot_predictor
    from kerastl.zero_shot.measures import measure_lines, measure_zero_shot, require_labels_for
    from kerastl.zero_shot.two_towers import load_towers

    require_labels_for(table, labels)
    with terminal.progress_on_stderr():
        towers = load_towers(preset)
        # Shares, also where the network was trained for others: the best label is the same.
        predictor = zero_shot_predictor(towers, labels, templates=templates, score_kind=SOFTMAX)
        measures = measure_zero_shot(predictor, table)
    advice = f"A model that learns from them: python -m kerastl.fit {shlex.quote(data)}"
    if output_format == "jsonl":
        about = {"name": table.name, "preset": preset, "templates": list(templates)}
        terminal.print_lines([json.dumps({**about, **measures.to_dict()}, ensure_ascii=False)])
        sys.stderr.write(f"{advice}\n")
        return
    terminal.print_lines(
        [
            *measure_lines(measures, name=table.name),
            f"Network: {preset}; prompts: {' / '.join(templates)}",
            "Zero-shot is weak on satellite, medical and industrial images, and learnt nothing "
            f"from these. {advice}",
        ]
    )


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "zeroshot", help_text=_HELP, usage="IMAGES… [OPTIONS]", examples=_EXAMPLES
    )
    app.default(zeroshot)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
