"""What a training is made of: the stages of `weightdistill train`, and the command of fairseq-train that each becomes.

Options that the user does not give get the authors' values, and a schedule by the size of the data. Starts nothing, and
imports neither torch nor fairseq.
"""

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import target_tokens
from weightdistill.experiment.schedule import SMALLEST_BATCH, TOKENS_PER_PASS, Schedule, passes
from weightdistill.method.shape import STUDENTS, TEACHERS

STAGES = ("teacher", "student", "phase1", "phase2")

_ALIASES = {"-a": "--arch", "-t": "--target-lang", "--learning-rate": "--lr", "--max-sentences": "--batch-size"}
_PRECISIONS = {"--fp16", "--bf16", "--amp", "--memory-efficient-fp16", "--memory-efficient-bf16"}
_NEED_GPU = {"--fp16", "--memory-efficient-fp16"}
_CHECKPOINTS = {
    *("--no-epoch-checkpoints", "--no-save", "--save-interval", "--save-interval-updates"),
    *("--keep-last-epochs", "--keep-best-checkpoints", "--keep-interval-updates"),
}
_WIDTH = 512
"""Of fairseq's `transformer`, and for a schedule where nothing says another."""


@dataclass(frozen=True)
class Training:
    """One training, as the command line describes it.

    Raises:
        DistillationError: An input is missing, or is one that this stage does not have.
    """

    stage: str
    """One of `STAGES`."""
    data: Path
    """Folder of fairseq-preprocess."""
    output: Path
    """Receives checkpoints, train.log and training.json."""
    teacher: str = ""
    """Checkpoint; several, separated by commas, predict as an ensemble."""
    student: Path | None = None
    """The student that phase 1 generated, for phase 2."""
    preset: str = "tiny"
    """Shape of the student."""
    generator: str = "default"
    """Bundle of the generator's options, for phase 1."""
    distillation_weight: float | None = None
    """The teacher's share in the loss; by default 0 for a student, and 0.5 in both phases."""
    temperature: float = 1.0
    """Softens the distributions of teacher and student."""
    teacher_cache: Path | None = None
    """The teacher's predictions, to learn from without running it."""
    options: tuple[str, ...] = ()
    """Options of fairseq-train, and --batch-tokens: target tokens of an update, in as many passes as it needs."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise DistillationError(f"the stage must be one of {', '.join(STAGES)}, but is {self.stage}")
        if self.preset not in STUDENTS:
            raise DistillationError(f"--preset must be one of {', '.join(STUDENTS)}, but is {self.preset}")
        if not self.data.is_dir():
            raise DistillationError(f"{self.data}: no such folder; give one of prepare.sh or fairseq-preprocess")
        if self.stage == "teacher" and (self.teacher or self.cache):
            raise DistillationError("train teacher learns from no teacher; leave out --teacher and --teacher-cache")
        if self.stage != "teacher" and not self.teacher and (self.stage == "phase1" or not self.cache):
            raise DistillationError(f"train {self.stage} needs a teacher; give its checkpoint with --teacher")
        if (self.stage == "phase2") != (self.student is not None):
            raise DistillationError(
                "--student goes with phase2, and is what `weightdistill export` made of phase 1's checkpoint; "
                + ("leave it out" if self.student else "give it")
            )

    def arguments(self) -> tuple[str, ...]:
        """Return what describes this training: options of fairseq-train, without defaults and without the device."""
        if self.stage == "teacher":
            chosen = ("--task", "translation", "--arch", "transformer", "--criterion", "label_smoothed_cross_entropy")
            return (*chosen, *self.options)
        generates = self.stage == "phase1"
        weight = self.distillation_weight
        if weight is None:
            weight = 0.0 if self.stage == "student" else 0.5
        return (
            *("--task", "distillation", "--arch", "generated_transformer" if generates else "student"),
            *(("--generator", self.generator) if generates else ()),
            *("--student-preset", self.preset),
            *(("--teacher-path", self.teacher) if self.teacher else ()),
            *(("--teacher-cache", str(self.teacher_cache)) if self.teacher_cache else ()),
            *(("--finetune-from-model", str(self.student)) if self.student else ()),
            *("--criterion", "distillation", "--distillation-weight", f"{weight:g}"),
            *("--temperature", f"{self.temperature:g}"),
            *self.options,
        )

    @property
    def cache(self) -> str:
        """Folder of the teacher's predictions, named by itself or among the options; empty for none."""
        return str(self.teacher_cache or _values(self.options).teacher_cache)

    @property
    def needs_width(self) -> bool:
        """Whether the learning rate depends on the width of the teacher, which its checkpoint or cache says."""
        return self.stage != "teacher" and "--lr" not in given(self.options)

    @property
    def needs_gpus(self) -> bool:
        """Whether this machine's GPUs would be used."""
        return "--cpu" not in given(self.options)


