"""`python -m kerastl.export RUN`: a SavedModel for TF Serving, proven to answer like the run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App

from kerastl import terminal

_HELP = """Write the SavedModel of a run folder and prove that it answers alike.

The new version is loaded in a fresh process without Keras and must answer the run's held-out
images as the model does; otherwise nothing is left under its name."""


def export(
    run: Path,
    /,
    *,
    export_dir: Path = Path("saved_models"),
    name: str | None = None,
    fold: bool = True,
) -> None:
    """Export one run folder.

    Args:
        run: The run folder.
        export_dir: Folder of the SavedModels: EXPORT_DIR/NAME/1, then 2 and so on.
        name: Name that TF Serving knows the model by. Default: that of the run folder.
        fold: Fold BatchNorm into the convolutions: the same answers but for rounding, faster.
    """
    terminal.import_tensorflow_quietly()
    from kerastl.deploy.runs import export_run

    with terminal.progress_on_stderr():
        result = export_run(run, export_dir=export_dir, name=name, fold=fold)
    terminal.print_lines(result.summary_lines)


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app(
        "export",
        help_text=_HELP,
        usage="RUN [OPTIONS]",
        examples=["python -m kerastl.export runs/photos"],
    )
    app.default(export)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
