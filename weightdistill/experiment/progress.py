"""Runs a training, or a workflow of several, and shows how far it is.

    python -m weightdistill.experiment.progress --folder DIR -- snakemake ...     all trainings below DIR

A training's line says epoch, updates, loss and the time that is left. On a terminal the lines are live; elsewhere they
are printed now and then. Trainings that run one by one tell the workflow by a small file, `progress.json`, each.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from weightdistill.errors import DistillationError, reported
from weightdistill.experiment.training_log import records
from weightdistill.experiment.units import duration
from weightdistill.files import write_json

POLL_SECONDS = 1.0
"""Time between two looks at a log, or at the trainings of a workflow."""
PRINT_SECONDS = 30.0
"""Time between two lines on what is no terminal."""
STALE_SECONDS = 15.0
"""A `progress.json` that is older belongs to a training that was killed."""
LAST_LINES = 15
"""Lines of the log that say why a training failed."""


@dataclass(frozen=True)
class State:
    """How far a training is.

    Attributes:
        done: Share of the training, within [0, 1].
        epoch: Current epoch, from 1.
        updates: Updates done.
        loss: Latest training loss, as fairseq writes it.
        seconds_left: Estimate; None where there is none yet.
        max_updates: Updates after which the training ends; 0 where only its epochs are limited.
    """

    done: float
    epoch: int
    updates: int
    loss: str
    seconds_left: float | None
    max_updates: int = 0

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        updates = f"{self.updates}/{self.max_updates}" if self.max_updates else str(self.updates)
        return f"{100 * self.done:.0f}%, epoch {self.epoch}, update {updates}, loss {self.loss}{left}"


class TrainingMonitor:
    """Follows the log of one training.

    Args:
        log: File that the training appends its output to.
        command: Its command line, whose --max-update and --max-epoch say when it ends.
    """

    def __init__(self, log: Path, command: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--max-update", type=int, default=0)
        parser.add_argument("--max-epoch", type=int, default=0)
        limits, _ = parser.parse_known_args(list(command))
        self._max_update, self._max_epoch = limits.max_update, limits.max_epoch
        self._log = log.open(encoding="utf-8", errors="replace")
        self._log.seek(0, 2)  # what an earlier run wrote is no progress of this one
        self._rest = ""
        self._begin = time.monotonic()
        self._first_done: float | None = None

    def poll(self) -> State | None:
        """Read what is new; the latest state, or None where nothing is new."""
        *lines, self._rest = (self._rest + self._log.read()).split("\n")
        state = None
        for name, numbers in records(lines):
            if name == "train_inner":
                state = self._state(numbers)
        return state

    def _state(self, numbers: dict[str, Any]) -> State:
        updates, epochs = int(numbers["num_updates"]), float(numbers["update"])
        shares = [updates / self._max_update] if self._max_update else []
        shares += [epochs / self._max_epoch] if self._max_epoch else []
        done = min(1.0, max(shares, default=0.0))
        if self._first_done is None:
            self._first_done, self._begin = done, time.monotonic()
        gained = done - self._first_done
        left = (time.monotonic() - self._begin) * (1 - done) / gained if gained > 0 else None
        return State(done, int(numbers["epoch"]), updates, str(numbers["loss"]), left, self._max_update)


class Display:
    """Lines of trainings: live on a terminal, printed now and then elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(20),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._printed: dict[str, float] = {}

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def print(self, line: str) -> None:
        """Print a line above the live ones."""
        self._console.print(line)

    def show(self, states: dict[str, State]) -> None:
        """Show these trainings, and no others."""
        for name in [name for name in self._tasks if name not in states]:
            self._bars.remove_task(self._tasks.pop(name))
        for name, state in states.items():
            if not self._console.is_terminal:
                if time.monotonic() - self._printed.get(name, 0.0) >= PRINT_SECONDS:
                    self._printed[name] = time.monotonic()
                    self.print(f"  {name}: {state}")
                continue
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=1.0, state=str(state))
            self._bars.update(self._tasks[name], completed=state.done, state=str(state))


@dataclass(frozen=True)
class Finished:
    """How a training ended.

    Attributes:
        code: Exit code as a shell has it: 128 and more where a signal ended the training.
        last_lines: End of its output.
    """

    code: int
    last_lines: list[str]


def run_training(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run one training with its output in a log, and show its progress.

    Args:
        command: Command line of fairseq-train.
        log: File to which the output is added.
        environment: Variables; default: those of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.parent / "progress.json"
    begin = log.stat().st_size if log.exists() else 0
    # The lock that the caller holds on the folder passes on to the training, which may outlive this process.
    with log.open("ab") as output, Display() as display:
        monitor = TrainingMonitor(log, command)
        process = subprocess.Popen(
            list(command), stdout=output, stderr=subprocess.STDOUT, close_fds=False, env=environment
        )
        state = None
        for _ in _while_running(process):
            news = monitor.poll()
            state = news or state
            if state is not None:
                display.show({log.parent.name: state})
                # On a broken disk, the training itself says so.
                with contextlib.suppress(DistillationError, OSError):
                    write_json(file, asdict(state)) if news else file.touch()
    with contextlib.suppress(OSError):
        file.unlink()
    with log.open(encoding="utf-8", errors="replace") as text:
        text.seek(begin)
        return Finished(_shell_code(process.returncode), [line.rstrip("\n") for line in deque(text, LAST_LINES)])


def run_workflow(command: Sequence[str], folder: Path) -> int:
    """Run a workflow whose trainings lie below `folder`, print its output, and show their progress; its exit code."""
    with Display() as display:
        process = subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=False)

        def print_output() -> None:
            for line in process.stdout or ():
                display.print(line.decode(errors="replace").rstrip("\n"))

        reader = threading.Thread(target=print_output)
        reader.start()
        for _ in _while_running(process):
            display.show(dict(_states(folder)))
        display.show({})
        reader.join()
    return _shell_code(process.returncode)


def _shell_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _states(folder: Path) -> Iterator[tuple[str, State]]:
    """What the running trainings say, by folder."""
    for file in sorted([*folder.glob("*/progress.json"), *folder.glob("*/*/progress.json")]):
        try:
            if time.time() - file.stat().st_mtime < STALE_SECONDS:
                yield str(file.parent.relative_to(folder)), State(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # the training has just ended, or another version runs it
            continue


def _while_running(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Yield now and then until the process ends, and once after that. An interrupt is left to the process."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while process.poll() is None:
            yield
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder below which the trainings lie")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command, after --")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("name a command after --")
    sys.exit(run_workflow(command, options.folder))


if __name__ == "__main__":
    with reported("progress"):
        main()