@dataclass(frozen=True)
class Machine:
    """What decides about a training besides its options."""

    gpus: int = 0
    """GPUs of this machine."""
    width: int = _WIDTH
    """The teacher's."""
    nodes: int = 1
    """Machines that train together."""
    launcher: tuple[str, ...] = ()
    """Command that starts fairseq-train on each of them."""
    port: str = "29500"
    """Over which they find each other."""

    @classmethod
    def of(cls, gpus: int, environment: Mapping[str, str], width: int | None = None) -> "Machine":
        """Describe the machine by its GPUs, and by the variables LAUNCHER, NODES and MASTER_PORT.

        Args:
            gpus: Their number.
            environment: The variables.
            width: The teacher's width, where a checkpoint says it.

        Raises:
            DistillationError: Only one of LAUNCHER and NODES is set.
        """
        launcher, nodes = tuple(shlex.split(environment.get("LAUNCHER", ""))), environment.get("NODES") or "1"
        if not nodes.isdecimal() or nodes == "0":
            raise DistillationError(f"NODES must be a number of machines, but is {nodes}; set it to theirs")
        if launcher and nodes == "1":  # every process of the launcher would train for itself, into the same files
            raise DistillationError("LAUNCHER starts trainings on several machines; set NODES to their number")
        if nodes != "1" and not launcher:  # whose share of the batch nobody would compute
            raise DistillationError(
                f"NODES is {nodes}, but nothing starts the training on them; set LAUNCHER, or leave out NODES"
            )
        return cls(gpus, width or _WIDTH, int(nodes), launcher, environment.get("MASTER_PORT") or "29500")


def given(options: Sequence[str]) -> set[str]:
    """Return the names of the options on a command line, each in its usual spelling."""
    names = {word.partition("=")[0] for word in options if word.startswith("-")}
    return {_ALIASES.get(name, name) for name in names}


def command(training: Training, machine: Machine) -> list[str]:
    """Return the command that trains, with all defaults in it.

    Args:
        training: What to train.
        machine: What trains.

    Raises:
        DistillationError: Options that fit neither each other nor the machine, or data that cannot be counted.
    """
    names, values = given(training.options), _values(training.options)
    device = _device(names, machine)
    devices = machine.nodes * (1 if "--cpu" in device else machine.gpus)
    if machine.launcher:
        device += ["--distributed-world-size", str(devices), "--distributed-port", machine.port]
    defaults = {**_constants(training, names), **_schedule(training, machine, devices, names)}
    batch = values.batch_tokens or int(defaults.pop("--batch-tokens", 0))
    shares = []
    if batch:
        tokens = values.max_tokens or int(defaults.pop("--max-tokens"))
        shares = _shares(batch, tokens, devices)
        if "--max-tokens-valid" not in names:
            shares = ["--max-tokens-valid", str(tokens), *shares]
    parser = _parser()
    parser.add_argument("--batch-tokens")
    return [
        *machine.launcher,
        *("fairseq-train", str(training.data.absolute()), "--user-dir", str(Path(__file__).parent)),
        *("--save-dir", str(training.output), *device, "--num-workers", "0", "--required-batch-size-multiple", "1"),
        *("--log-format", "json", *(word for option in defaults.items() for word in option if word)),
        *parser.parse_known_args(training.arguments())[1],
        *shares,
    ]


def summary(stage: str, words: Sequence[str]) -> str:
    """Describe the schedule and the device of a command in one line.

    Args:
        stage: What it trains.
        words: The command.
    """
    values, names = _values(words), given(words)
    lengths = [f"{values.max_update:,} updates"] if values.max_update else []
    lengths += [f"{values.max_epoch:,} epochs"] if values.max_epoch else []
    passed = f"{values.update_freq} x " if values.update_freq != "1" else ""
    batches = f" of {passed}{values.max_tokens:,} tokens per device" if values.max_tokens else ""
    warmup = f", {values.warmup_updates:,} of them warm-up" if values.warmup_updates and values.max_update else ""
    device = "on the CPU" if "--cpu" in names else f"on GPUs{' in fp16' if '--fp16' in names else ''}"
    return f"{stage}: {' or '.join(lengths)}{batches}, learning rate {values.lr}{warmup}, {device}"


