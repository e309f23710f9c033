"""Shapes of Transformers, and the named ones: teachers (base, big, deep) and students relative to any teacher.

Knows nothing about weights' values or about fairseq's options.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.method.layout import require_known


@dataclass(frozen=True)
class StackShape:
    """Size of an encoder or a decoder."""

    layers: int
    """Number of layers."""
    width: int
    """Size of the residual stream."""
    ffn: int
    """Size of the feed-forward layer."""
    heads: int
    """Number of attention heads."""

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if value < 1:
                raise DistillationError(f"{field} must be at least 1, but is {value}")
        if self.width % self.heads:
            raise DistillationError(
                f"width must be a multiple of the number of heads ({self.heads}), but is {self.width}; "
                "change the embedding size or the number of heads"
            )


@dataclass(frozen=True)
class TransformerShape:
    """Size of an encoder-decoder."""

    encoder: StackShape
    decoder: StackShape

    @classmethod
    def of(cls, state: Mapping[str, Tensor], encoder_heads: int, decoder_heads: int) -> "TransformerShape":
        """Read the shape off a canonical state; only the numbers of heads are not in it.

        Raises:
            DistillationError: the state lacks a whole stack, or names that the layout does not know.
        """
        names = require_known(state)

        def stack(name: str, heads: int) -> StackShape:
            layers = [meaning.layer for meaning in names.values() if meaning.weight_class.stack == name]
            ffn = state.get(f"{name}.layers.0.fc1.weight")
            if ffn is None:
                raise DistillationError(
                    f"the state has no {name} layers; a teacher must be a whole encoder-decoder Transformer"
                )
            depth = 1 + max(layer for layer in layers if layer is not None)
            return StackShape(layers=depth, width=ffn.shape[1], ffn=ffn.shape[0], heads=heads)

        return cls(encoder=stack("encoder", encoder_heads), decoder=stack("decoder", decoder_heads))


def _tiny(teacher: TransformerShape) -> TransformerShape:
    decoder = teacher.decoder
    return replace(teacher, decoder=replace(decoder, layers=1, width=decoder.width // 2, ffn=decoder.ffn // 2))


def _small(teacher: TransformerShape) -> TransformerShape:
    return replace(teacher, decoder=replace(teacher.decoder, layers=2))


STUDENTS: Mapping[str, Callable[[TransformerShape], TransformerShape]] = {"tiny": _tiny, "small": _small}
"""Students of the paper (its section 4.1), each derived from the teacher's shape."""

_BASE = StackShape(layers=6, width=512, ffn=2048, heads=8)
_BIG = StackShape(layers=6, width=1024, ffn=4096, heads=16)

TEACHERS: Mapping[str, TransformerShape] = {
    "base": TransformerShape(encoder=_BASE, decoder=_BASE),
    "big": TransformerShape(encoder=_BIG, decoder=_BIG),
    "deep": TransformerShape(encoder=replace(_BASE, layers=48), decoder=_BASE),
}
"""Teachers of the paper; ``deep`` is trained with pre-norm."""


def student_shape(preset: str, teacher: TransformerShape) -> TransformerShape:
    """The named student of this teacher.

    Raises:
        DistillationError: no such preset, or the teacher is too narrow for it.
    """
    if preset not in STUDENTS:
        raise DistillationError(f"student preset must be one of {', '.join(STUDENTS)}, but is {preset!r}")
    return STUDENTS[preset](teacher)
