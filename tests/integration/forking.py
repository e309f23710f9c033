"""Runs commands in forks of one process that has imported torch and fairseq already; importing them takes seconds.

A fork has memory, working folder and exit code of its own, as a real process has. It imports the project itself.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [f"fairseq_cli.{command}" for command in ("train", "generate", "interactive", "validate", "preprocess")]
)


def run_forked(arguments: Sequence[str], environment: Mapping[str, str], files: Path, folder: Path | None) -> int:
    """Run a command of an installed package to its end.

    Args:
        arguments: its name and arguments.
        environment: its variables.
        files: a folder with its standard input in `input`, which receives both of its outputs in `output`.
        folder: where it runs.

    Returns:
        The exit code.
    """
    process = _CONTEXT.Process(target=_run, args=(list(arguments), dict(environment), files, folder or Path.cwd()))
    process.start()
    try:
        process.join()
    finally:
        process.kill()  # where the test ran into its time limit; otherwise the process has ended
        process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _run(arguments: list[str], environment: dict[str, str], files: Path, folder: Path) -> None:
    sys.stdin = (files / "input").open(encoding="utf-8")
    output = os.open(files / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    multiprocessing.set_start_method(None, force=True)  # the platform's, for worker processes of the command
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv = arguments
    (entry_point,) = entry_points(group="console_scripts", name=arguments[0])
    try:
        sys.exit(entry_point.load()())
    except Exception:
        sys.excepthook(*sys.exc_info())  # as in a process that was not forked
        sys.exit(1)
