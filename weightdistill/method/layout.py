"""Weight layout: the meaning of each parameter name of a fairseq Transformer.

One table maps a name to its *class* (its role, the same in every layer) and to the meaning of each of its axes;
grouping and generating need nothing else. Names of older fairseq versions are converted to current ones first. Knows
nothing about modules, files or training.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from torch import Tensor


class Axis(Enum):
    """Meaning of the entries along one axis of a weight."""

    SOURCE_VOCABULARY = "source vocabulary"
    TARGET_VOCABULARY = "target vocabulary"
    ENCODER_POSITIONS = "encoder positions"
    DECODER_POSITIONS = "decoder positions"
    ENCODER_RESIDUAL = "encoder residual stream"
    DECODER_RESIDUAL = "decoder residual stream"
    ENCODER_GAIN = "gains of the encoder residual stream"
    DECODER_GAIN = "gains of the decoder residual stream"
    ENCODER_HEADS = "encoder attention heads"
    DECODER_HEADS = "decoder attention heads"
    ENCODER_FFN = "encoder feed-forward units"
    DECODER_FFN = "decoder feed-forward units"

    @property
    def mappable(self) -> bool:
        """Whether a W_I or W_O may resize this axis. Vocabularies and positions must be the same in both models."""
        return "vocabulary" not in self.value and "positions" not in self.value

    def require_mappable(self, weight: str, before: int, after: int) -> None:
        """Check that this axis may change its size from the teacher's weight to the student's.

        Args:
            weight: Name of the weight, for the error message.
            before: Size in the teacher.
            after: Size in the student.

        Raises:
            DistillationError: The sizes differ, and this axis must keep its size.
        """
        if before != after and not self.mappable:
            raise DistillationError(
                f"{weight}: teacher and student must have the same {self.value}, but have {before} and {after} "
                "entries; build the student with the teacher's dictionaries and positions"
            )


@dataclass(frozen=True)
class WeightClass:
    """The role of a weight, the same in every layer of its stack.

    Attributes:
        name: Name of the parameter without the layer number, e.g. ``decoder.encoder_attn.k_proj.weight``.
        axes: Meaning of each axis in PyTorch's order: (O, I) for a matrix, (O,) for a vector.
        layered: Whether each layer has one instance. Otherwise there is a single one (embeddings, final norms).
    """

    name: str
    axes: tuple[Axis, ...]
    layered: bool

    @property
    def stack(self) -> str:
        """The stack of the weight: ``encoder`` or ``decoder``."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class WeightName:
    """A parsed parameter name: its class and the number of its layer (None outside the layers)."""

    weight_class: WeightClass
    layer: int | None


# Role within a layer -> axes. "residual", "gain", "heads" and "ffn" refer to the stack of the weight.
_LAYER_ROLES = (
    (r"(self|encoder)_attn\.q_proj\.weight", ("heads", "residual")),
    (r"self_attn\.[kv]_proj\.weight", ("heads", "residual")),
    (r"encoder_attn\.[kv]_proj\.weight", ("heads", "encoder residual")),
    (r"(self|encoder)_attn\.[qkv]_proj\.bias", ("heads",)),
    (r"(self|encoder)_attn\.out_proj\.weight", ("residual", "heads")),
    (r"(self|encoder)_attn\.out_proj\.bias", ("residual",)),
    (r"fc1\.weight", ("ffn", "residual")),
    (r"fc1\.bias", ("ffn",)),
    (r"fc2\.weight", ("residual", "ffn")),
    (r"fc2\.bias", ("residual",)),
    (r"(self_attn|encoder_attn|final)_layer_norm\.weight", ("gain",)),
    (r"(self_attn|encoder_attn|final)_layer_norm\.bias", ("residual",)),
)
# Role outside the layers -> axes.
_STACK_ROLES = (
    (r"(embed_tokens|output_projection)\.weight", ("vocabulary", "residual")),
    (r"embed_positions\.weight", ("positions", "residual")),
    (r"(layernorm_embedding|layer_norm)\.weight", ("gain",)),
    (r"(layernorm_embedding|layer_norm)\.bias", ("residual",)),
)
# Names of earlier fairseq versions -> current names.
_RENAMES = (
    (r"(.*)\.layer_norms\.0\.(\w+)", r"\1.self_attn_layer_norm.\2"),
    (r"(encoder.*)\.layer_norms\.1\.(\w+)", r"\1.final_layer_norm.\2"),
    (r"(decoder.*)\.layer_norms\.1\.(\w+)", r"\1.encoder_attn_layer_norm.\2"),
    (r"(decoder.*)\.layer_norms\.2\.(\w+)", r"\1.final_layer_norm.\2"),
    (r"decoder\.embed_out", r"decoder.output_projection.weight"),
)
_BUFFERS = re.compile(r"(encoder|decoder)\.(version|embed_positions\.(_float_tensor|weights))")
# fairseq 0.12.2 stores the matrices of every encoder layer twice; the copies serve its fast path.
_COPIES = re.compile(r"encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)")
_FUSED = re.compile(r"(?P<attention>.*_attn)\.in_proj_(?P<kind>weight|bias)")
_NAME = re.compile(r"(?P<stack>encoder|decoder)\.(layers\.(?P<layer>\d+)\.)?(?P<role>.+)")


