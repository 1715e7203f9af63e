"""`python -m kerastl.add RUN --class NAME FILES…`: one class more for a finished probe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from kerastl import terminal
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError
from kerastl.run_folder import choose_run_folder

_HELP = """Add a class to a finished run whose kept model is the probe, in seconds.

The odds of the other classes against each other stay as they are, and the run folder too: the
larger model goes to a new one, which predict, evaluate, export and serve take like any other.
Run first: python -m kerastl.fit DATA --fine-tune-epochs 0"""
_EXAMPLES = (
    "python -m kerastl.add runs/pets --class ferret new/*.jpg",
    "python -m kerastl.add runs/pets --class ferret ferrets/ --out runs/pets-and-ferrets",
)


def add(
    run: Path,
    /,
    *files: Annotated[str, Parameter(required=True)],
    class_name: Annotated[str, Parameter(name="--class")],
    out: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Add a class.

    Args:
        run: The run folder.
        files: Images of the new class, folders of them and glob patterns; 5 to 50 are usual.
        class_name: What the new class is called.
        out: Run folder to make. Default: runs/RUN-NAME, then runs/RUN-NAME-2 and so on.
        overwrite: Replace another run folder, once the new one is complete.
    """
    name = " ".join(class_name.split())
    if not name or "|" in name:
        raise ConfigError(f"`class` must be a name without '|'; received class={class_name!r}.")
    images = find_images(files)
    if out is not None and Path(out).resolve() == run.resolve():
        raise ConfigError(
            f"{out!r} is the run that the class is added to, which is left as it is. Choose "
            "another --out."
        )
    folder = choose_run_folder(out, name=f"{run.resolve().name}-{name}", overwrite=overwrite)
    terminal.import_tensorflow_quietly()
    from kerastl.class_addition import add_class_to_run
    from kerastl.larger_run import addition_lines

    with terminal.progress_on_stderr():
        addition = add_class_to_run(run, images, class_name=name, out=folder, overwrite=overwrite)
    for path, reason in addition.unreadable:
        sys.stderr.write(f"Left out: {path}: {reason}\n")
    terminal.print_lines(
        [
            *addition_lines(addition, base=run),
            f"Took {addition.seconds:.1f} s. Try: python -m kerastl.predict {addition.path} IMAGES",
        ]
    )


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "add", help_text=_HELP, usage="RUN FILES… --class NAME [OPTIONS]", examples=_EXAMPLES
    )
    app.default(add)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
