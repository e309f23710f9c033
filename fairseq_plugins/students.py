"""A student's settings, shape and start.

Options of fairseq's `transformer` that the command line does not give are the teacher's, as its checkpoint or the cache
of its predictions records them. The shape comes from the
preset, and fairseq's options (`--decoder-layers 2`) override it.
"""

import argparse
import functools
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from torch import nn

from fairseq_plugins import compat, teachers
from fairseq_plugins.teachers import Teacher
from weightdistill import checkpoint
from weightdistill.distillation.teacher_cache import TEACHER_SETTINGS, read_settings
from weightdistill.errors import DistillationError
from weightdistill.method.shape import SHAPE_OPTIONS, StackShape, TransformerShape, student_shape
from weightdistill.method.student_init import initial_student, require_known

logger = logging.getLogger(__name__)

# These concern the shape, start or training of one model.
_NOT_INHERITED = {
    "decoder_input_dim",
    "decoder_output_dim",
    "encoder_embed_path",
    "decoder_embed_path",
    "encoder_layers_to_keep",
    "decoder_layers_to_keep",
    "checkpoint_activations",
    "offload_activations",
    *(f"{stack}_{option}" for stack in ("encoder", "decoder") for option in SHAPE_OPTIONS.values()),
}


def fill_in(args: Namespace) -> None:
    """Complete the options of a student's architecture.

    Args:
        args: options of the training, changed in place.

    Raises:
        DistillationError: neither a teacher nor a cache with its settings is named, or the shape is impossible.
    """
    settings = _settings_of_teacher(args)
    complete(args)
    for option in settings.keys() - _NOT_INHERITED:
        if not hasattr(args, option):
            setattr(args, option, settings[option])
    shape = shape_of(args, shape_in(Namespace(**settings)))
    vars(args).update(shape_options(shape))
    _untie(args, shape)
    base_architecture(args)


def settings_for_students(teacher: Teacher) -> dict[str, Any]:
    """Return what students of a teacher need of its settings: options of fairseq's `transformer`, with its shape.

    Args:
        teacher: the teacher.
    """
    options = sorted((transformer_options() - _NOT_INHERITED) & teacher.config.keys())
    return {**shape_options(teacher.shape), **{option: teacher.config[option] for option in options}}


def complete(args: Namespace) -> None:
    """Complete the options that do not concern a model's shape, for every architecture of this plugin.

    Args:
        args: options of the training, changed in place.

    Raises:
        DistillationError: half precision is asked for on a CPU.
    """
    compat.no_tpu(args)
    if getattr(args, "fp16", False) and (getattr(args, "cpu", False) or not torch.cuda.is_available()):
        raise DistillationError(
            "--fp16 needs a GPU, but this training runs on a CPU; give --cpu instead (and --cpu-bf16 from width 256)"
        )
    if getattr(args, "data", None):  # the checkpoint records it, and may be used from another folder
        args.data = ":".join(str(Path(folder).absolute()) for folder in args.data.split(":"))


def shape_of(args: Namespace, teacher: TransformerShape) -> TransformerShape:
    """Return the student's shape: that of its preset, or else the teacher's, then the options given.

    Args:
        args: options of the training.
        teacher: the teacher's shape.

    Raises:
        DistillationError: the shape is impossible.
    """
    preset = getattr(args, "student_preset", None)
    start = student_shape(preset, teacher) if preset else teacher

    def stack(name: str) -> StackShape:
        fields = {
            field: int(getattr(args, f"{name}_{option}", getattr(getattr(start, name), field)))
            for field, option in SHAPE_OPTIONS.items()
        }
        try:
            return StackShape(**fields)
        except DistillationError as error:
            raise DistillationError(f"student's {name}: {error}") from None

    return TransformerShape(encoder=stack("encoder"), decoder=stack("decoder"))


def shape_in(args: Namespace) -> TransformerShape:
    """Return the shape in the options of a completed architecture."""
    encoder, decoder = (
        StackShape(**{field: int(getattr(args, f"{stack}_{option}")) for field, option in SHAPE_OPTIONS.items()})
        for stack in ("encoder", "decoder")
    )
    return TransformerShape(encoder, decoder)


