"""The command line in a pseudo-terminal, as a user sees it."""

import contextlib
import multiprocessing
import os
import pty
import select
import signal
import sys
import termios
import time
from pathlib import Path

PASTE = "\x1b[200~{}\x1b[201~"
"""How a terminal marks a paste, if the program has asked for it."""

_TIMEOUT = 60.0
_context = multiprocessing.get_context("forkserver")  # its processes need not import LangChain
_context.set_forkserver_preload(["langchain_aimlernie._cli.commands"])


@contextlib.contextmanager
def _measured(data_file):
    """Measure the coverage of this process, if that of the tests is measured."""
    if data_file is None:
        yield
        return
    import coverage

    coverage = coverage.Coverage(
        data_file, data_suffix=True, branch=True, source=["langchain_aimlernie"]
    )
    coverage.start()
    try:
        yield
    finally:
        coverage.stop()
        coverage.save()


def _data_file():
    current = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    return current and current.get_option("run:data_file")


def _run(name, arguments, environment, *, stdout, command, data_file):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    os.setsid()
    terminal = os.open(name, os.O_RDWR)  # a session's first terminal becomes its controlling one
    output = terminal if stdout is None else os.open(stdout, os.O_WRONLY | os.O_CREAT)
    for number, source in enumerate((terminal, output, terminal)):
        os.dup2(source, number)
    os.environ.update(environment)
    if command:
        os.execv(command[0], command)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    from langchain_aimlernie.__main__ import main

    with _measured(data_file):
        code = main(arguments)
    sys.exit(code)


class Terminal:
    """Runs the command line in a process with a controlling terminal of its own.

    Args:
        arguments: The arguments.
        stdout: Path of a file for its standard output instead of the terminal.
        command: A command to run instead.
        environment: Further environment variables.
    """

    def __init__(self, *arguments, stdout=None, command=None, **environment):
        self.fd, self._terminal = pty.openpty()
        self._before = termios.tcgetattr(self._terminal)
        self._output = ""
        environment = {"TERM": "xterm", "INPUTRC": os.devnull, "PS1": "$ ", **environment}
        name = os.ttyname(self._terminal)
        self.process = _context.Process(
            target=_run,
            args=(name, arguments, environment),
            kwargs={"stdout": stdout, "command": command, "data_file": _data_file()},
        )
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        os.close(self.fd)
        os.close(self._terminal)

    @property
    def is_restored(self):
        """Whether the terminal has the attributes that it had at first."""
        return termios.tcgetattr(self._terminal) == self._before

    def send(self, text):
        """Type or paste a text."""
        os.write(self.fd, text.encode())

    def read_until(self, text):
        """Return the output up to the end of `text`, which is waited for."""
        deadline = time.monotonic() + _TIMEOUT
        while text not in self._output:
            assert self._read(deadline), f"{text!r} did not come; got {self._output!r}"
        before, found, self._output = self._output.partition(text)
        return before + found

    def wait_until_idle(self):
        """Wait until the command waits for a key.

        A signal that comes just before Python's readline waits is handled with the next key.
        """
        while self._is_idle() is False:
            time.sleep(0.01)

    def _is_idle(self):
        """Whether the process, or the one that it waits for, sleeps; None where /proc is not."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            stat = Path(f"/proc/{children[-1] if children else pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "S"
        return None

    def repeat_until(self, action, text):
        """Repeat an action each second until `text` comes; return the output up to its end."""
        while text not in self._output:
            action()
            end = time.monotonic() + 1
            while text not in self._output and self._read(end):
                pass
        return self.read_until(text)

    def read_to_end(self):
        """Return the rest of the output, and the exit code."""
        deadline = time.monotonic() + _TIMEOUT
        while self._read(deadline, self.process.sentinel):
            pass
        self.process.join(_TIMEOUT)
        output, self._output = self._output, ""
        return output, self.process.exitcode

    def _read(self, deadline, *others):
        """Read what has come; return whether anything has."""
        wait = max(0, deadline - time.monotonic())
        readable = select.select([self.fd, *others], [], [], wait)[0]
        if self.fd in readable:
            with contextlib.suppress(OSError):
                self._output += os.read(self.fd, 65536).decode()
        return self.fd in readable
