"""Ctrl-C ends a command at once and with 130, whatever the code under it makes of it."""

import os
import signal
import sys
import threading

import pytest
from cyclopts import App

from kerastl import terminal
from kerastl.progress import track


def run(work, capsys):
    app = App(name="kerastl.test")
    app.default(work)
    with pytest.raises(SystemExit) as caught:
        terminal.run_app(app, [])
    return caught.value.code, capsys.readouterr().err


def test_an_error_that_an_interrupt_caused_is_the_interrupt(capsys):
    def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("bad argument to internal function") from None

    assert run(work, capsys) == (130, "\nInterrupted; nothing half-written was left.\n")


def test_an_interrupt_that_was_swallowed_is_raised_again(capsys):
    def work():
        with terminal.progress_on_stderr(), track("Training", total=100) as advance:
            for step in range(100):
                try:
                    if step == 3:
                        os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt:
                    pass
                assert step < 4
                advance(1)

    assert run(work, capsys)[0] == 130


class Fragile:
    """Like TensorFlow's functions: Ctrl-C may come while one is taken down."""

    def __init__(self, die):
        self.die = die

    def __del__(self):
        self.die()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_in_a_destructor_prints_no_traceback(capsys):
    def work():
        with terminal.progress_on_stderr(), track("Training", total=2) as advance:
            Fragile(interrupt)  # at once
            advance(1)

    code, err = run(work, capsys)
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_errors_in_a_destructor_are_reported(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda swallowed: seen.append(swallowed.exc_type))
    run(lambda: Fragile(lambda: {}["missing"]) and None, capsys)
    assert seen == [KeyError]
    assert sys.unraisablehook != sys.__unraisablehook__  # the one before is back


def test_errors_without_an_interrupt_keep_their_traceback():
    app = App(name="kerastl.test")
    app.default(lambda: {}["missing"])
    with pytest.raises(KeyError):
        terminal.run_app(app, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone(capsys):
    codes = []

    def work():
        with pytest.raises(SystemExit) as caught:
            terminal.run_app(App(name="kerastl.test", default_command=lambda: None), [])
        codes.append(caught.value.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [0]
