"""The soak test: breaks every command that writes, 200 times, repeats the command, and compares what it made.

    python tests/system/soak/run.py --work DIR                     all trials that have not survived yet
    python tests/system/soak/run.py --work DIR --trial 17          one of them (may be repeated)
    python tests/system/soak/run.py --work DIR --kind kill         those of a kind
    python tests/system/soak/run.py --work DIR --report FOLDER     writes results.tsv and report.md there

Kinds: `kill` (SIGKILL of all processes of a command), `full` (the disk is full), `read-only` (the disk becomes so), and
`peer` (one of the two processes of a training is killed). A trial's number seeds all that is random in it. Full and
read-only disks need root on Linux.
"""

import argparse
import csv
import os
import platform
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from comparison import differences, half_written, tree
from faults import failing_disk, give_space, make_read_only, repair, small_disk
from processes import STILL_RUNNING, Running, start
from subjects import ENVIRONMENT, Inputs, Subject, phase1, subjects

from weightdistill.installation import versions

KINDS = ("kill", "full", "read-only", "peer")
PEERS = 12
"""Trials of a training in two processes."""
LIMIT = 600.0
"""Seconds after which a command hangs."""
PEER_LIMIT = 60.0
"""The same for a process whose peer was killed."""
REASONS = ("No space left", "Read-only file system", "disk not full", "Input/output error")
"""Words of which a line about a broken disk must have some."""


@dataclass(frozen=True)
class Trial:
    """What is broken, and how."""

    number: int
    kind: str
    subject: str


@dataclass(frozen=True)
class Result:
    """How a trial ended."""

    trial: int
    kind: str
    subject: str
    moments: str
    """When it was broken: seconds after the start, or bytes of the disk."""
    survived: str
    """`yes`, or `no`."""
    reason: str
    """What was wrong; empty if it survived."""
    seconds: float


class Failure(Exception):
    """A trial did not survive; says why."""


def plan(subjects_by_name: dict[str, Subject]) -> list[Trial]:
    """All trials, kinds and subjects mixed."""
    pairs = [
        (kind, subject.name)
        for subject in subjects_by_name.values()
        for kind, count in zip(KINDS, subject.trials, strict=False)
        for _ in range(count)
    ]
    pairs += [("peer", "fairseq-train phase 1 in two processes")] * PEERS
    random.Random(0).shuffle(pairs)
    return [Trial(number, kind, name) for number, (kind, name) in enumerate(pairs)]


