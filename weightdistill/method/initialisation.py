"""Initial values of the generator's maps (W_I, W_O), layer weights (W_L) and gates.

Knows axes and sizes, not modules. All functions return float32 tensors.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from weightdistill.method.layout import Axis
from weightdistill.method.shape import TransformerShape

_RANDOM_MAPS = {"xavier": torch.nn.init.xavier_uniform_, "xavier_normal": torch.nn.init.xavier_normal_}
_STACK_EMBEDDINGS = {"encoder": "encoder.embed_tokens.weight", "decoder": "decoder.embed_tokens.weight"}


def evenly_spaced(count: int, of: int) -> Tensor:
    """Return `count` evenly spaced indices within range(of), shape (count,). If count > of, some repeat."""
    return torch.arange(count) * of // count


def select_map(teacher_size: int, student_size: int, teacher_heads: int = 1, student_heads: int = 1) -> Tensor:
    """Make a map that selects evenly spaced entries. Heads stay intact: each shrinks, and none is split.

    Args:
        teacher_size: Dimension in the teacher, a multiple of teacher_heads.
        student_size: Dimension in the student, a multiple of student_heads.
        teacher_heads: Number of heads along the teacher's axis (1 if the axis has none).
        student_heads: Number of heads along the student's axis.

    Returns:
        One-hot columns, shape (teacher_size, student_size).
    """
    heads = evenly_spaced(student_heads, teacher_heads)
    within = evenly_spaced(student_size // student_heads, teacher_size // teacher_heads)
    chosen = (heads[:, None] * (teacher_size // teacher_heads) + within[None, :]).flatten()  # (student_size,)
    return torch.nn.functional.one_hot(chosen, teacher_size).T.float()


def residual_projection(embeddings: Tensor, student_width: int) -> Tensor:
    """Compute the principal directions of a residual stream from the embeddings that enter it.

    Args:
        embeddings: Embeddings of the teacher, shape (vocabulary, teacher_width).
        student_width: Number of directions.

    Returns:
        Orthonormal columns, shape (teacher_width, student_width). Their signs are fixed, so that the result is
        deterministic.
    """
    moments = embeddings.double().T @ embeddings.double()  # (teacher_width, teacher_width)
    directions: Tensor = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :student_width]
    largest = directions.abs().argmax(dim=0)  # (student_width,)
    return (directions * directions.gather(0, largest[None, :]).sign()).float()


class MapInitialiser:
    """Makes the initial value of a map, depending on the meaning of its axis.

    Args:
        method: One of the values of GeneratorConfig.map_init.
        teacher: Shape of the teacher.
        student: Shape of the student.
        teacher_state: Canonical state of the teacher; `aligned` uses its embeddings.
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
        """Return the initial value of the map along `axis`, shape (teacher_size, student_size)."""
        if self._method in _RANDOM_MAPS:
            return _RANDOM_MAPS[self._method](torch.empty(teacher_size, student_size))
        if axis in (Axis.ENCODER_HEADS, Axis.DECODER_HEADS):
            stack = "encoder" if axis is Axis.ENCODER_HEADS else "decoder"
            heads = getattr(self._teacher, stack).heads, getattr(self._student, stack).heads
            return select_map(teacher_size, student_size, *heads)
        stack = axis.name.partition("_")[0].lower()
        projection = self._projections.get(stack)
        if projection is not None and axis in (Axis.ENCODER_RESIDUAL, Axis.DECODER_RESIDUAL):
            return projection
        if projection is not None and axis in (Axis.ENCODER_GAIN, Axis.DECODER_GAIN):
            # A gain g acts as diag(g). On the projected stream it is the diagonal of Pᵀ diag(g) P, which is (P²)ᵀ g.
            return projection.square()
        return select_map(teacher_size, student_size)


def layer_weights(method: str, size: int, padded_size: int) -> Tensor:
    """Return the initial W_L of a subset of `size` layers, padded with zeros to shape (padded_size,).

    `random` has the distribution of the authors' start: a square matrix of `size` rows, which Xavier's rule draws with
    the variance 1/size, times a vector of 1/size. The terms are independent, so the product's variance is 1/size².
    """
    weights = torch.zeros(padded_size)
    if method == "mean":
        weights[:size] = 1 / size
    elif method == "random":
        weights[:size] = torch.randn(size) / size
    else:
        weights[{"first": 0, "middle": (size - 1) // 2, "last": size - 1}[method]] = 1
    return weights


def preserving_gate(transformed: Tensor) -> Tensor:
    """Return the W with tanh(T)·W = T, elementwise; where T is 0, W is its limit 1."""
    squashed = transformed.tanh()
    return torch.where(squashed == 0, torch.ones_like(transformed), transformed / squashed)
