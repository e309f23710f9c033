"""Runs the commands as a user does, on one thread; knows nothing about what they should do."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forking import run_forked
from torch import Tensor

from weightdistill import checkpoint
from weightdistill.method.layout import is_copy

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "fairseq_plugins"
BIN = Path(sys.executable).parent

# What a plain checkpoint needs for decoding: nothing, but for fairseq 0.12.2, which Python 3.10 has. Its encoder's fast
# path calls torch as it was before 1.13.
TO_DECODE = [] if sys.version_info >= (3, 11) else ["--user-dir", PLUGIN]

# Sizes of every training here: a teacher's, and what all of them share.
TEACHER_SHAPE = [
    f"--{stack}-{option}={value}"
    for stack in ("encoder", "decoder")
    for option, value in (("layers", 2), ("embed-dim", 16), ("ffn-embed-dim", 32), ("attention-heads", 2))
]
TRAINING = [
    *("--cpu", "--num-workers", 0, "--optimizer", "adam", "--lr", 5e-3, "--max-tokens", 400, "--seed", 1),
    *("--log-format", "simple", "--log-interval", 1, "--required-batch-size-multiple", 1),
]

# How a test set is decoded, every sentence of it.
GREEDY = ["--gen-subset", "test", "--beam", 1, "--cpu", "--num-workers", 0, "--required-batch-size-multiple", 1]

PHASE1_UPDATES = 40
# What fairseq keeps in a state beside weights; 0.12.2 leaves the latter's content to chance.
BUFFERS = {
    f"{stack}.{buffer}" for stack in ("encoder", "decoder") for buffer in ("version", "embed_positions._float_tensor")
}

# Makes a folder of this name with a function that fills it, once a run; gives its path (a fixture of conftest.py).
MakeOnce = Callable[[str, Callable[[Path], object]], Path]


def weights_of(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, less what fairseq keeps beside them."""
    state = checkpoint.read(path)["model"]
    return {name: weight for name, weight in state.items() if name not in BUFFERS and not is_copy(name)}


@dataclass(frozen=True)
class Corpus:
    """A folder of fairseq-preprocess, and the pieces that it was made of."""

    data: Path
    pieces: Path

    def sentences(self, split: str) -> list[str]:
        """The source sentences of a split."""
        return (self.pieces / f"{split}.aa").read_text(encoding="utf-8").splitlines()


@dataclass(frozen=True)
class Training:
    """A finished training: its folder of checkpoints, the command that made it, and what it printed."""

    folder: Path
    command: list[object]
    log: str

    @property
    def last(self) -> Path:
        """The checkpoint of the last update."""
        return self.folder / "checkpoint_last.pt"


def environment() -> dict[str, str]:
    """The variables of a command: one thread, the executables of this interpreter, and the project importable."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def start(*command: object, cwd: Path | None = None) -> "subprocess.Popen[str]":
    """Start a command; both of its outputs go to one pipe."""
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment(),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(
    *command: object,
    fails: bool = False,
    text: str | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> str:
    """Run a command to its end; both of its outputs together.

    Args:
        command: its name and arguments.
        fails: whether it must end with another exit code than 0.
        text: its standard input.
        cwd: where it runs.
        before: called in the new process first.
    """
    result = subprocess.run(
        [str(part) for part in command],
        env=environment(),
        input=text,
        cwd=cwd,
        text=True,
        preexec_fn=before,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return _checked(command, result.returncode, result.stdout, fails)


def fork(*command: object, fails: bool = False, text: str = "", cwd: Path | None = None) -> str:
    """Run a command of fairseq or of this project as `run` does, but in a fork: seconds faster.

    For what some other test shows with a real process already.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        (files / "input").write_text(text, encoding="utf-8")
        code = run_forked([str(part) for part in command], environment(), files, cwd)
        return _checked(command, code, (files / "output").read_text(encoding="utf-8"), fails)


def _checked(command: tuple[object, ...], code: int, output: str, fails: bool) -> str:
    assert bool(code) == fails, f"exit code {code} of {command}:\n{output[-6000:]}"
    return output


def phase1(data: Path, save: Path, teacher: Path | str, *options: object) -> list[object]:
    """The command of a phase-1 training."""
    return [
        *("fairseq-train", data, "--user-dir", PLUGIN, "--save-dir", save, "--task", "distillation"),
        *("--arch", "generated_transformer", "--teacher-path", teacher, "--criterion", "distillation"),
        *("--label-smoothing", 0.1, *TRAINING, *options),
    ]


def hypotheses(output: str) -> dict[int, tuple[float, str]]:
    """The score and the pieces of each sentence in the output of fairseq-generate or fairseq-interactive."""
    lines = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
    return {int(number): (float(score), pieces.strip()) for number, score, pieces in lines}
