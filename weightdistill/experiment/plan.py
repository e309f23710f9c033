"""What an experiment will cost, from its settings alone: updates, parameters, time, memory, disk, decoding.

Parameters and operations come from `weightdistill.experiment.cost`. Times and memory are estimates: their constants
were fitted to runs on CPUs (`experiments/multi30k-en-de`, `experiments/training-speed`); those for GPUs are what
fairseq is known to reach, and were not measured. Knows settings, no data and no models.
"""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from weightdistill.errors import DistillationError
from weightdistill.experiment.cost import Machine, Model, generator_cost
from weightdistill.method.shape import TEACHERS, StackShape, TransformerShape, student_shape

EFFICIENCY = {"cpu": 0.75, "cuda": 0.25}
"""Share of the speed of a large matrix product that a training reaches."""
LAYER_SECONDS = {"cpu": 10e-3, "cuda": 1e-3}
"""What each layer of a model adds to an update besides, in seconds, forth and back."""
DECODING_SHARE = 0.2
"""Share of the training's speed that beam search reaches in CTranslate2."""
PROCESS_BYTES = {"cpu": 600 * 2**20, "cuda": 2**30}
"""Memory that a training takes besides: libraries, what the allocator keeps, and on a GPU its context."""
LOGIT_BYTES = {"cpu": 8, "cuda": 10}
"""Memory for each word that a token may be: its logit, and what the loss keeps of it, in float32 with fp16, too."""
FILLED = 0.9
"""Share of a batch's largest number of tokens that its sentences fill."""


@dataclass(frozen=True)
class Stage:
    """One training, the decoding of a corpus, or the making of a cache.

    Attributes:
        name: what it makes.
        system: method and shape that it belongs to; empty for a corpus or cache.
        seeds: how often it is trained.
        updates: updates, or sentences to decode; 1 for a cache.
        tokens: tokens of an update in all passes and on all devices; target tokens of a sentence, or of a cache.
        parameters: that are trained, or that translate.
        seconds: estimate.
        memory: bytes on each device, estimate.
        disk: bytes that it leaves.
    """

    name: str
    system: str
    seeds: int
    updates: int
    tokens: float
    parameters: int
    seconds: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Plan:
    """All stages of an experiment in their order."""

    stages: list[Stage]
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """The stages as text, with their sum."""
        from weightdistill.decoding.benchmark import text_table

        rows = [
            [
                stage.name,
                f"{stage.updates:,}",
                f"{stage.tokens:,.0f}",
                f"{stage.parameters:,}",
                _duration(stage.seconds),
                _size(stage.memory),
                _size(stage.disk),
            ]
            for stage in self.stages
        ]
        total = sum(stage.seconds for stage in self.stages), sum(stage.disk for stage in self.stages)
        largest = max(stage.memory for stage in self.stages)
        rows.append(["all, one after the other", "", "", "", _duration(total[0]), _size(largest), _size(total[1])])
        heads = ["stage", "updates", "tokens each", "parameters", "time", "memory", "disk"]
        speed = f"{self.machine.operations_per_second / 1e12:.2f}e12 operations a second"
        return "\n".join([text_table(heads, rows), f"on {self.machine.devices} {self.machine.kind} with {speed}"])

    def against(self, results: Mapping[str, Any]) -> list["Check"]:
        """The plan beside a run of it.

        Args:
            results: what `weightdistill.experiment.results` wrote of this experiment.

        Returns:
            An entry for each system that both know, in the table's order.
        """
        checks = []
        for row in results["rows"]:
            system = f"{row['method']} {row['preset']}" if row["preset"] else row["method"]
            stages = [stage for stage in self.stages if stage.system == system]
            if stages:
                seconds = sum(stage.seconds / stage.seeds for stage in stages), row["training_seconds"]["mean"]
                memory = max(stage.memory for stage in stages), row.get("training_memory")
                checks.append(Check(system, *seconds, *memory))
        return checks


@dataclass(frozen=True)
class Check:
    """What a system's trainings were planned to take and what they took, with one seed.

    Attributes:
        system: method and shape.
        planned_seconds: estimate, of both phases together where there are two.
        measured_seconds: mean over the seeds.
        planned_memory: bytes, of the larger phase.
        measured_memory: bytes; None where it was not recorded.
    """

    system: str
    planned_seconds: float
    measured_seconds: float
    planned_memory: float
    measured_memory: float | None


