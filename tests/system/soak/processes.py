"""Starts commands in process groups of their own, waits for them, and kills them.

A command of Python runs in a fork of this process, which has imported torch and fairseq already: importing them takes
longer than most of what is tested here. Knows nothing about what the commands do.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

_POLL = 0.005
STILL_RUNNING = -1000
"""In place of an exit code."""


@dataclass
class Running:
    """A command that was started; its process group has its process id."""

    pid: int
    code: int = STILL_RUNNING

    def wait(self, seconds: float) -> int:
        """Wait so long for the end; the exit code, negative for a signal, or STILL_RUNNING."""
        deadline = time.monotonic() + seconds
        while self.code == STILL_RUNNING:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                break
            else:
                time.sleep(_POLL)
        return self.code

    def kill(self) -> None:
        """Kill all processes of the group, and wait until none is left."""
        while True:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                if self.wait(0) != STILL_RUNNING:
                    return
            self.wait(0)
            time.sleep(_POLL)


def start(command: Sequence[str], output: Path, environment: Mapping[str, str], *, forked: bool) -> Running:
    """Start a command.

    Args:
        command: its name and arguments; forked ones are a script of an installed package, or `python -m MODULE`.
        output: file to which both of its outputs are added.
        environment: variables beside those of this process.
        forked: whether it runs in a fork.
    """
    variables = {**os.environ, **environment}
    if not forked:
        with output.open("ab") as file:
            process = subprocess.Popen(
                list(command), env=variables, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
            )
        process.returncode = 0  # the object must not wait: this module does
        return Running(process.pid)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _become(command, output, variables)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # also done by the child; whoever comes first
    return Running(pid)


def _become(command: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
    """Run a command of Python in this process, and end it as the interpreter would."""
    code = 70
    try:
        os.setpgid(0, 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(file, descriptor)
        os.environ.clear()
        os.environ.update(environment)
        try:
            if command[:2] == ["python", "-m"]:
                sys.argv = list(command[2:])
                runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            else:
                sys.argv = list(command)
                (script,) = entry_points(group="console_scripts", name=command[0])
                sys.exit(script.load()())
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        else:
            code = 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