class Soak:
    """Runs trials in a working folder, which holds inputs, unbroken runs and results.

    Args:
        work: the folder.
    """

    def __init__(self, work: Path) -> None:
        self._work = work.resolve()
        self._output = self._work / "output"
        self._log = self._work / "output.log"
        self._work.mkdir(parents=True, exist_ok=True)
        self.inputs = Inputs(self._work / "inputs")
        self.subjects = subjects(self.inputs)
        self.trials = plan(self.subjects)

    def run(self, trial: Trial) -> Result:
        """Run a trial, and record its result."""
        begin = time.monotonic()
        rng = random.Random(trial.number)
        moments: list[str] = []
        try:
            if trial.kind == "peer":
                self._peer(rng, moments)
            else:
                subject = self.subjects[trial.subject]
                unbroken, duration = self._unbroken(subject.name, lambda: self._whole(subject))
                self._clear()
                getattr(self, f"_{trial.kind.replace('-', '_')}")(subject, unbroken, duration, rng, moments)
            reason = ""
        except Failure as failure:
            reason = " ".join(str(failure).split())
        except Exception as error:  # a file that cannot be compared, say; the other trials go on
            reason = " ".join(repr(error).split())
        seconds = round(time.monotonic() - begin, 1)
        survived = "no" if reason else "yes"
        result = Result(trial.number, trial.kind, trial.subject, " ".join(moments), survived, reason, seconds)
        self._record(result)
        return result

    def results(self) -> dict[int, Result]:
        """The latest result of each trial."""
        path = self._work / "results.tsv"
        if not path.exists():
            return {}
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        kinds = {field.name: field.type for field in fields(Result)}
        parsed = (Result(**{name: kinds[name](value) for name, value in row.items()}) for row in rows)  # type: ignore
        return {result.trial: result for result in parsed}

    def _record(self, result: Result) -> None:
        path = self._work / "results.tsv"
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Result)], delimiter="\t", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(asdict(result))

    # ---- runs without a break

    def _unbroken(self, name: str, run: Callable[[], float]) -> tuple[Path, float]:
        """The files of a run without a break, and its seconds; made once."""
        folder = self._work / "unbroken" / name.replace(" ", "-")
        seconds = folder.with_name(f"{folder.name}.seconds")
        if not seconds.exists():
            self._clear()
            duration = run()
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self._output, folder, symlinks=True)
            seconds.write_text(str(duration), encoding="utf-8")
        return folder, float(seconds.read_text(encoding="utf-8"))

    def _whole(self, subject: Subject) -> float:
        subject.command(self._output)  # makes its inputs
        begin = time.monotonic()
        self._finish(subject)
        return time.monotonic() - begin

    # ---- kinds of trials

    def _kill(self, subject: Subject, unbroken: Path, duration: float, rng: random.Random, moments: list[str]) -> None:
        self._start_until(subject, rng, duration, moments).kill()
        if rng.random() < 1 / 3:  # the repetition, too, which may have less to do
            moment = rng.uniform(0, duration)
            running = self._start(subject)
            ended = running.wait(moment)
            running.kill()
            moments.append(f"{moment:.2f}s" if ended == STILL_RUNNING else "ended")
        self._finish(subject)
        self._compare(subject, unbroken)

    def _full(self, subject: Subject, unbroken: Path, duration: float, rng: random.Random, moments: list[str]) -> None:
        whole = sum(path.stat().st_size for path in tree(unbroken, ()).values())
        size = int(rng.uniform(0, 0.95) * whole) // 4096 * 4096 + 4096
        moments.append(f"{size}bytes")
        with small_disk(self._output, size):
            running = self._start(subject)
            code = running.wait(LIMIT)
            running.kill()  # what is left of a pipe, say
            self._fails(subject, code, unbroken)
            give_space(self._output)
            self._finish(subject)
            self._compare(subject, unbroken)

    def _read_only(
        self, subject: Subject, unbroken: Path, duration: float, rng: random.Random, moments: list[str]
    ) -> None:
        image = self._work / "disk.img"
        image.unlink(missing_ok=True)
        with failing_disk(self._output, image):
            running = self._start_until(subject, rng, duration, moments)
            make_read_only(self._output)
            code = running.wait(LIMIT)
            running.kill()
            if code:
                self._fails(subject, code, unbroken)
            repair(self._output, image)
            self._finish(subject)
            self._compare(subject, unbroken)

    def _peer(self, rng: random.Random, moments: list[str]) -> None:
        unbroken, duration = self._unbroken("two processes", self._two_whole)
        killed, other, rank = self._two_until(rng, duration, moments)
        killed.kill()
        code = other.wait(PEER_LIMIT)
        if code == STILL_RUNNING:
            other.kill()
            raise Failure(f"the other process still runs {PEER_LIMIT:.0f} s after its peer was killed")
        if code == 0 and rank == 0:  # which writes the checkpoints
            raise Failure("the other process ended as if the training was finished")
        self._two_whole()
        if found := differences(unbroken, self._output):
            raise Failure("; ".join(found[:5]))

    # ---- steps

    def _start(self, subject: Subject) -> Running:
        self._log.write_bytes(b"")
        command = subject.command(self._output)
        return start(command, self._log, ENVIRONMENT, forked=subject.forked)

    def _start_until(self, subject: Subject, rng: random.Random, duration: float, moments: list[str]) -> Running:
        """Start a command, and wait for a random moment of its run; begin anew if it was faster than that."""
        while True:
            moment = rng.uniform(0, duration)
            running = self._start(subject)
            if running.wait(moment) == STILL_RUNNING:
                moments.append(f"{moment:.2f}s")
                return running
            self._clear()
            duration = moment

    def _finish(self, subject: Subject) -> None:
        running = self._start(subject)
        code = running.wait(LIMIT)
        running.kill()
        if code == STILL_RUNNING:
            raise Failure(f"the command still runs after {LIMIT:.0f} s")
        if code:
            raise Failure(f"repeated, the command ended with {code}: {self._printed()[-600:]}")

    def _fails(self, subject: Subject, code: int, unbroken: Path) -> None:
        """Check how the command ended on a broken disk."""
        if code == STILL_RUNNING:
            raise Failure(f"the command still runs {LIMIT:.0f} s after the disk broke")
        if code == 0:
            raise Failure("the command ended with exit code 0 on a broken disk")
        printed = self._printed()
        if "Traceback" in printed:
            raise Failure(f"a traceback: {printed[-600:]}")
        last = (printed.strip().splitlines() or [""])[-1]
        if not any(reason in last for reason in REASONS):
            raise Failure(f"the last line does not say that the disk is broken: {last}")
        unfinished = () if (self._output / subject.finished).is_file() else subject.unfinished
        if found := half_written(unbroken, self._output, (*subject.ignored, *unfinished)):
            raise Failure("; ".join(found[:5]))

    def _compare(self, subject: Subject, unbroken: Path) -> None:
        if found := differences(unbroken, self._output, subject.ignored):
            raise Failure("; ".join(found[:5]))

    def _printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _clear(self) -> None:
        """Empty the folder, which may be a mounted disk."""
        self._output.mkdir(exist_ok=True)
        for path in self._output.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    # ---- a training in two processes

    def _two(self) -> tuple[Running, Running]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log.write_bytes(b"")
        together = ["--distributed-backend", "gloo", "--distributed-no-spawn", "--ddp-backend", "legacy_ddp"]
        together += ["--distributed-init-method", f"tcp://127.0.0.1:{port}", "--distributed-world-size", "2"]
        words = [*phase1(self.inputs, self._output), *together, "--distributed-rank"]
        first, second = (start([*words, str(rank)], self._log, ENVIRONMENT, forked=True) for rank in (0, 1))
        return first, second

    def _two_until(self, rng: random.Random, duration: float, moments: list[str]) -> tuple[Running, Running, int]:
        """Start a training, and wait for a random moment of it: one process, the other, and the rank of the first."""
        while True:
            self._clear()
            processes = self._two()
            self._until_joined(*processes)
            moment, rank = rng.uniform(0, duration), rng.randrange(2)
            if processes[rank].wait(moment) == STILL_RUNNING:
                moments.append(f"{moment:.2f}s, rank {rank}")
                return processes[rank], processes[1 - rank], rank
            processes[1 - rank].wait(LIMIT)
            duration = moment

    def _until_joined(self, first: Running, second: Running) -> None:
        """Wait until both processes are there. Before, the other waits for half an hour, which is torch's default."""
        deadline = time.monotonic() + LIMIT
        while "training on 2 devices" not in self._printed():
            if first.wait(0.02) != STILL_RUNNING or second.wait(0.02) != STILL_RUNNING or time.monotonic() > deadline:
                first.kill()
                second.kill()
                raise Failure(f"the training did not start: {self._printed()[-600:]}")

    def _two_whole(self) -> float:
        running = self._two()
        self._until_joined(*running)
        begin = time.monotonic()
        codes = [process.wait(LIMIT) for process in running]
        for process in running:
            if process.code == STILL_RUNNING:
                process.kill()
        if any(codes):
            raise Failure(f"the training in two processes ended with {codes}: {self._printed()[-600:]}")
        return time.monotonic() - begin


