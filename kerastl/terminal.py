"""What all commands share: one line for each mistake, progress on stderr, exit codes."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Group

from kerastl.errors import KerasTLError
from kerastl.lean_import import import_keras
from kerastl.progress import Advance, listen

EXIT_USER_MISTAKE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def new_app(verb: str, *, help_text: str, usage: str, examples: Sequence[str]) -> App:
    """Return the command of a verb, its examples at the end of its help.

    Args:
        verb: Name of the module, such as "fit".
        help_text: What it does.
        usage: What follows its name on a command line.
        examples: Whole command lines.
    """
    lines = "\n".join(f"- {example}" for example in examples)
    return App(
        name=f"kerastl.{verb}",
        help=help_text,
        help_format="markdown",
        help_epilogue=f"Type for example:\n\n{lines}",
        usage=f"Usage: python -m kerastl.{verb} {usage}",
        version_flags=[],
        group_commands=Group("Help", sort_key=99),
        suppress_keyboard_interrupt=False,  # `run_app` says what Ctrl-C left
    )


def run_app(app: App, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its exit code.

    A mistake of the user's is one line on standard error and exit code 2; Ctrl-C is
    130; a closed pipe ends quietly; any other exception is a fault of ours and keeps
    its traceback.

    Args:
        app: The command.
        arguments: Words of the command line; those of this process when not given.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("kerastl").setLevel(logging.INFO)
    try:
        with _heeded_interrupts():
            code = app(
                arguments, exit_on_error=False, print_error=False, result_action="return_value"
            )
    except CycloptsError as error:
        root = error.__cause__
        fail(root if isinstance(root, KerasTLError) else _plain(error), app=app)
    except KerasTLError as error:
        fail(error, app=app)
    except KeyboardInterrupt as interrupt:
        words = str(interrupt) or "nothing half-written was left."
        sys.stderr.write(f"\nInterrupted; {words}\n")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); keep Python quiet at exit as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def run_built_app(
    verb: str, build_app: Callable[[Sequence[str]], App], arguments: Sequence[str] | None
) -> NoReturn:
    """Build a command that depends on its own words, `--config FILE`, and run it.

    Args:
        verb: Name of the module, such as "fit".
        build_app: From the words of the command line to the command.
        arguments: These words; those of this process when not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = build_app(words)
    except KerasTLError as error:
        fail(error, app=App(name=f"kerastl.{verb}"))
    run_app(app, words)


_interrupted = threading.Event()


@contextlib.contextmanager
def _heeded_interrupts() -> Iterator[None]:
    """See to it that Ctrl-C ends the block, whatever TensorFlow makes of it.

    Python raises KeyboardInterrupt wherever the main thread is. In the middle of tracing a
    graph that can come out as another error (SystemError from its internals), and in a
    destructor it is swallowed, with a traceback on the terminal. So it is remembered: other
    errors after it are of its making, the next step that reports progress raises it again,
    and nothing is printed of it meanwhile.
    """
    _interrupted.clear()

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        _interrupted.set()
        raise KeyboardInterrupt

    in_charge = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if in_charge and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    else:
        in_charge = False
    report = sys.unraisablehook
    sys.unraisablehook = lambda swallowed: (
        None if swallowed.exc_type is KeyboardInterrupt else report(swallowed)
    )
    try:
        yield
    except Exception as error:
        if _interrupted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = report
        if in_charge:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _raise_if_interrupted(_steps: int = 0) -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed and swallowed."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def fail(message: object, *, app: App) -> NoReturn:
    """Print one line for a mistake of the user's and exit with 2.

    Args:
        message: What happened, what was expected, what to do next.
        app: The command, for its name.
    """
    text = " ".join(str(message).split())
    sys.stderr.write(f"{' '.join(app.name)}: {text}\n")
    raise SystemExit(EXIT_USER_MISTAKE)


def _plain(error: CycloptsError) -> str:
    """Return the message of the option parser without its frame."""
    # The first word of a command line has a name of its own in its usage.
    text = str(error).replace("Parameter --data ", "DATA ")
    hint = "" if "Did you mean" in text else " Add --help to see all options."
    return text + hint


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output.

    Args:
        lines: Text without line ends.
    """
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without its start-up notes, which drown the answer of a command.

    `TF_CPP_MIN_LOG_LEVEL` silences its kernels, but the notes that are written while it is
    imported (TensorFlow 2.21: oneDNN, CUDA) heed no setting; so what native code writes to
    standard error during the import is held back. A failing import still raises.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import_keras()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[None]:
    """Show progress on standard error while the block runs: bars on a terminal, else lines."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    display: Progress | None = None

    @contextlib.contextmanager
    def bar(description: str, total: int) -> Iterator[Advance]:
        nonlocal display
        if not console.is_terminal:
            sys.stderr.write(f"{description} …\n")
            yield _raise_if_interrupted
            return
        columns: tuple[Any, ...] = (
            TextColumn("{task.description:<31}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        # Work within other work is one line more: a terminal has one display.
        outer, display = display, display or Progress(*columns, console=console)
        task = display.add_task(description, total=total)
        advance_task = functools.partial(display.advance, task)

        def advance(steps: int) -> None:
            _raise_if_interrupted()
            advance_task(steps)

        try:
            with contextlib.nullcontext() if outer else display:
                yield advance
        finally:
            if outer:  # what is done there is not piled up on the screen
                outer.remove_task(task)
            display = outer

    with listen(bar):
        yield
