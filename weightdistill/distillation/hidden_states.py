"""Losses between hidden states or attention scores of teacher and student.

A `Match` says which layers are compared and how. `LOSSES` has the published definitions, over all positions that are
not padding. Knows tensors and masks, not the models that they come from.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightdistill import files
from weightdistill.distillation.schedules import SCHEDULES
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TransformerShape

FEATURES = ("encoder.hidden", "decoder.hidden", "encoder.attention", "decoder.attention", "decoder.cross_attention")
"""Features of a layer: its output states, or the scores of one of its attentions before the softmax."""


@dataclass(frozen=True)
class Feature:
    """One feature of a batch.

    Attributes:
        values: Hidden states (batch, positions, width), or attention scores (batch, heads, queries, keys).
        mask: Entries that count: positions (batch, positions), or query-key pairs (batch, queries, keys); booleans.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Match:
    """One comparison of teacher and student. The fields have the same names as in TextBrewer.

    Raises:
        DistillationError: A value is invalid, or the values contradict each other.
    """

    layer_T: int | Sequence[int]
    """Teacher's layer, from 1. For hidden states, 0 is the embeddings, and the last layer is the output of the stack.
    `fsp`, `gram`, `nst` and `mmd` need two layers."""
    layer_S: int | Sequence[int]
    """Student's layer, or two layers."""
    feature: str
    """One of FEATURES."""
    loss: str
    """One of LOSSES."""
    weight: float = 1.0
    """Weight of this term in the total loss, which is a mean over tokens."""
    proj: str | None = None
    """Learned map from the student's width to the teacher's: `linear`, or a linear map followed by `relu`, `tanh` or
    `gelu`. None if the widths are equal."""
    schedule: str = "constant"
    """How the weight changes during training; one of SCHEDULES."""

    def __post_init__(self) -> None:
        rules = (
            ("feature", self.feature, FEATURES),
            ("loss", self.loss, tuple(LOSSES)),
            ("schedule", self.schedule, SCHEDULES),
            ("proj", self.proj, (None, *PROJECTIONS)),
        )
        for field, value, choices in rules:
            if value not in choices:
                listed = ", ".join(str(choice).lower() for choice in choices)
                raise DistillationError(f"{field} of a match must be one of {listed}, but is {value!r}")
        kind = "attention" if self.of_attention else "hidden states"
        if LOSSES[self.loss].of_attention != self.of_attention:
            raise DistillationError(
                f"loss of a match must be one of {', '.join(self._losses())} for {kind}, but is {self.loss!r}"
            )
        if self.proj and self.of_attention:
            raise DistillationError(
                f"proj of a match needs hidden states, but the feature is {self.feature!r}; remove proj"
            )
        for field in ("layer_T", "layer_S"):
            if not all(type(layer) is int for layer in _layers(getattr(self, field))):
                raise DistillationError(
                    f"{field} of a match must be one or two whole numbers, but is {getattr(self, field)!r}"
                )
            expected, count = LOSSES[self.loss].layers, len(_layers(getattr(self, field)))
            if count != expected:
                raise DistillationError(
                    f"{field} of a match must name {expected} layers for the loss {self.loss}, but names {count}"
                )
        if not isinstance(self.weight, int | float) or not 0 <= self.weight < math.inf:
            raise DistillationError(f"weight of a match must be a finite number of at least 0, but is {self.weight!r}")

    @property
    def of_attention(self) -> bool:
        """Whether attention scores are compared rather than hidden states."""
        return self.feature.endswith("attention")

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's layers, one or two."""
        return _layers(self.layer_T)

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The student's layers, one or two."""
        return _layers(self.layer_S)

    def require_layers(self, teacher: TransformerShape, student: TransformerShape) -> None:
        """Check that this match fits two models.

        Raises:
            DistillationError: A model lacks a layer; or their widths differ and the loss needs a projection; or their
                numbers of heads differ and the loss needs equal ones.
        """
        stack = self.feature.partition(".")[0]
        least = 1 if self.of_attention else 0
        for field, layers, shape in (
            ("layer_T", self.teacher_layers, getattr(teacher, stack)),
            ("layer_S", self.student_layers, getattr(student, stack)),
        ):
            for layer in layers:
                if not least <= layer <= shape.layers:
                    raise DistillationError(
                        f"{field} of a match of {self.feature} must be within {least} and {shape.layers}, but is "
                        f"{layer}"
                    )
        widths = getattr(student, stack).width, getattr(teacher, stack).width
        if not self.of_attention and LOSSES[self.loss].same_width and widths[0] != widths[1] and not self.proj:
            raise DistillationError(
                f"a match of {self.feature} by {self.loss} needs equal widths or a projection, but the student's width "
                f"is {widths[0]} and the teacher's {widths[1]}; add proj: linear"
            )
        heads = getattr(student, stack).heads, getattr(teacher, stack).heads
        if self.of_attention and LOSSES[self.loss].same_heads and heads[0] != heads[1]:
            raise DistillationError(
                f"a match of {self.feature} by {self.loss} needs equal numbers of heads, but the student has "
                f"{heads[0]} and the teacher {heads[1]}; use attention_mse_sum or attention_ce_mean"
            )

    def projection(self, teacher: TransformerShape, student: TransformerShape) -> nn.Module | None:
        """Make a new projection from the student's width to the teacher's; None if the match has none."""
        if self.proj is None:
            return None
        stack = self.feature.partition(".")[0]
        linear = nn.Linear(getattr(student, stack).width, getattr(teacher, stack).width)
        activation = PROJECTIONS[self.proj]
        return nn.Sequential(linear, activation()) if activation else linear

    def _losses(self) -> list[str]:
        return [name for name, loss in LOSSES.items() if loss.of_attention == self.of_attention]


