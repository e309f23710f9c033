"""Runs a training, or a workflow of several, and shows how far it is.

    python -m weightdistill.experiment.progress --log FILE -- fairseq-train ...   one training; its output goes to FILE
    python -m weightdistill.experiment.progress --folder DIR -- snakemake ...     all trainings below DIR

A training's line says epoch, updates, loss and the time that is left. On a terminal the lines are live; elsewhere they
are printed now and then. Trainings that run one by one tell the workflow by a small file, `progress.json`, each.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

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
"""Lines of the log that are shown where a training fails."""


@dataclass(frozen=True)
class State:
    """How far a training is.

    Attributes:
        done: Share of the training, within [0, 1].
        epoch: Current epoch, from 1.
        updates: Updates done.
        loss: Latest training loss, as fairseq writes it.
        seconds_left: Estimate; None where there is none yet.
    """

    done: float
    epoch: int
    updates: int
    loss: str
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{100 * self.done:.0f}%, epoch {self.epoch}, update {self.updates}, loss {self.loss}{left}"


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
        return State(done, int(numbers["epoch"]), updates, str(numbers["loss"]), left)


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


def run_training(command: Sequence[str], log: Path) -> int:
    """Run one training with its output in `log`, and show its progress; its exit code.

    Where it fails, the end of its log is printed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.parent / "progress.json"
    begin = log.stat().st_size if log.exists() else 0
    # The lock that the calling script holds on the folder passes on to the training, which may outlive this process.
    with log.open("ab") as output, Display() as display:
        monitor = TrainingMonitor(log, command)
        process = subprocess.Popen(list(command), stdout=output, stderr=subprocess.STDOUT, close_fds=False)
        state = None
        for _ in _while_running(process):
            if news := monitor.poll():
                state = news
                write_json(file, asdict(state))
            elif state is not None:
                file.touch()  # still running
            if state is not None:
                display.show({log.parent.name: state})
    file.unlink(missing_ok=True)
    if process.returncode:
        with log.open(encoding="utf-8", errors="replace") as text:
            text.seek(begin)
            lines = text.read().splitlines()
        print(*lines[-LAST_LINES:], f"the training failed; its whole output is in {log}", sep="\n", file=sys.stderr)
    return process.returncode


def run_workflow(command: Sequence[str], folder: Path) -> int:
    """Run a workflow whose trainings lie below `folder`; print its output, and show their progress; its exit code."""
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
    return process.returncode


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
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--log", type=Path, help="file that receives the output of one training")
    place.add_argument("--folder", type=Path, help="folder below which the trainings of a workflow lie")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command, after --")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("name a command after --")
    code = run_training(command, options.log) if options.log else run_workflow(command, options.folder)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
