"""Architectures of the stock `transformer`: students of a teacher, and the paper's teachers.

They only fill in options, and are saved under the name `transformer`, so that a trained student needs no model of ours.
"""

from argparse import Namespace

from fairseq.models import register_model_architecture
from fairseq.models.transformer.transformer_legacy import base_architecture

from fairseq_plugins import compat, students
from weightdistill.method.shape import TEACHERS


@register_model_architecture("transformer", "student")
def student(args: Namespace) -> None:
    """A student of --teacher-path, of the shape that --student-preset and fairseq's options give."""
    students.fill_in(args)
    _save_as_transformer(args)


@register_model_architecture("transformer", "teacher_base")
def teacher_base(args: Namespace) -> None:
    """The paper's base teacher: 6-6 layers, 512/2048."""
    _teacher("base", args)


@register_model_architecture("transformer", "teacher_big")
def teacher_big(args: Namespace) -> None:
    """The paper's big teacher: 6-6 layers, 1024/4096."""
    _teacher("big", args)


@register_model_architecture("transformer", "teacher_deep")
def teacher_deep(args: Namespace) -> None:
    """The paper's deep teacher: 48-6 layers, 512/2048, pre-norm."""
    args.encoder_normalize_before = args.decoder_normalize_before = True
    _teacher("deep", args)


def _teacher(preset: str, args: Namespace) -> None:
    compat.no_tpu(args)
    for option, value in students.shape_options(TEACHERS[preset]).items():
        if not hasattr(args, option):
            setattr(args, option, value)
    base_architecture(args)
    _save_as_transformer(args)


def _save_as_transformer(args: Namespace) -> None:
    args.arch = "transformer"
    if hasattr(args, "_name"):
        args._name = "transformer"
