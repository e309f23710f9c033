"""What an experiment will cost, from its settings alone: updates, parameters, time, memory, disk, decoding.

Parameters and operations come from `weightdistill.experiment.cost`. Times and memory are estimates: their constants
were fitted to runs on CPUs (`experiments/multi30k-en-de`, `experiments/training-speed`); those for GPUs are what
fairseq is known to reach, and were not measured. Knows settings, no data and no models.
"""

import math
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from weightdistill.errors import DistillationError
from weightdistill.experiment.cost import Machine, Model, generator_cost
from weightdistill.experiment.schedule import passes
from weightdistill.experiment.schema import NO_GENERATOR, REAL, Settings, SizeSettings
from weightdistill.experiment.units import duration, size
from weightdistill.experiment.workflow import teacher_checkpoints
from weightdistill.files import read_json
from weightdistill.method.shape import SHAPE_OPTIONS, TEACHERS, TransformerShape, student_shape
from weightdistill.terminal import text_table

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
        rows = [
            [
                stage.name,
                f"{stage.updates:,}",
                f"{stage.tokens:,.0f}",
                f"{stage.parameters:,}",
                duration(stage.seconds),
                size(stage.memory),
                size(stage.disk),
            ]
            for stage in self.stages
        ]
        total = sum(stage.seconds for stage in self.stages), sum(stage.disk for stage in self.stages)
        largest = max(stage.memory for stage in self.stages)
        rows.append(["all, one after the other", "", "", "", duration(total[0]), size(largest), size(total[1])])
        heads = ["stage", "updates", "tokens each", "parameters", "time", "memory", "disk"]
        devices = f"{self.machine.devices} GPUs" if self.machine.kind == "cuda" else "a CPU"
        speed = f"{self.machine.operations_per_second / 1e12:.3g} TFLOP/s"
        return "\n".join([text_table(heads, rows), f"on {devices} of {speed}"])

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
    rows = []
    for check in checks:
        time = duration(check.planned_seconds), duration(check.measured_seconds)
        row = [check.system, *time, f"{check.planned_seconds / check.measured_seconds:.2f}"]
        row.append(size(check.planned_memory))
        if check.measured_memory:
            row += [size(check.measured_memory), f"{check.planned_memory / check.measured_memory:.2f}"]
        rows.append([*row, "", ""][:7])
    return text_table(["system", "time planned", "measured", "ratio", "memory planned", "measured", "ratio"], rows)


def read_results(path: Path) -> dict[str, Any]:
    """Read the results.json of an experiment.

    Raises:
        DistillationError: The file cannot be read or has no rows.
    """
    results = read_json(path, "give the results.json of an experiment")
    if not isinstance(results, dict) or "rows" not in results:
        raise DistillationError(f"{path} has no rows; give the results.json of an experiment")
    return results


def plan(settings: Settings, machine: Machine) -> Plan:
    """Estimate what each stage of an experiment takes; preparation, evaluation and benchmarks are left out.

    Args:
        settings: The experiment's settings, with `size`.
        machine: What trains.

    Raises:
        DistillationError: Settings that lack something, or that name no known shape.
    """
    if settings.size is None:
        raise DistillationError("a plan needs the size of the training data; add size: {pairs: N, tokens: N}")
    return Plan(list(_stages(settings, settings.size, machine)), machine)


