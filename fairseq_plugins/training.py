"""Runs a training: fairseq-train in a process of its own, with its output in a log and its progress on the terminal.

Keeps two trainings out of one folder, and resumes none with other options or inputs. This process imports torch only at
the end, so that it starts at once and stays small.
"""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from fairseq_plugins.errors import PREFIX
from fairseq_plugins.training_command import Machine, Training, command, summary
from weightdistill import files
from weightdistill.errors import DistillationError
from weightdistill.experiment.progress import run_training
from weightdistill.places import require_separate, separated_paths

# glibc hands big tensors back to the kernel after each operation by default; keeping them saves a quarter of a training
# step on a CPU.
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "268435456"}


_ERROR_LINES = (PREFIX, "fairseq-train: error: ")
"""How lines begin that say by themselves why a training failed: unusable input, and wrong options."""


def run(training: Training) -> int:
    """Train, or resume what was begun. A finished training is left as it is.

    Args:
        training: What to train.

    Returns:
        The exit code of fairseq-train.

    Raises:
        DistillationError: The training is impossible, another one than its folder holds, or would replace its teacher.
    """
    log = training.output / "train.log"
    record = training.output / "training.json"
    if not record.exists():
        files.require_writable(log)
    with _locked(training.output):
        require_separate(
            {"--output": sorted(training.output.glob("checkpoint*.pt"))},
            {"--teacher": separated_paths(training.teacher), "--student": training.student},
        )
        described = _description(training)
        _require_same(training.output, described)
        if record.exists():
            print(f"trained already: {training.output}")
            return 0
        words = command(training, _machine(training))
        _describe(training.output, described)
        print(summary(training.stage, words), flush=True)
        # The interpreter's fairseq-train, also where its environment is not activated.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        finished = run_training(words, log, {**_ALLOCATOR, **os.environ, "PATH": path})
        if finished.code:
            for line in finished.last_lines:
                if line.startswith(_ERROR_LINES):
                    raise DistillationError(f"{line.partition(': error: ')[2]} (log: {log})")
            files.require_writable(log)  # or else the reason could not be written there
            print(*finished.last_lines, f"the training failed; its whole output is in {log}", sep="\n", file=sys.stderr)
        else:
            _record(training.output)
        return finished.code


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for a training that is running in the folder. One that outlives this process keeps the lock."""
    with (folder / ".lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the training that is running in {folder}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _description(training: Training) -> str:
    """Options in a shell's words, and the SHA-256 of each input: the data, checkpoints, and caches of predictions."""
    arguments = training.arguments()
    inputs = [path for pattern in ("dict.*", "train.*") for path in sorted(training.data.glob(pattern))]
    for path in (Path(part) for option in arguments for part in option.split(",")):
        if path.is_file():
            inputs.append(path)
        if (path / "train/cache.json").is_file():
            inputs += sorted(path.glob("*/cache.json"))
    lines = [shlex.join([str(training.data), *arguments])]
    lines += [f"{files.fingerprint(path)}  {path}" for path in inputs]
    return "\n".join(lines) + "\n"


def _require_same(folder: Path, described: str) -> None:
    """Resuming with other options, data or teachers would give a model that nothing describes."""
    recorded = folder / "options.txt"
    begun = any((folder / name).exists() for name in ("checkpoint_last.pt", "training.json"))
    if begun and recorded.exists() and not _same(recorded.read_text(encoding="utf-8"), described):
        raise DistillationError(
            f"{folder} holds a training with other options or inputs (its options.txt says which); remove the folder "
            "to train anew, or that file to resume with these"
        )


def _describe(folder: Path, described: str) -> None:
    path = folder / "options.txt"
    if not path.exists() or path.read_text(encoding="utf-8") != described:
        with files.writing(path) as temporary:
            temporary.write_text(described, encoding="utf-8")


def _same(first: str, second: str) -> bool:
    """Compare two descriptions; older ones quote the same words in another way."""
    parsed = []
    for text in (first, second):
        words, *inputs = text.splitlines() or [""]
        try:
            parsed.append((shlex.split(words), sorted(inputs)))
        except ValueError:  # not written by this program
            return False
    return parsed[0] == parsed[1]


def _machine(training: Training) -> Machine:
    """This machine, and the width of the teacher; looked up only where they matter."""
    gpus, width = 0, None
    if training.needs_gpus or training.needs_width:
        sources = (training.teacher.split(",")[0].strip(), training.cache) if training.needs_width else ("", "")
        # torch, which takes memory and a second, lives in a process that ends before the training begins.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            gpus, width = process.submit(_look, *sources).result()
    return Machine.of(gpus, os.environ, width)


def _look(teacher: str, cache: str) -> tuple[int, int | None]:
    """The number of GPUs, and the width of the encoder of a teacher, or else of the one that made a cache."""
    import torch

    from weightdistill import checkpoint
    from weightdistill.distillation.teacher_cache import TEACHER_SETTINGS, read_settings
    from weightdistill.method.layout import canonical
    from weightdistill.method.shape import TransformerShape

    width = None
    if teacher:
        state = canonical(checkpoint.read(teacher, lazily=True)["model"])
        width = TransformerShape.of(state, 1, 1).encoder.width  # heads do not matter here
    elif cache:
        width = read_settings(Path(cache) / "train").get(TEACHER_SETTINGS, {}).get("encoder_embed_dim")
    return torch.cuda.device_count(), width


def _record(folder: Path) -> None:
    """Write training.json, which says that the training is finished, and what it took."""
    from fairseq_plugins.training_record import record
    from weightdistill import checkpoint

    files.write_json(folder / "training.json", record(checkpoint.read(folder / "checkpoint_last.pt")))