def check_table(checks: Sequence[Check]) -> str:
    """Estimates, measurements and their ratios as text."""
    from weightdistill.decoding.benchmark import text_table

    rows = []
    for check in checks:
        time = _duration(check.planned_seconds), _duration(check.measured_seconds)
        row = [check.system, *time, f"{check.planned_seconds / check.measured_seconds:.2f}"]
        row.append(_size(check.planned_memory))
        if check.measured_memory:
            row += [_size(check.measured_memory), f"{check.planned_memory / check.measured_memory:.2f}"]
        rows.append([*row, "", ""][:7])
    return text_table(["system", "time planned", "measured", "ratio", "memory planned", "measured", "ratio"], rows)


def read_config(paths: Sequence[Path]) -> dict[str, Any]:
    """The settings of an experiment: YAML files, of which later ones add to and replace what earlier ones say.

    Raises:
        DistillationError: a file that cannot be read, or that holds no settings.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DistillationError(f"{path} cannot be read as settings: {' '.join(str(error).split())}") from error
        if not isinstance(found, dict):
            raise DistillationError(f"{path} must hold an experiment's settings, but holds {type(found).__name__}")
        merged = _merge(merged, found)
    return merged


def plan(config: Mapping[str, Any], machine: Machine) -> Plan:
    """What each stage of an experiment takes; preparation, evaluation and benchmarks are left out.

    Args:
        config: its settings, with `size`: the number of `pairs` and of target `tokens` of the training data.
        machine: what trains.

    Raises:
        DistillationError: settings that lack something, or that name no known shape.
    """
    for field in ("size", "teacher", "students", "methods", "vocabulary"):
        if field not in config:
            raise DistillationError(f"the settings lack {field}; give all files of the experiment, the last one last")
    return Plan(list(_stages(config, machine)), machine)


def _stages(config: Mapping[str, Any], machine: Machine) -> Iterator[Stage]:
    pairs, tokens = config["size"]["pairs"], config["size"]["tokens"]
    reduced = config.get("reduced", {})
    training = reduced.get("training", "")
    shared = config.get("options", "")
    options = _options(shared, config["teacher"]["options"], reduced.get("teacher", ""), training)
    teacher = _teacher(options, config["vocabulary"])
    yield _training("teacher", options, tokens, teacher, machine)
    corpora = {"real": 1.0}
    for name, corpus in config.get("corpora", {}).items():
        how = _options(corpus["options"])
        corpora[name] = float(how.get("real", 1)) + float(how.get("distilled", 1))
        yield _decoding(f"corpus {name}", pairs, tokens / pairs, int(how.get("beam", 5)), teacher, machine)
    for words in sorted({int(method["cache"]) for method in config["methods"].values() if method.get("cache")}):
        yield _caching(words, tokens, teacher, machine)
    for name, method in config["methods"].items():
        data = tokens * corpora[method.get("data", "real")]
        cached = bool(method.get("cache"))
        weight = method.get("weight", config["distillation"]["weight"])
        at_work = teacher if weight and not cached else None
        for preset, seeds in method.get("students", config["students"]).items():
            student = replace(teacher, shape=student_shape(preset, teacher.shape))
            kinds = ("phase1", "phase2") if "generator" in method else ("student",)
            for kind in kinds:
                key = f"{kind}_options"
                how = _options(shared, config[key], method.get("options", ""), method.get(key, ""), training)
                label = f"{name} {preset}" + (f", {kind[:-1]} {kind[-1]}" if kind != "student" else "")
                generated_from = teacher if kind == "phase1" and method["generator"] != "none" else None
                stage = _training(label, how, data, student, machine, at_work, generated_from)
                times = len(seeds)
                yield replace(
                    stage,
                    name=stage.name + (f" ({times} seeds)" if times > 1 else ""),
                    system=f"{name} {preset}",
                    seeds=times,
                    seconds=stage.seconds * times,
                    disk=stage.disk * times,
                )


def _training(
    name: str,
    options: Mapping[str, str],
    tokens: float,
    model: Model,
    machine: Machine,
    teacher: Model | None = None,
    generated_from: Model | None = None,
) -> Stage:
    largest = float(options.get("max-tokens", 4096))
    passes = int(options.get("update-freq", 1))
    if "batch-tokens" in options:  # as `passes` of scripts/common.sh
        batch = float(options["batch-tokens"])
        passes = math.ceil(batch / (largest * machine.devices))
        largest = batch // (passes * machine.devices)
    per_update = largest * FILLED * machine.devices * passes
    updates = int(options["max-update"]) if "max-update" in options else 10**9
    if "max-epoch" in options:
        updates = min(updates, math.ceil(int(options["max-epoch"]) * tokens / per_update))
    if updates == 10**9:
        raise DistillationError(f"{name}: the options must have --max-update or --max-epoch")
    length = 30.0
    operations = 3 * model.operations(per_update, per_update, length)
    trained, layers = model.parameters(), 3.0 * model.layers()
    if teacher is not None:
        operations += teacher.operations(per_update, per_update, length)
        layers += teacher.layers()
    seconds = LAYER_SECONDS[machine.kind] * layers / 3 * passes
    own = trained
    if generated_from is not None:
        own, of_generator = generator_cost(generated_from, model)
        operations += 3 * of_generator * passes * machine.devices
    seconds += operations / machine.devices / (machine.operations_per_second * EFFICIENCY[machine.kind])
    half = machine.kind == "cuda"
    numbers = 2 if half else 4
    logits = largest * model.vocabulary * (LOGIT_BYTES[machine.kind] + (numbers if teacher is not None else 0))
    state = own * (20 if half else 16) + (trained * 4 if generated_from is not None else 0)
    frozen = sum(other.parameters() for other in (teacher, generated_from) if other is not None) * 4
    kept = 2 + int(options.get("keep-last-epochs", 0)) + int(options.get("keep-interval-updates", 0))
    return Stage(
        name=name,
        system=name,
        seeds=1,
        updates=updates,
        tokens=per_update,
        parameters=own,
        seconds=updates * seconds,
        memory=PROCESS_BYTES[machine.kind] + state + frozen + model.activations(largest) * numbers + logits,
        disk=kept * 12 * own,
    )


def _decoding(name: str, pairs: int, length: float, beam: int, teacher: Model, machine: Machine) -> Stage:
    operations = teacher.operations(length, beam * length, length)
    # the shards are decoded one after the other, each on all devices
    speed = machine.devices * machine.operations_per_second * EFFICIENCY[machine.kind] * DECODING_SHARE
    memory = PROCESS_BYTES[machine.kind] + 4 * teacher.parameters() + 4 * 4096 * beam * teacher.vocabulary
    # text and pieces of both sides, and what is binarised of them
    disk = 2 * pairs * length * (2 * 6 + 2)
    return Stage(name, "", 1, pairs, length, teacher.parameters(), pairs * operations / speed, memory, disk)


def _caching(words: int, tokens: float, teacher: Model, machine: Machine) -> Stage:
    """The teacher's predictions for all training data, on one device."""
    seconds = teacher.operations(tokens, tokens, 30.0) / (machine.operations_per_second * EFFICIENCY[machine.kind])
    logits = 4096 * teacher.vocabulary * LOGIT_BYTES[machine.kind]
    memory = PROCESS_BYTES[machine.kind] + 4 * teacher.parameters() + logits
    # of each word its number and its probability in two bytes each, and what the others have in sum
    disk = tokens * (4 * words + 2)
    return Stage(f"cache of {words} words", "", 1, 1, tokens, teacher.parameters(), seconds, memory, disk)