def _stages(settings: Settings, size: SizeSettings, machine: Machine) -> Iterator[Stage]:
    if settings.teacher.path:
        teacher = Model.of_checkpoint(teacher_checkpoints(settings)[0])
    else:
        options = _training_options(settings.teacher_options())
        teacher = _teacher(options, settings.vocabulary or 0)
        yield _training("teacher", options, size.tokens, teacher, machine)
    epochs = {REAL: 1.0}  # sizes of the corpora, that of the real data being 1
    for name, corpus in settings.corpora.items():
        options = _translation_options(corpus.options)
        if corpus.sources and not corpus.sentences:
            raise DistillationError(
                f"a plan needs the number of sentences in {corpus.sources}; add it as corpora.{name}.sentences"
            )
        sentences, kept = size.pairs + corpus.sentences, options.samples or 1
        epochs[name] = options.real + options.distilled * kept * sentences / size.pairs
        width = options.samples or options.beam
        yield _decoding(f"corpus {name}", sentences, size.tokens / size.pairs, width, teacher, machine)
    for words, data in sorted({(method.cache, method.data) for method in settings.methods.values() if method.cache}):
        label = f"cache of {words} words" + ("" if data == REAL else f", {data}")
        yield _caching(label, words, size.tokens * epochs[data], teacher, machine)
    for name, method in settings.methods.items():
        running_teacher = teacher if method.weight and not method.cache else None
        for preset, seeds in method.students.items():
            for stage_name in method.stages:
                options = _training_options(settings.stage_options(name, stage_name))
                student = _student(options, preset, teacher)
                generates = stage_name == "phase1" and method.generator != NO_GENERATOR
                label = f"{name} {preset}" + (f", phase {stage_name[-1]}" if stage_name != "student" else "")
                stage = _training(
                    label,
                    options,
                    size.tokens * epochs[method.data],
                    student,
                    machine,
                    running_teacher,
                    teacher if generates else None,
                )
                yield replace(
                    stage,
                    name=stage.name + (f" ({len(seeds)} seeds)" if len(seeds) > 1 else ""),
                    system=f"{name} {preset}",
                    seeds=len(seeds),
                    seconds=stage.seconds * len(seeds),
                    disk=stage.disk * len(seeds),
                )


def _training(
    name: str,
    options: Namespace,
    tokens: float,
    model: Model,
    machine: Machine,
    running_teacher: Model | None = None,
    generated_from: Model | None = None,
) -> Stage:
    """One training of a model, of `tokens` target tokens per epoch."""
    tokens_per_pass, number_of_passes = options.max_tokens, options.update_freq
    if options.batch_tokens is not None:
        number_of_passes, tokens_per_pass = passes(options.batch_tokens, tokens_per_pass, machine.devices)
    tokens_per_update = tokens_per_pass * FILLED * machine.devices * number_of_passes
    limits = [options.max_update] if options.max_update else []
    if options.max_epoch:
        limits.append(math.ceil(options.max_epoch * tokens / tokens_per_update))
    if not limits:
        raise DistillationError(f"{name}: the options must have --max-update or --max-epoch")
    updates = min(limits)
    length = 30.0
    flops = 3 * model.operations(tokens_per_update, tokens_per_update, length)
    student_parameters, layers = model.parameters(), 3.0 * model.layers()
    if running_teacher is not None:
        flops += running_teacher.operations(tokens_per_update, tokens_per_update, length)
        layers += running_teacher.layers()
    seconds = LAYER_SECONDS[machine.kind] * layers / 3 * number_of_passes
    trained_parameters = student_parameters
    if generated_from is not None:
        trained_parameters, generator_flops = generator_cost(generated_from, model)
        flops += 3 * generator_flops * number_of_passes * machine.devices
    seconds += flops / machine.devices / (machine.operations_per_second * EFFICIENCY[machine.kind])
    half_precision = machine.kind == "cuda"
    bytes_per_number = 2 if half_precision else 4
    bytes_per_logit = LOGIT_BYTES[machine.kind] + (bytes_per_number if running_teacher is not None else 0)
    state = trained_parameters * (20 if half_precision else 16)
    state += student_parameters * 4 if generated_from is not None else 0
    frozen = sum(teacher.parameters() for teacher in (running_teacher, generated_from) if teacher is not None) * 4
    activations = model.activations(tokens_per_pass) * bytes_per_number
    logits = tokens_per_pass * model.vocabulary * bytes_per_logit
    checkpoints = 2 + options.keep_last_epochs + options.keep_interval_updates
    return Stage(
        name=name,
        system=name,
        seeds=1,
        updates=updates,
        tokens=tokens_per_update,
        parameters=trained_parameters,
        seconds=updates * seconds,
        memory=PROCESS_BYTES[machine.kind] + state + frozen + activations + logits,
        disk=checkpoints * 12 * trained_parameters,
    )


