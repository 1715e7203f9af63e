"""`python -m kerastl.compare DATA`: which backbone for these images?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.comparing.options import CompareOptions
from kerastl.run_folder import choose_run_folder, new_run_folder, publish

if TYPE_CHECKING:
    from kerastl.comparing.result import Comparison

_HELP = """Find the backbone that suits these images, before anything is trained.

Each candidate's features go to a cross-validated probe: accuracy with its interval, LogME, the time
that one image takes on this machine, size. A paired test says which differences are real. The test
split stays unread. All features are stored: a second call and the next fit need not compute them
again."""
_EXAMPLES = (
    "python -m kerastl.compare photos/",
    "python -m kerastl.compare photos/ --backbones EfficientNetLite0@224,EfficientNetLite0@300",
    "python -m kerastl.compare photos/ --backbones all --max-latency-ms 30 --max-minutes 20",
)

_OUTPUT = Group("Output", sort_key=4)


def compare(
    options: CompareOptions,
    *,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    json_output: Annotated[bool, Parameter(name="--json", group=_OUTPUT, negative="")] = False,
) -> None:
    """Compare backbones.

    Args:
        options: Which, on which images, within what.
        out: Folder to make. Default: comparisons/NAME, then comparisons/NAME-2 and so on.
        overwrite: Replace an existing comparison folder, once the new one is complete.
        json_output: Print the numbers as JSON, and nothing else, to standard output.
    """
    terminal.import_tensorflow_quietly()
    from kerastl.comparing.measurement import compare_backbones
    from kerastl.comparing.page import COMPARISON_FOLDER, PAGE, VALUES, write_comparison
    from kerastl.comparing.words import summary_lines
    from kerastl.plan import read_table

    with terminal.progress_on_stderr():
        if out is not None:  # before the images are looked for, which may take minutes
            choose_run_folder(out, name="", overwrite=overwrite, kind=COMPARISON_FOLDER)
        table = read_table(options)
        folder = choose_run_folder(
            out, name=table.name, overwrite=overwrite, kind=COMPARISON_FOLDER
        )
        with new_run_folder(folder, kind=COMPARISON_FOLDER) as partial:
            comparison = compare_backbones(options, table=table, directory=partial)
            write_comparison(partial, comparison)
            folder = publish(partial, folder, overwrite=overwrite, kind=COMPARISON_FOLDER)
    lines = summary_lines(comparison, folder / PAGE)
    if json_output:
        sys.stdout.write((folder / VALUES).read_text(encoding="utf-8"))
        sys.stderr.write(f"{lines[-1]}\n")
        return
    _print_table(comparison)
    terminal.print_lines(lines)


def _print_table(comparison: Comparison) -> None:
    """Print one line for each network that was measured, best first."""
    from rich.console import Console
    from rich.table import Table

    from kerastl.comparing.words import HEADER, candidate_cells

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(HEADER):
        table.add_column(title, justify="right" if number else "left")
    for one in comparison.ranked_results:
        table.add_row(*candidate_cells(one))
    width = None if sys.stdout.isatty() else 100
    Console(markup=False, highlight=False, width=width).print(table)


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app("compare", help_text=_HELP, usage="DATA [OPTIONS]", examples=_EXAMPLES)
    app.default(compare)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