def _axes(stack: str, words: Iterable[str]) -> tuple[Axis, ...]:
    def axis(word: str) -> Axis:
        if word == "vocabulary":
            return Axis.SOURCE_VOCABULARY if stack == "encoder" else Axis.TARGET_VOCABULARY
        return Axis["_".join((word if " " in word else f"{stack} {word}").upper().split())]

    return tuple(axis(word) for word in words)


def parse(name: str) -> WeightName | None:
    """Parse a current parameter name. Returns None if the table does not contain it."""
    if not (match := _NAME.fullmatch(name)):
        return None
    stack, layer, role = match["stack"], match["layer"], match["role"]
    if stack == "encoder" and role.startswith(("encoder_attn", "output_projection")):
        return None
    for pattern, words in _STACK_ROLES if layer is None else _LAYER_ROLES:
        if re.fullmatch(pattern, role):
            weight_class = WeightClass(f"{stack}.{role}", _axes(stack, words), layered=layer is not None)
            return WeightName(weight_class, None if layer is None else int(layer))
    return None


def is_copy(name: str) -> bool:
    """Return whether a parameter is the second copy of another one, as fairseq 0.12.2 stores it."""
    return _COPIES.fullmatch(name) is not None


def canonical(state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Convert a Transformer state of any fairseq version to current names.

    Renames old layer norms and output embeddings, splits ``in_proj_weight`` (3·E, E) and ``in_proj_bias`` (3·E,) into
    q, k and v, and drops buffers that hold no weight as well as the second copies of fairseq 0.12.2.

    Raises:
        DistillationError: The table does not contain some names, all of which are listed; or a fused weight cannot be
            split.
    """
    renamed: dict[str, Tensor] = {}
    for name, weight in state.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(f"^{pattern}$", replacement, name)
        if match := _FUSED.fullmatch(name):
            if len(weight) % 3:
                raise DistillationError(
                    f"{name} must hold q, k and v, i.e. a multiple of 3 rows, but has {len(weight)}; use a checkpoint "
                    "written by fairseq"
                )
            for projection, part in zip("qkv", weight.chunk(3), strict=True):
                renamed[f"{match['attention']}.{projection}_proj.{match['kind']}"] = part
        elif not _BUFFERS.fullmatch(name) and not is_copy(name):
            renamed[name] = weight
    require_known(renamed)
    return renamed


def require_known(names: Iterable[str]) -> dict[str, WeightName]:
    """Parse all names.

    Raises:
        DistillationError: The table does not contain some names, all of which are listed.
    """
    parsed_names = {name: parse(name) for name in names}
    if unknown := [name for name, parsed in parsed_names.items() if parsed is None]:
        raise DistillationError(
            f"{len(unknown)} parameter names are not those of a fairseq Transformer: {', '.join(sorted(unknown))}; "
            "only the standard `transformer` encoder-decoder can be distilled"
        )
    return {name: parsed for name, parsed in parsed_names.items() if parsed is not None}
