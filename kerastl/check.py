"""`python -m kerastl.check DATA`: look at images, labels and split before anything is learnt."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.config import choices_of_options
from kerastl.data_options import DataOptions, data_words
from kerastl.domains import AUTO
from kerastl.errors import ConfigError, DataError, did_you_mean
from kerastl.run_folder import CHECK, choose_run_folder, default_folder, new_run_folder, publish

if TYPE_CHECKING:
    from kerastl.inspection import Inspection

_HELP = """Look at images, labels and split before anything is learnt.

Copies, files that cannot be read, classes that colour or size give away, and splits that tear
apart what belongs together. Nothing is moved or changed; the page says what to type next."""
_EXAMPLES = (
    "python -m kerastl.check photos/",
    "python -m kerastl.check table.csv --group-column patient --quick --strict",
    "python -m kerastl.check demo:solar --show-augmentation mirrors",
)

_CHECK = Group("Check", sort_key=2)
_OUTPUT = Group("Output", sort_key=4)

EXIT_FINDINGS = 1

# Findings on a terminal; two lines each, so that all of it is 20 lines.
_MOST_FINDINGS = 7

# Files that a line names.
_MOST_NAMED = 3


def check(
    options: DataOptions,
    *,
    out: Annotated[str | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="")] = False,
    quick: Annotated[bool, Parameter(group=_CHECK, negative="")] = False,
    strict: Annotated[bool, Parameter(group=_CHECK, negative="")] = False,
    json_output: Annotated[bool, Parameter(name="--json", group=_OUTPUT, negative="")] = False,
    show_augmentation: Annotated[
        str | None, Parameter(group=_OUTPUT, negative="", show_default=False)
    ] = None,
    as_tfds: Annotated[Path | None, Parameter(group=_OUTPUT, negative="")] = None,
) -> int:
    """Check one data set.

    Args:
        options: Which images, and how they are divided.
        out: Folder to make. Default: checks/NAME, then checks/NAME-2 and so on.
        overwrite: Replace an existing check folder, once the new one is complete.
        quick: Compare pixels only, not the features of a network: seconds, not minutes.
        strict: Exit with 1 if there is an error or a warning.
        json_output: Print the findings as JSON, and nothing else, to standard output.
        show_augmentation: Show on the page what this policy of `fit --augment` does to images.
        as_tfds: Also write the images as a TFDS data set into this folder.
    """
    check_policy(show_augmentation)
    terminal.import_tensorflow_quietly()
    from kerastl.check_folder import CHECK_FOLDER, keep_together, write_check
    from kerastl.inspection import inspect_data
    from kerastl.plan import read_table

    command = command_of(
        options,
        quick=quick,
        show_augmentation=show_augmentation,
        out=out,
        overwrite=overwrite,
        as_tfds=as_tfds,
    )
    with terminal.progress_on_stderr():
        if out is not None:  # before the images are looked for, which may take minutes
            choose_run_folder(out, name="", overwrite=overwrite, kind=CHECK_FOLDER)
        table = read_table(options)
        if as_tfds is not None:
            from kerastl.data.tfds_writer import tfds_folder

            tfds_folder(table, as_tfds)
        folder = choose_run_folder(out, name=table.name, overwrite=overwrite, kind=CHECK_FOLDER)
        with new_run_folder(folder, kind=CHECK_FOLDER) as partial:
            inspection = inspect_data(
                options,
                table=table,
                features=not quick,
                keep_together=keep_together(folder, table, data=data_words(options)),
                directory=partial,
            )
            write_check(partial, inspection, command=command, augmentation=show_augmentation)
            folder = publish(partial, folder, overwrite=overwrite, kind=CHECK_FOLDER)
        usual = default_folder(table.name, kind=CHECK_FOLDER)
        older = usual if out is None and folder != usual else None
        lines = summary_lines(inspection, folder, older=older)
        if as_tfds is not None:
            lines += tfds_lines(inspection, as_tfds, folder=folder)
    if json_output:
        sys.stdout.write((folder / CHECK).read_text(encoding="utf-8"))
        sys.stderr.write(f"{lines[-1]}\n")
    else:
        terminal.print_lines(lines)
    serious = any(finding.severity != "note" for finding in inspection.audit.findings)
    return EXIT_FINDINGS if strict and serious else 0


def check_policy(name: str | None) -> None:
    """Refuse an augmentation policy that does not exist, before any work is done.

    Args:
        name: What the user typed; None for no sheet.

    Raises:
        ConfigError: There is no such policy.
    """
    policies = [name for name in choices_of_options()["augment"] if name != AUTO]
    if name is not None and name not in policies:
        raise ConfigError(
            f"`show_augmentation` must be one of {', '.join(policies)}; received "
            f"show_augmentation={name!r}.{did_you_mean(name, policies)}"
        )


def command_of(
    options: DataOptions,
    *,
    quick: bool,
    show_augmentation: str | None,
    out: str | None = None,
    overwrite: bool = False,
    as_tfds: Path | None = None,
) -> str:
    """Return what to type for the same check.

    Args:
        options: Which images, and how they are divided.
        quick: Whether only pixels were compared.
        show_augmentation: Policy on the page, if any.
        out: Folder that was asked for, if any.
        overwrite: Whether it was to be replaced.
        as_tfds: Where a TFDS data set was asked for, if anywhere.

    Example:
        >>> command_of(DataOptions("my photos", seed=3), quick=True, show_augmentation=None)
        "python -m kerastl.check 'my photos' --seed 3 --quick"
    """
    words = ["python -m kerastl.check", data_words(options)]
    words += ["--quick"] if quick else []
    words += [f"--show-augmentation {show_augmentation}"] if show_augmentation else []
    words += [f"--out {shlex.quote(out)}"] if out is not None else []
    words += ["--overwrite"] if overwrite else []
    words += [f"--as-tfds {shlex.quote(str(as_tfds))}"] if as_tfds is not None else []
    return " ".join(words)


def tfds_lines(inspection: Inspection, directory: Path, *, folder: Path) -> list[str]:
    """Write the readable images as a TFDS data set, divided as they were checked.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
        directory: Where TFDS data sets are, or will be.
        folder: Where the check is.

    Returns:
        Lines for a terminal: where it was written, what to type, and what was left out.

    Raises:
        DataError: The images cannot be divided, or TFDS cannot take them.
    """
    from kerastl.check_page import PAGE
    from kerastl.data.sources import subset
    from kerastl.data.tfds_writer import write_tfds
    from kerastl.data.wording import counted
    from kerastl.findings import one_line

    complete = f"The check itself is complete: {folder / PAGE}"

    if inspection.splits is None:
        raise DataError(
            f"No TFDS data set was written: {inspection.audit.findings[0].why} {complete}"
        )
    rows = inspection.splits != ""
    table = subset(inspection.table, rows)
    try:
        path = write_tfds(table, inspection.splits[rows], directory, name=table.name)
    except DataError as error:
        raise DataError(f"{error} {complete}") from error
    words = shlex.join([f"tfds:{path.parent.name}", "--data-dir", str(directory)])
    lines = [f"TFDS data set: {path}. Type: python -m kerastl.fit {words}"]
    faults = inspection.audit.unreadable
    if faults:
        named = ", ".join(one_line(fault.id) for fault in faults[:_MOST_NAMED])
        more = len(faults) - _MOST_NAMED
        named += f" and {more:,} more (see {folder / PAGE})" if more > 0 else ""
        lines.append(f"It lacks {counted(len(faults), 'file')} that cannot be read: {named}")
    return lines


def summary_lines(inspection: Inspection, folder: Path, *, older: Path | None = None) -> list[str]:
    """Return what a terminal shows, at most 19 lines.

    Args:
        inspection: From `kerastl.inspection.inspect_data`.
        folder: Where the check folder is now.
        older: Folder of another check that has the usual name, if this one has a number.
    """
    from kerastl.check_page import PAGE
    from kerastl.data.wording import counted
    from kerastl.evaluation.check_report import size_text, verdict
    from kerastl.findings import one_line

    audit = inspection.audit
    totals = {split: sum(counts) for split, counts in audit.counts.items()}
    divided = ", ".join(f"{total:,} {split}" for split, total in totals.items())
    if inspection.table.multi_label:
        divided += " (labels)"
    if audit.unreadable and inspection.splits is not None:
        divided += f", {len(audit.unreadable):,} unreadable"
    classes = counted(len(audit.class_names), "class", "classes")
    lines = [f"{audit.name}: {counted(audit.num_images)}, {classes}: {divided}."]
    formats = ", ".join(f"{name} {count:,}" for name, count in audit.formats.items())
    known = [text for text in (formats, size_text(audit.sizes)) if text]
    lines += [f"{'; '.join(known)}."] if known else []
    lines.append(f"{verdict(finding.severity for finding in audit.findings)}.")
    for finding in audit.findings[:_MOST_FINDINGS]:
        lines.append(f"{finding.severity:<8} {one_line(finding.title)}")
        lines.append(f"         -> {one_line(finding.advice)}")
    more = len(audit.findings) - _MOST_FINDINGS
    lines += [f"{more} more on the page."] if more > 0 else []
    beside = f" ({older} is an older check; --overwrite would replace it)" if older else ""
    lines.append(f"Took {inspection.seconds:.0f} s. Open {folder / PAGE}{beside}")
    return lines


def build_app() -> App:
    """Return the command."""
    app = terminal.new_app("check", help_text=_HELP, usage="DATA [OPTIONS]", examples=_EXAMPLES)
    app.default(check)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