def _decoding(name: str, pairs: int, length: float, hypotheses: int, teacher: Model, machine: Machine) -> Stage:
    operations = teacher.operations(length, hypotheses * length, length)
    # the shards are decoded one after the other, each on all devices
    speed = machine.devices * machine.operations_per_second * EFFICIENCY[machine.kind] * DECODING_SHARE
    memory = PROCESS_BYTES[machine.kind] + 4 * teacher.parameters() + 4 * 4096 * hypotheses * teacher.vocabulary
    # text and pieces of both sides, and what is binarised of them
    disk = 2 * pairs * length * (2 * 6 + 2)
    return Stage(name, "", 1, pairs, length, teacher.parameters(), pairs * operations / speed, memory, disk)


def _caching(name: str, words: int, tokens: float, teacher: Model, machine: Machine) -> Stage:
    """The teacher's predictions for all training data, on one device."""
    seconds = teacher.operations(tokens, tokens, 30.0) / (machine.operations_per_second * EFFICIENCY[machine.kind])
    logits = 4096 * teacher.vocabulary * LOGIT_BYTES[machine.kind]
    memory = PROCESS_BYTES[machine.kind] + 4 * teacher.parameters() + logits
    # of each word its number and its probability in two bytes each, and what the others have in sum
    disk = tokens * (4 * words + 2)
    return Stage(name, "", 1, 1, tokens, teacher.parameters(), seconds, memory, disk)


def _teacher(options: Namespace, vocabulary: int) -> Model:
    preset = "base" if options.arch == "transformer" else options.arch.removeprefix("teacher_")
    sizes = {
        (stack, field): getattr(options, f"{stack}_{option}")
        for stack in ("encoder", "decoder")
        for field, option in SHAPE_OPTIONS.items()
    }
    if preset not in TEACHERS and None in sizes.values():
        known = ", ".join(f"teacher_{name}" for name in TEACHERS)
        raise DistillationError(
            f"teacher's --arch must be one of {known}, or all sizes of both stacks be given, but it is {options.arch!r}"
        )
    shape = _shape(options, TEACHERS.get(preset, TEACHERS["base"]))
    tied = "decoder" if options.share_decoder_input_output_embed else "none"
    tied = "all" if options.share_all_embeddings else tied
    return Model(shape, vocabulary, tied, preset == "deep" or options.encoder_normalize_before)


def _student(options: Namespace, preset: str, teacher: Model) -> Model:
    """A student: its preset's shape, unless its options give another."""
    return replace(teacher, shape=_shape(options, student_shape(preset, teacher.shape)))


def _shape(options: Namespace, start: TransformerShape) -> TransformerShape:
    """A shape with the sizes that options give."""
    stacks = {}
    for stack in ("encoder", "decoder"):
        sizes = {field: getattr(options, f"{stack}_{option}") for field, option in SHAPE_OPTIONS.items()}
        given = {field: size for field, size in sizes.items() if size is not None}
        stacks[stack] = replace(getattr(start, stack), **given)
    return TransformerShape(**stacks)


def _training_options(text: str) -> Namespace:
    """The options of fairseq-train that a plan depends on."""
    parser = _parser()
    parser.add_argument("--arch", default="transformer")
    for stack in ("encoder", "decoder"):
        for option in SHAPE_OPTIONS.values():
            parser.add_argument(f"--{stack}-{option.replace('_', '-')}", type=int)
    for switch in ("share-all-embeddings", "share-decoder-input-output-embed", "encoder-normalize-before"):
        parser.add_argument(f"--{switch}", action="store_true")
    for option, default in (("max-tokens", 4096), ("batch-tokens", None), ("update-freq", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    for option in ("max-update", "max-epoch", "keep-last-epochs", "keep-interval-updates"):
        parser.add_argument(f"--{option}", type=int, default=0)
    return parser.parse_known_args(shlex.split(text))[0]


def _translation_options(text: str) -> Namespace:
    """The options of scripts/translate.sh that a plan depends on, with that script's defaults."""
    parser = _parser()
    for option, default in (("real", 1), ("distilled", 1), ("beam", 5), ("samples", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    return parser.parse_known_args(shlex.split(text))[0]


def _parser() -> ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise DistillationError(f"options cannot be planned: {message}")

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = refuse  # type: ignore[method-assign]  # which would end the process
    return parser