def require_model(state: Mapping[str, Any], name: str, shape: TransformerShape, generates: bool) -> None:
    """Check that a checkpoint holds a model of this shape, and of this phase.

    Args:
        state: the checkpoint.
        name: its path.
        shape: shape of the student that is trained.
        generates: whether a generator makes its weights.

    Raises:
        DistillationError: it holds another model.
    """
    holds_generator = any(weight.startswith("generator.") for weight in state["model"])
    if holds_generator != generates:
        kinds = {True: "a generator (phase 1)", False: "a student itself"}
        remedy = "export it first (weightdistill export)" if holds_generator else "train in another --save-dir"
        raise DistillationError(
            f"{name} must hold {kinds[generates]} to start from, but holds {kinds[holds_generator]}; {remedy}"
        )
    config = checkpoint.model_config(state)
    options = shape_options(shape)
    held = {option: config[option] for option in options if config.get(option) is not None}
    if held != {option: options[option] for option in held}:
        raise DistillationError(
            f"{name} must hold a student of the shape that is trained, {_described(options)}, but holds one of "
            f"{_described({**options, **held})}; give the --student-preset and shape that it was made with"
        )


def shape_options(shape: TransformerShape) -> dict[str, int]:
    """Return a shape as options of fairseq's `transformer`: encoder_layers, encoder_embed_dim and so on."""
    return {
        f"{stack}_{option}": getattr(getattr(shape, stack), field)
        for stack in ("encoder", "decoder")
        for field, option in SHAPE_OPTIONS.items()
    }


def tied_names(weights: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Map each further name of a weight that has several to its first name."""
    first: dict[int, str] = {}
    return {name: first[id(weight)] for name, weight in weights.items() if first.setdefault(id(weight), name) != name}


@torch.no_grad()
def initialise(model: nn.Module, start: str, sources: Sequence[Teacher], shape: TransformerShape) -> None:
    """Set a new student's weights to a start made from those of its first teacher.

    Args:
        model: the student, changed in place.
        start: one of `weightdistill.method.student_init.NAMES`.
        sources: the student's teachers, of which the first gives the weights.
        shape: the student's shape.

    Raises:
        DistillationError: no such start, one that this student cannot have from this teacher, or no teacher.
    """
    require_known(start)
    if start == "random":
        return
    if not sources:
        raise DistillationError(f"--student-init {start} takes weights from a teacher; give --teacher-path")
    if any(name.startswith("generator.") for name, _ in model.named_parameters()):
        raise DistillationError(
            f"--student-init {start} is for a student that is trained itself; --generator-layer-init and "
            "--generator-map-init say how a generator starts"
        )
    weights = dict(model.named_parameters())
    aliases = tied_names(dict(model.named_parameters(remove_duplicate=False)))
    teacher = sources[0]
    for name, weight in initial_student(start, teacher.state, teacher.shape, weights, shape, aliases).items():
        weights[name].copy_(weight)
    logger.info("student starts as %s of %s", start, teacher.path)


def _described(options: Mapping[str, int]) -> str:
    stacks = []
    for stack in ("encoder", "decoder"):
        layers, width, ffn, heads = (options[f"{stack}_{option}"] for option in SHAPE_OPTIONS.values())
        stacks.append(f"{stack} {layers} x {width}/{ffn} with {heads} heads")
    return ", ".join(stacks)


@functools.cache
def transformer_options() -> frozenset[str]:
    """Return the names of all options of fairseq's `transformer`."""
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    TransformerModel.add_args(parser)
    return frozenset(action.dest for action in parser._actions)


def _settings_of_teacher(args: Namespace) -> dict[str, Any]:
    """Return the teacher's settings: from its checkpoint, or else from the cache of its predictions."""
    if paths := getattr(args, "teacher_path", None):
        return settings_for_students(teachers.read_all(paths)[0])
    if not (cache := getattr(args, "teacher_cache", None)):
        raise DistillationError(
            f"--arch {getattr(args, 'arch', 'student')} takes its settings from a teacher; give --teacher-path or "
            "--teacher-cache, with --task distillation"
        )
    settings: dict[str, Any] | None = read_settings(Path(cache) / getattr(args, "train_subset", "train")).get(
        TEACHER_SETTINGS
    )
    if settings is None:
        raise DistillationError(
            f"teacher cache {cache} is of an older version, without the teacher's settings; give --teacher-path, or "
            "run weightdistill cache-teacher again, which adds them"
        )
    return settings


def _untie(args: Namespace, shape: TransformerShape) -> None:
    if getattr(args, "share_all_embeddings", False) and shape.encoder.width != shape.decoder.width:
        args.share_all_embeddings = False
        args.share_decoder_input_output_embed = True
        logger.info(
            "the teacher shares one embedding between encoder and decoder; the student's differ in width (%d and %d), "
            "so that it has two, and that of the decoder stays tied to the output projection",
            shape.encoder.width,
            shape.decoder.width,
        )
