"""Start values of the generator's maps (W_I, W_O), layer weights (W_L) and gates.

Knows axes and sizes, not modules. All functions return float32 tensors.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from weightdistill.method.layout import Axis
from weightdistill.method.shape import TransformerShape

_STACK_EMBEDDINGS = {"encoder": "encoder.embed_tokens.weight", "decoder": "decoder.embed_tokens.weight"}


def evenly_spaced(count: int, of: int) -> Tensor:
    """`count` indices spread evenly over range(of); shape (count,). More than `of` of them repeat some."""
    return torch.arange(count) * of // count


def select_map(teacher_size: int, student_size: int, teacher_heads: int = 1, student_heads: int = 1) -> Tensor:
    """A map that keeps evenly spaced entries, and keeps heads whole: each head shrinks, none is torn.

    Args:
        teacher_size: teacher's dimension, a multiple of teacher_heads.
        student_size: student's dimension, a multiple of student_heads.
        teacher_heads: heads along the teacher's axis (1 when the axis has none).
        student_heads: heads along the student's axis.

    Returns:
        One-hot columns, shape (teacher_size, student_size).
    """
    heads = evenly_spaced(student_heads, teacher_heads)
    within = evenly_spaced(student_size // student_heads, teacher_size // teacher_heads)
    chosen = (heads[:, None] * (teacher_size // teacher_heads) + within[None, :]).flatten()  # (student_size,)
    return torch.nn.functional.one_hot(chosen, teacher_size).T.float()


def residual_projection(embeddings: Tensor, student_width: int) -> Tensor:
    """Principal directions of a residual stream, read off the embeddings that enter it.

    Args:
        embeddings: teacher's embeddings, shape (vocabulary, teacher_width).
        student_width: directions to keep.

    Returns:
        Orthonormal columns, shape (teacher_width, student_width). The signs are fixed so that the result is
        deterministic.
    """
    moments = embeddings.double().T @ embeddings.double()  # (teacher_width, teacher_width)
    directions: Tensor = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :student_width]
    largest = directions.abs().argmax(dim=0)  # (student_width,)
    return (directions * directions.gather(0, largest[None, :]).sign()).float()


class MapInitialiser:
    """Makes the start value of a map from what its axis means.

    Args:
        method: `xavier`, `select` or `aligned` (see GeneratorConfig.map_init).
        teacher: teacher's shape.
        student: student's shape.
        teacher_state: teacher's canonical state; `aligned` reads its embeddings.
    """

    def __init__(
        self, method: str, teacher: TransformerShape, student: TransformerShape, teacher_state: Mapping[str, Tensor]
    ) -> None:
        self._method = method
        self._teacher = teacher
        self._student = student
        self._projections = {
            stack: residual_projection(teacher_state[name], getattr(student, stack).width)
            for stack, name in _STACK_EMBEDDINGS.items()
            if method == "aligned"
            and name in teacher_state
            and getattr(student, stack).width < getattr(teacher, stack).width
        }

    def __call__(self, axis: Axis, teacher_size: int, student_size: int) -> Tensor:
        """Start value of the map along `axis`, shape (teacher_size, student_size)."""
        if self._method == "xavier":
            return torch.nn.init.xavier_uniform_(torch.empty(teacher_size, student_size))
        if axis in (Axis.ENCODER_HEADS, Axis.DECODER_HEADS):
            stack = "encoder" if axis is Axis.ENCODER_HEADS else "decoder"
            heads = getattr(self._teacher, stack).heads, getattr(self._student, stack).heads
            return select_map(teacher_size, student_size, *heads)
        stack = axis.name.partition("_")[0].lower()
        projection = self._projections.get(stack)
        if projection is not None and axis in (Axis.ENCODER_RESIDUAL, Axis.DECODER_RESIDUAL):
            return projection
        if projection is not None and axis in (Axis.ENCODER_GAIN, Axis.DECODER_GAIN):
            # A gain is diag(g) in the stream; in the projected stream its diagonal is diag(Pᵀ diag(g) P) = (P²)ᵀ g.
            return projection.square()
        return select_map(teacher_size, student_size)


def layer_weights(method: str, size: int, padded_size: int) -> Tensor:
    """Start value of W_L for a subset of `size` layers, padded with zeros to shape (padded_size,)."""
    weights = torch.zeros(padded_size)
    if method == "mean":
        weights[:size] = 1 / size
    else:
        weights[{"first": 0, "middle": (size - 1) // 2, "last": size - 1}[method]] = 1
    return weights


def preserving_gate(transformed: Tensor) -> Tensor:
    """The W for which tanh(T)·W = T, elementwise; 1, its limit, where T is 0."""
    squashed = transformed.tanh()
    return torch.where(squashed == 0, torch.ones_like(transformed), transformed / squashed)
