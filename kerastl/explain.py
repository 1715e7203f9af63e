"""`python -m kerastl.explain RUN IMAGES…`: where the evidence is, and what the layers see."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError
from kerastl.run_folder import choose_run_folder, new_run_folder, publish

if TYPE_CHECKING:
    from kerastl.explanation import Question

_HELP = """Show where in images the evidence for an answer is, and what the network sees.

Grad-CAM and, beside it, covering the image piece by piece; the strongest feature maps of some
layers for the first image, with how much of the image they see; the first filters. A page, and
PNGs."""
_EXAMPLES = (
    "python -m kerastl.explain runs/photos new/1.jpg new/2.jpg",
    "python -m kerastl.explain runs/photos wrong/ --class-name cat --most 24",
    "python -m kerastl.explain runs/photos a.jpg --layers block1_conv1 block3_conv3 block5_conv3",
)

EXIT_SOME_UNREADABLE = 1


def explain(
    run: Path,
    /,
    *images: Annotated[str, Parameter(required=True)],
    class_name: str | None = None,
    layer: str | None = None,
    layers: Annotated[list[str], Parameter(negative="", consume_multiple=True)] | None = None,
    preferred: Annotated[bool, Parameter(negative="")] = False,
    most: int = 12,
    out: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Explain images.

    Args:
        run: The run folder.
        images: Images, folders (searched to the bottom) and glob patterns.
        class_name: Evidence for this class. Default: each image's own answer.
        layer: Layer whose maps Grad-CAM weights. Default: the last one.
        layers: Layers whose feature maps are shown. Default: the last of each size.
        preferred: Also climb to the pictures that the strongest channels of these layers answer to
            most: some minutes.
        most: Images at most; each is asked about 100 times.
        out: Folder to make. Default: explanations/NAME, then explanations/NAME-2 and so on.
        overwrite: Replace an existing folder of an explanation, once the new one is complete.
    """
    if most < 1:
        raise ConfigError(f"`most` must be 1 or more; received most={most}.")
    files = find_images(images)
    terminal.import_tensorflow_quietly()
    from kerastl.deploy.runs import load_run
    from kerastl.explanation import (
        EXPLANATION_FOLDER,
        PAGE,
        Question,
        write_explanation,
    )
    from kerastl.recorded_answers import is_run_folder

    if not is_run_folder(run):
        raise ConfigError(
            f"{str(run)!r} is no run folder. A SavedModel cannot be taken apart: give the run that "
            "it was exported from."
        )
    question = Question(class_name, layer, tuple(layers or ()), preferred)
    with terminal.progress_on_stderr():
        name = run.resolve().name
        folder = choose_run_folder(out, name=name, overwrite=overwrite, kind=EXPLANATION_FOLDER)
        finished = load_run(run)
        with new_run_folder(folder, kind=EXPLANATION_FOLDER) as partial:
            command = command_of(run, images, question_words(question, most))
            notes = write_explanation(partial, finished, files[:most], question, command=command)
            folder = publish(partial, folder, overwrite=overwrite, kind=EXPLANATION_FOLDER)
    for note in notes:
        sys.stderr.write(f"{note}\n")
    lines = [f"{len(files) - most} more images were found; --most {len(files)} takes them too."]
    lines = [*(lines if len(files) > most else []), f"Open {folder / PAGE}"]
    terminal.print_lines(lines)
    return EXIT_SOME_UNREADABLE if notes else 0


def question_words(question: Question, most: int) -> list[str]:
    """Return the options of an explanation as words of a command line.

    Args:
        question: What is asked.
        most: Images at most.

    Example:
        >>> from kerastl.explanation import Question
        >>> question_words(Question("cat", layers=("a", "b"), preferred=True), 12)
        ['--class-name', 'cat', '--layers', 'a', 'b', '--preferred']
    """
    words = ["--class-name", question.class_name] if question.class_name is not None else []
    words += ["--layer", question.layer] if question.layer is not None else []
    words += ["--layers", *question.layers] if question.layers else []
    words += ["--preferred"] if question.preferred else []
    words += ["--most", str(most)] if most != 12 else []
    return words


def command_of(run: Path, images: Sequence[str], options: Sequence[str]) -> str:
    """Return what to type for the same explanation.

    Args:
        run: The run folder.
        images: As typed.
        options: As words.

    Example:
        >>> command_of(Path("runs/a"), ["my cat.jpg"], [])
        "python -m kerastl.explain runs/a 'my cat.jpg'"
    """
    return f"python -m kerastl.explain {shlex.join([str(run), *images, *options])}"


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "explain", help_text=_HELP, usage="RUN IMAGES… [OPTIONS]", examples=_EXAMPLES
    )
    app.default(explain)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