def _device(names: set[str], machine: Machine) -> list[str]:
    """Options for the CPU where there is no GPU or --cpu is given, else for half precision."""
    if machine.gpus and "--cpu" not in names:
        return [] if _PRECISIONS & names else ["--fp16"]
    if unfit := sorted(_NEED_GPU & names):
        raise DistillationError(
            f"{unfit[0]} needs a GPU, but this training runs on a CPU; leave it out, or give --cpu-bf16 instead"
        )
    return ["--cpu"]


def _constants(training: Training, names: set[str]) -> dict[str, str]:
    """Defaults that do not depend on the data. Where a component is chosen, its options are the user's too."""
    defaults = {"--tensorboard-logdir": str(training.output / "tensorboard"), "--log-interval": "25"}
    if "--criterion" not in names:
        defaults["--label-smoothing"] = "0.1"
    if "--optimizer" not in names:
        defaults |= {"--optimizer": "adam", "--adam-betas": "(0.9, 0.98)", "--clip-norm": "1.0"}
    if "--lr-scheduler" not in names:
        defaults["--lr-scheduler"] = "inverse_sqrt"
    if not _CHECKPOINTS & names:  # a teacher is the average of its last checkpoints
        defaults |= {"--keep-last-epochs": "5"} if training.stage == "teacher" else {"--no-epoch-checkpoints": ""}
    return {name: value for name, value in defaults.items() if name not in names}


def _schedule(training: Training, machine: Machine, devices: int, names: set[str]) -> dict[str, str]:
    """What the options leave open of learning rate, warm-up, length and batch."""
    values, wanted = _values(training.options), {"--lr"}
    if "--lr-scheduler" not in names:
        wanted.add("--warmup-updates")
    if "--max-epoch" not in names:
        wanted.add("--max-update")
    if not {"--batch-size", "--max-tokens", "--update-freq"} & names:
        wanted.add("--batch-tokens")
    if "--batch-size" not in names or "--batch-tokens" in names:
        wanted.add("--max-tokens")
    if not (wanted := wanted - names):
        return {}
    width = _teacher_width(values) if training.stage == "teacher" else machine.width
    schedule = Schedule.of(target_tokens(training.data, values.target_lang), width)
    options = schedule.options(training.stage, values.max_update or None)
    if values.batch_tokens:
        options["--max-tokens"] = str(min(values.batch_tokens, TOKENS_PER_PASS))
    # Many devices share a batch, and none of them must get too few tokens for a long sentence.
    options["--batch-tokens"] = str(max(schedule.batch_tokens, SMALLEST_BATCH * devices))
    return {name: value for name, value in options.items() if name in wanted}


def _teacher_width(values: Namespace) -> int:
    """The width of a teacher that is to be trained, where its options say it."""
    preset = TEACHERS.get(values.arch.removeprefix("teacher_"))
    return values.encoder_embed_dim or (preset.encoder.width if preset else _WIDTH)


def _shares(batch: int, tokens: int, devices: int) -> list[str]:
    """Options of fairseq-train for a batch that the devices compute in as many passes as it needs."""
    number, share = passes(batch, tokens, devices)
    if share < SMALLEST_BATCH and 4 * share < tokens:
        raise DistillationError(
            f"{devices} GPUs have {share} tokens each of a batch of {batch}, which a long sentence may exceed; take "
            "fewer of them (CUDA_VISIBLE_DEVICES, NODES), or a larger --batch-tokens"
        )
    return ["--update-freq", str(number), "--max-tokens", str(share)]


def _values(options: Sequence[str]) -> Namespace:
    """The values of the options that a schedule depends on; 0 where there is none."""
    parser = _parser()
    for name in ("batch-tokens", "max-tokens", "max-update", "max-epoch", "warmup-updates", "encoder-embed-dim"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--update-freq", default="1")
    parser.add_argument("--lr", "--learning-rate")
    parser.add_argument("--arch", "-a", default="")
    parser.add_argument("--teacher-cache", default="")
    parser.add_argument("--target-lang", "-t")
    return parser.parse_known_args(options)[0]


def _parser() -> ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise DistillationError(f"options of fairseq-train: {message}")

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = refuse  # type: ignore[method-assign]  # which would end the process
    return parser
