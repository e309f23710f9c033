"""Architectures of the stock `transformer`: students of a teacher, and the paper's teachers.

They only fill in options, and are saved under the name `transformer`, so that a trained student needs no plugin.
"""

from argparse import Namespace

from fairseq.models import register_model_architecture
from fairseq.models.transformer.transformer_legacy import base_architecture

from fairseq_plugins import students
from weightdistill.method.shape import TEACHERS


@register_model_architecture("transformer", "student")
def student(args: Namespace) -> None:
    """Fill in a student of --teacher-path, of the shape that --student-preset and fairseq's options give.

    Args:
        args: options of the training, changed in place.

    Raises:
        DistillationError: no teacher is given, or the shape is impossible.
    """
    students.fill_in(args)
    _save_as_transformer(args)


@register_model_architecture("transformer", "teacher_base")
def teacher_base(args: Namespace) -> None:
    """Fill in the paper's base teacher: 6-6 layers, 512/2048.

    Args:
        args: options of the training, changed in place.
    """
    _teacher("base", args)


@register_model_architecture("transformer", "teacher_big")
def teacher_big(args: Namespace) -> None:
    """Fill in the paper's big teacher: 6-6 layers, 1024/4096.

    Args:
        args: options of the training, changed in place.
    """
    _teacher("big", args)


@register_model_architecture("transformer", "teacher_deep")
def teacher_deep(args: Namespace) -> None:
    """Fill in the paper's deep teacher: 48-6 layers, 512/2048, pre-norm.

    Args:
        args: options of the training, changed in place.
    """
    args.encoder_normalize_before = args.decoder_normalize_before = True
    _teacher("deep", args)


def _teacher(preset: str, args: Namespace) -> None:
    students.complete(args)
    for option, value in students.shape_options(TEACHERS[preset]).items():
        if not hasattr(args, option):
            setattr(args, option, value)
    base_architecture(args)
    _save_as_transformer(args)


def _save_as_transformer(args: Namespace) -> None:
    args.arch = "transformer"
    if hasattr(args, "_name"):
        args._name = "transformer"