def _teacher(options: Mapping[str, str], vocabulary: int) -> Model:
    arch = options.get("arch", "")
    preset = "base" if arch in ("", "transformer") else arch.removeprefix("teacher_")
    names = {"layers": "layers", "width": "embed-dim", "ffn": "ffn-embed-dim", "heads": "attention-heads"}
    if preset not in TEACHERS and not all(
        f"{stack}-{name}" in options for stack in ("encoder", "decoder") for name in names.values()
    ):
        known = ", ".join(f"teacher_{name}" for name in TEACHERS)
        raise DistillationError(
            f"teacher's --arch must be one of {known}, or all sizes of both stacks be given, but it is {arch!r}"
        )
    stacks = {}
    for stack in ("encoder", "decoder"):
        own = getattr(TEACHERS.get(preset, TEACHERS["base"]), stack)
        values = {field: int(options.get(f"{stack}-{name}", getattr(own, field))) for field, name in names.items()}
        stacks[stack] = StackShape(**values)
    tied = "decoder" if "share-decoder-input-output-embed" in options else "none"
    tied = "all" if "share-all-embeddings" in options else tied
    pre_norm = preset == "deep" or "encoder-normalize-before" in options
    return Model(TransformerShape(**stacks), vocabulary, tied, pre_norm)


def _options(*texts: str) -> dict[str, str]:
    """Command-line options by name; of several the last one counts, as in argparse. Switches are empty."""
    found: dict[str, str] = {}
    words = [word for text in texts for word in shlex.split(text)]
    for index, word in enumerate(words):
        if word.startswith("--"):
            following = words[index + 1] if index + 1 < len(words) else "--"
            found[word[2:]] = "" if following.startswith("--") else following
    return found


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.0f} h"


def _size(size: float) -> str:
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
