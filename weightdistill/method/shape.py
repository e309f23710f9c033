"""Shapes of Transformers, with presets: teachers (base, big, deep), and students relative to any teacher.

Does not know the values of weights, and of fairseq only what its settings call the sizes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightdistill.errors import DistillationError
from weightdistill.method.layout import require_known

if TYPE_CHECKING:  # settings of experiments need shapes, but no torch, whose import takes more than a second
    from torch import Tensor


SHAPE_OPTIONS = {"layers": "layers", "width": "embed_dim", "ffn": "ffn_embed_dim", "heads": "attention_heads"}
"""The fields of a StackShape, and what a fairseq Transformer's settings call them behind `encoder_` and `decoder_`."""


@dataclass(frozen=True)
class StackShape:
    """Size of an encoder or a decoder.

    Raises:
        DistillationError: A size is not positive, or the width is not a multiple of the number of heads.
    """

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
    def of(cls, state: "Mapping[str, Tensor]", encoder_heads: int, decoder_heads: int) -> "TransformerShape":
        """Read the shape from a canonical state. The state does not contain the numbers of heads.

        Raises:
            DistillationError: A stack is missing, or the layout does not contain some names.
        """
        parsed_names = require_known(state)

        def stack(name: str, heads: int) -> StackShape:
            layers = [parsed.layer for parsed in parsed_names.values() if parsed.weight_class.stack == name]
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
"""Students of the paper (section 4.1), each derived from the shape of the teacher."""

_BASE = StackShape(layers=6, width=512, ffn=2048, heads=8)
_BIG = StackShape(layers=6, width=1024, ffn=4096, heads=16)

TEACHERS: Mapping[str, TransformerShape] = {
    "base": TransformerShape(encoder=_BASE, decoder=_BASE),
    "big": TransformerShape(encoder=_BIG, decoder=_BIG),
    "deep": TransformerShape(encoder=replace(_BASE, layers=48), decoder=_BASE),
}
"""Teachers of the paper; ``deep`` uses pre-norm."""


def student_shape(preset: str, teacher: TransformerShape) -> TransformerShape:
    """Return the shape of a preset student of this teacher.

    Raises:
        DistillationError: There is no such preset, or the teacher is too narrow for it.
    """
    if preset not in STUDENTS:
        raise DistillationError(f"student preset must be one of {', '.join(STUDENTS)}, but is {preset!r}")
    return STUDENTS[preset](teacher)