def hidden_mse(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of the states."""
    (student_states,), (teacher_states,) = student, teacher
    mask = student_states.mask
    return functional.mse_loss(student_states.values[mask], teacher_states.values[mask])


def cosine(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean of 1 - cos, the third loss of DistilBERT (Sanh et al., 2019)."""
    (student_states,), (teacher_states,) = student, teacher
    mask = student_states.mask
    return 1 - functional.cosine_similarity(student_states.values[mask], teacher_states.values[mask], dim=-1).mean()


def patient(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Squared distance of the states after scaling to unit length (Sun et al., 2019, equation 7); mean over positions.

    The paper and TextBrewer use only position 0, which BERT's classifier reads; a translation model reads all of them.
    """
    (student_states,), (teacher_states,) = student, teacher
    mask = student_states.mask
    student_units = functional.normalize(student_states.values[mask], dim=-1)
    teacher_units = functional.normalize(teacher_states.values[mask], dim=-1)
    return (student_units - teacher_units).square().sum(-1).mean()


def gram_of_widths(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of width-by-width Gram matrices of two layers: FSP (Yim et al., 2017)."""

    def gram(features: Sequence[Feature]) -> Tensor:
        first, second = (feature.values * feature.mask[..., None] for feature in features)  # (batch, positions, width)
        return (first / features[0].mask.sum(1)[:, None, None]).mT @ second  # (batch, width, width)

    return functional.mse_loss(gram(student), gram(teacher))


def gram_of_positions(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of position-by-position Gram matrices of two layers: NST, a form of MMD.

    Huang and Wang (2017). The widths may differ. Products are divided by the width; with a mask, TextBrewer 0.2.1
    divides them by the padded length.
    """
    mask = student[0].mask
    pairs = mask[:, :, None] & mask[:, None, :]  # (batch, positions, positions)

    def gram(features: Sequence[Feature]) -> Tensor:
        first, second = (feature.values for feature in features)
        return (first / first.shape[-1] @ second.mT)[pairs]

    return functional.mse_loss(gram(student), gram(teacher))


def attention_mse(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of the scores, over all heads and all query-key pairs that attention may see."""
    (student_scores,), (teacher_scores,) = student, teacher
    pairs = student_scores.mask[:, None].expand_as(student_scores.values)
    return functional.mse_loss(student_scores.values[pairs], teacher_scores.values[pairs])


def attention_mse_sum(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Like `attention_mse`, on scores summed over the heads, whose numbers may differ."""
    (student_scores,), (teacher_scores,) = student, teacher
    pairs = student_scores.mask
    return functional.mse_loss(student_scores.values.sum(1)[pairs], teacher_scores.values.sum(1)[pairs])


def attention_ce(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Cross-entropy of the student's attention against the teacher's; mean over heads and queries."""
    (student_scores,), (teacher_scores,) = student, teacher
    pairs = student_scores.mask[:, None].expand_as(student_scores.values)
    return _cross_entropy(student_scores.values, teacher_scores.values, pairs)


def attention_ce_mean(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Like `attention_ce`, on scores averaged over the heads, whose numbers may differ."""
    (student_scores,), (teacher_scores,) = student, teacher
    return _cross_entropy(student_scores.values.mean(1), teacher_scores.values.mean(1), student_scores.mask)


def _cross_entropy(student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
    """Cross-entropy over the visible keys of a query; mean over queries with a visible key; shapes (..., keys)."""
    lowest = torch.finfo(student.dtype).min
    terms = teacher.masked_fill(~pairs, lowest).softmax(-1) * student.masked_fill(~pairs, lowest).log_softmax(-1)
    queries = pairs.any(-1)
    return -terms.masked_fill(~pairs, 0).sum(-1)[queries].mean()


@dataclass(frozen=True)
class _Loss:
    compute: Callable[[Sequence[Feature], Sequence[Feature]], Tensor]
    of_attention: bool = False
    layers: int = 1
    same_width: bool = True
    same_heads: bool = True


LOSSES: Mapping[str, _Loss] = {
    "hidden_mse": _Loss(hidden_mse),
    "cos": _Loss(cosine),
    "pkd": _Loss(patient),
    "fsp": _Loss(gram_of_widths, layers=2),
    "gram": _Loss(gram_of_widths, layers=2),
    "nst": _Loss(gram_of_positions, layers=2, same_width=False),
    "mmd": _Loss(gram_of_positions, layers=2, same_width=False),
    "attention_mse": _Loss(attention_mse, of_attention=True),
    "attention_mse_sum": _Loss(attention_mse_sum, of_attention=True, same_heads=False),
    "attention_ce": _Loss(attention_ce, of_attention=True),
    "attention_ce_mean": _Loss(attention_ce_mean, of_attention=True, same_heads=False),
}
"""Losses by their names in TextBrewer. All are means; only the student receives a gradient."""

PROJECTIONS: Mapping[str, Callable[[], nn.Module] | None] = {
    "linear": None,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}
"""Activation after the linear map, if any."""


def pkd(strategy: str, teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """Make the matches of Patient Knowledge Distillation (Sun et al., 2019) in both stacks.

    All student layers except the last learn from teacher layers: from evenly spaced ones (`skip`), or from the ones
    just before the last (`last`). As in the paper, the last layers are not matched, since soft labels teach the
    predictions that depend on them.

    Args:
        strategy: `skip` or `last`.
        teacher: Shape of the teacher.
        student: Shape of the student. A stack with a single layer has no match.
    """
    matches = []
    for stack in ("encoder", "decoder"):
        teacher_stack, student_stack = getattr(teacher, stack), getattr(student, stack)
        depths = teacher_stack.layers, student_stack.layers
        proj = "linear" if teacher_stack.width != student_stack.width else None
        for layer in range(1, student_stack.layers):
            teacher_layer = layer * depths[0] // depths[1] if strategy == "skip" else depths[0] - depths[1] + layer
            matches.append(Match(teacher_layer, layer, f"{stack}.hidden", "pkd", proj=proj))
    return matches


def distilbert(teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """Make the matches of DistilBERT's third loss in both stacks: cosine of the last hidden states."""
    return [
        Match(
            getattr(teacher, stack).layers,
            getattr(student, stack).layers,
            f"{stack}.hidden",
            "cos",
            proj="linear" if getattr(teacher, stack).width != getattr(student, stack).width else None,
        )
        for stack in ("encoder", "decoder")
    ]


PRESETS: Mapping[str, Callable[[TransformerShape, TransformerShape], list[Match]]] = {
    "pkd-skip": lambda teacher, student: pkd("skip", teacher, student),
    "pkd-last": lambda teacher, student: pkd("last", teacher, student),
    "distilbert": distilbert,
}
"""Named sets of matches."""


def read_matches(source: str, teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """Read the matches of a preset or a file.

    Args:
        source: One of PRESETS, or the path of a YAML or JSON file: a list of mappings with the fields of `Match`.
        teacher: Shape of the teacher.
        student: Shape of the student.

    Raises:
        DistillationError: There is neither such a preset nor such a file, or a match does not fit the two models.
    """
    if source in PRESETS:
        matches = PRESETS[source](teacher, student)
        if not matches:
            raise DistillationError(
                f"{source} needs a student with two layers in a stack, but this one has one in each; use distilbert"
            )
        for match in matches:
            match.require_layers(teacher, student)
        return matches
    path = Path(source)
    if not path.is_file():
        raise DistillationError(f"matches must be one of {', '.join(PRESETS)}, or a file, but are {source!r}")
    entries = files.read_yaml(path, "give a list of matches in YAML or JSON")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise DistillationError(f"{path} must hold a list of matches, each a mapping of {', '.join(_fields())}")
    matches = []
    for number, entry in enumerate(entries, start=1):
        try:
            matches.append(_match(entry))
            matches[-1].require_layers(teacher, student)
        except DistillationError as error:
            raise DistillationError(f"{path}, match {number} {json.dumps(entry)}: {error}") from None
    return matches


def _match(entry: dict[str, Any]) -> Match:
    unknown, missing = set(entry) - set(_fields()), {"layer_T", "layer_S", "feature", "loss"} - set(entry)
    if unknown or missing:
        raise DistillationError(
            f"a match must have layer_T, layer_S, feature and loss, and may have {', '.join(_fields()[4:])}, but this "
            "one " + (f"has {', '.join(sorted(unknown))}" if unknown else f"lacks {', '.join(sorted(missing))}")
        )
    return Match(**entry)


def _fields() -> list[str]:
    return [field.name for field in fields(Match)]


def _layers(layers: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else (layers,)