def report(soak: Soak, folder: Path) -> None:
    """Write the results and a summary of them."""
    results = [soak.results()[trial.number] for trial in soak.trials if trial.number in soak.results()]
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(field.name for field in fields(Result))]
    lines += ["\t".join(map(str, asdict(result).values())) for result in results]
    (folder / "results.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(summary(soak, results), encoding="utf-8")


def summary(soak: Soak, results: Sequence[Result]) -> str:
    """A page on the results: all, by kind, and by command."""
    survived = [result for result in results if result.survived == "yes"]
    described = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Soak test",
        "",
        f"**Survived {len(survived)} of {len(results)} trials** (of {len(soak.trials)} planned).",
        "",
        "| kind | survived | trials |",
        "|:--|--:|--:|",
        *(_row(kind, [result for result in results if result.kind == kind]) for kind in KINDS),
        "",
        "| command | kill | full | read-only | peer |",
        "|:--|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(sorted(result.subject for result in results)):
        cells = []
        for kind in KINDS:
            trials = [result for result in results if (result.subject, result.kind) == (name, kind)]
            good = sum(result.survived == "yes" for result in trials)
            cells.append(f"{good} of {len(trials)}" if trials else "")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    failed = [result for result in results if result.survived != "yes"]
    if failed:
        lines += ["", "Not survived:", ""]
        lines += [f"- trial {r.trial}, {r.kind}, `{r.subject}` ({r.moments}): {r.reason[:300]}" for r in failed]
    seconds = sum(result.seconds for result in results)
    lines += [
        "",
        f"{seconds / 60:.0f} minutes of trials on {os.cpu_count()} CPU cores without a GPU, {platform.system()}. "
        f"{described}. Seeds: the trials' numbers.",
    ]
    return "\n".join(lines) + "\n"


def _row(kind: str, results: Sequence[Result]) -> str:
    return f"| {kind} | {sum(result.survived == 'yes' for result in results)} | {len(results)} |"


def _preload() -> None:
    """Import what most commands import, once."""
    import ctranslate2  # noqa: F401
    import transformers  # noqa: F401
    from fairseq_cli import train  # type: ignore[import-untyped]  # noqa: F401
    from torch.utils import tensorboard  # noqa: F401


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs, unbroken runs and results")
    parser.add_argument("--trial", type=int, action="append", help="number of a trial to run, again if need be")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only trials of this kind")
    parser.add_argument("--subject", action="append", help="only trials of this command")
    parser.add_argument("--at-most", type=int, metavar="N", help="run only so many")
    parser.add_argument("--report", type=Path, help="write the results and their summary to this folder")
    options = parser.parse_args()
    soak = Soak(options.work)
    if options.report:
        report(soak, options.report)
        return
    torch.set_num_threads(1)
    _preload()
    done = {result.trial for result in soak.results().values() if result.survived == "yes"}
    chosen = [
        trial
        for trial in soak.trials
        if (trial.number in options.trial if options.trial else trial.number not in done)
        and trial.kind in (options.kind or KINDS)
        and trial.subject in (options.subject or [trial.subject])
    ]
    for trial in chosen[: options.at_most]:
        result = soak.run(trial)
        outcome = "survived" if result.survived == "yes" else f"FAILED: {result.reason}"
        broken = f"({result.moments}, {result.seconds} s)"
        print(f"{trial.number} {trial.kind} {trial.subject} {broken}: {outcome}", flush=True)
    results = [soak.results()[trial.number] for trial in soak.trials if trial.number in soak.results()]
    print(summary(soak, results))
    sys.exit(any(result.survived != "yes" for result in results))


if __name__ == "__main__":
    main()
