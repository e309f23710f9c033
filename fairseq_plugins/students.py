"""A student's fairseq settings: the teacher's, with another shape.

Whatever transformer option the command line does not give is the teacher's; the shape comes from the preset, and
fairseq's own options (`--decoder-layers 2`) override it.
"""

import argparse
import functools
import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence

import torch
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from torch import nn

from fairseq_plugins import compat, teachers
from fairseq_plugins.teachers import Teacher
from weightdistill.errors import DistillationError
from weightdistill.method.shape import StackShape, TransformerShape, student_shape
from weightdistill.method.student_init import initial_student, require_known

logger = logging.getLogger(__name__)

# What fairseq calls the fields of a StackShape.
_SHAPE_OPTIONS = {"layers": "layers", "width": "embed_dim", "ffn": "ffn_embed_dim", "heads": "attention_heads"}
# These belong to one model's shape, start or training, and mean nothing for another.
_NOT_INHERITED = {
    "decoder_input_dim",
    "decoder_output_dim",
    "encoder_embed_path",
    "decoder_embed_path",
    "encoder_layers_to_keep",
    "decoder_layers_to_keep",
    "checkpoint_activations",
    "offload_activations",
    *(f"{stack}_{option}" for stack in ("encoder", "decoder") for option in _SHAPE_OPTIONS.values()),
}


def fill_in(args: Namespace) -> None:
    """Complete the options of a student's architecture, in place.

    Raises:
        DistillationError: no teacher is named, or the shape is impossible.
    """
    if not (paths := getattr(args, "teacher_path", None)):
        raise DistillationError(
            f"--arch {getattr(args, 'arch', 'student')} takes its settings from a teacher; give --teacher-path, with "
            "--task distillation"
        )
    compat.no_tpu(args)
    teacher = teachers.read_all(paths)[0]
    for option in transformer_options() - _NOT_INHERITED:
        if not hasattr(args, option) and option in teacher.config:
            setattr(args, option, teacher.config[option])
    shape = shape_of(args, teacher.shape)
    vars(args).update(shape_options(shape))
    _untie(args, shape)
    base_architecture(args)


def shape_of(args: Namespace, teacher: TransformerShape) -> TransformerShape:
    """The student's shape: its preset (or else the teacher's shape), then the options given.

    Raises:
        DistillationError: the shape is impossible.
    """
    preset = getattr(args, "student_preset", None)
    start = student_shape(preset, teacher) if preset else teacher

    def stack(name: str) -> StackShape:
        fields = {
            field: int(getattr(args, f"{name}_{option}", getattr(getattr(start, name), field)))
            for field, option in _SHAPE_OPTIONS.items()
        }
        try:
            return StackShape(**fields)
        except DistillationError as error:
            raise DistillationError(f"student's {name}: {error}") from None

    return TransformerShape(encoder=stack("encoder"), decoder=stack("decoder"))


def shape_in(args: Namespace) -> TransformerShape:
    """The shape that a completed architecture has."""
    encoder, decoder = (
        StackShape(**{field: int(getattr(args, f"{stack}_{option}")) for field, option in _SHAPE_OPTIONS.items()})
        for stack in ("encoder", "decoder")
    )
    return TransformerShape(encoder, decoder)


def shape_options(shape: TransformerShape) -> dict[str, int]:
    """A shape as options of fairseq's `transformer`: encoder_layers, encoder_embed_dim and so on."""
    return {
        f"{stack}_{option}": getattr(getattr(shape, stack), field)
        for stack in ("encoder", "decoder")
        for field, option in _SHAPE_OPTIONS.items()
    }


def tied_names(weights: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Of weights that come under several names, each later name with the first one."""
    first: dict[int, str] = {}
    return {name: first[id(weight)] for name, weight in weights.items() if first.setdefault(id(weight), name) != name}


@torch.no_grad()
def initialise(model: nn.Module, start: str, of: Sequence[Teacher], shape: TransformerShape) -> None:
    """Set a new student's weights to a start made from its (first) teacher's, in place.

    Raises:
        DistillationError: no such start, one that this student cannot have from this teacher, or no teacher.
    """
    require_known(start)
    if start == "random":
        return
    if not of:
        raise DistillationError(f"--student-init {start} takes weights from a teacher; give --teacher-path")
    if any(name.startswith("generator.") for name, _ in model.named_parameters()):
        raise DistillationError(
            f"--student-init {start} is for a student that is trained itself; a generator starts as its own options "
            "say (--generator-layer-init, --generator-map-init)"
        )
    weights = dict(model.named_parameters())
    aliases = tied_names(dict(model.named_parameters(remove_duplicate=False)))
    for name, weight in initial_student(start, of[0].state, of[0].shape, weights, shape, aliases).items():
        weights[name].copy_(weight)
    logger.info("student starts as %s of %s", start, of[0].path)


@functools.cache
def transformer_options() -> frozenset[str]:
    """Names of all options of fairseq's `transformer`."""
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    TransformerModel.add_args(parser)
    return frozenset(action.dest for action in parser._actions)


def _untie(args: Namespace, shape: TransformerShape) -> None:
    if getattr(args, "share_all_embeddings", False) and shape.encoder.width != shape.decoder.width:
        args.share_all_embeddings = False
        args.share_decoder_input_output_embed = True
        logger.info(
            "the teacher shares one embedding between encoder and decoder; the student's have %d and %d columns, so it "
            "has one for each, and the decoder's stays tied to the output projection",
            shape.encoder.width,
            shape.decoder.width,
        )
