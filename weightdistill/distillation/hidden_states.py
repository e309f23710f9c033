"""Losses between what happens inside teacher and student: hidden states and attention scores of chosen layers.

A `Match` says which layers are compared and how; `LOSSES` has the published definitions, over all positions that are
not padding. Knows tensors and masks, not the models that they come from.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from weightdistill.distillation.schedules import SCHEDULES
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TransformerShape

FEATURES = ("encoder.hidden", "decoder.hidden", "encoder.attention", "decoder.attention", "decoder.cross_attention")
"""What of a layer is compared: the states that it gives, or the scores of one of its attentions before the softmax."""


@dataclass(frozen=True)
class Feature:
    """One feature of a batch.

    Attributes:
        values: hidden states (batch, positions, width), or scores (batch, heads, queries, keys).
        mask: what counts: positions (batch, positions), or pairs of query and key (batch, queries, keys); booleans.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Match:
    """One comparison of teacher and student, with TextBrewer's names of the fields."""

    layer_T: int | Sequence[int]
    """Teacher's layer, from 1; of hidden states 0 is the embeddings, and the last is what the stack gives. Two layers
    for `fsp`, `gram`, `nst` and `mmd`."""
    layer_S: int | Sequence[int]
    """Student's layer, or two."""
    feature: str
    """One of FEATURES."""
    loss: str
    """One of LOSSES."""
    weight: float = 1.0
    """Of the term in the whole loss, which is a mean over tokens."""
    proj: str | None = None
    """Learned map from the student's width to the teacher's: `linear`, or `relu`, `tanh` or `gelu` after it. None where
    the widths are equal."""
    schedule: str = "constant"
    """How the weight changes (SCHEDULES)."""

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
            raise DistillationError(f"proj of a match is for hidden states, but the feature is {self.feature!r}")
        for field in ("layer_T", "layer_S"):
            if not all(type(layer) is int for layer in _layers(getattr(self, field))):
                raise DistillationError(f"{field} of a match must be a number or two, but is {getattr(self, field)!r}")
            wanted, found = LOSSES[self.loss].layers, len(_layers(getattr(self, field)))
            if found != wanted:
                raise DistillationError(f"{field} of a match by {self.loss} must name {wanted} layers, but has {found}")
        if not isinstance(self.weight, int | float) or not 0 <= self.weight < math.inf:
            raise DistillationError(f"weight of a match must be a finite number of at least 0, but is {self.weight!r}")

    @property
    def of_attention(self) -> bool:
        """Whether attention scores are compared, not hidden states."""
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
        """Check that both models have the layers.

        Raises:
            DistillationError: one has not; or the widths differ, and there is no projection although the loss needs it.
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
                f"a match of {self.feature} by {self.loss} needs a projection, since the student's width is "
                f"{widths[0]} and the teacher's {widths[1]}; add proj: linear"
            )
        heads = getattr(student, stack).heads, getattr(teacher, stack).heads
        if self.of_attention and LOSSES[self.loss].same_heads and heads[0] != heads[1]:
            raise DistillationError(
                f"a match of {self.feature} by {self.loss} needs as many heads in the student as in the teacher, but "
                f"they have {heads[0]} and {heads[1]}; take attention_mse_sum or attention_ce_mean"
            )

    def projection(self, teacher: TransformerShape, student: TransformerShape) -> nn.Module | None:
        """A new projection of the student's states, width to width; None where the match has none."""
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
    (own,), (other,) = student, teacher
    return functional.mse_loss(own.values[own.mask], other.values[own.mask])


def cosine(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean of 1 - cos, the third loss of DistilBERT (Sanh et al., 2019)."""
    (own,), (other,) = student, teacher
    return 1 - functional.cosine_similarity(own.values[own.mask], other.values[own.mask], dim=-1).mean()


def patient(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Squared distance of the states scaled to length one (Sun et al., 2019, equation 7), mean over all positions.

    BERT's classification reads position 0 alone, and so do the paper and TextBrewer; a translation reads them all.
    """
    (own,), (other,) = student, teacher
    ours, theirs = (functional.normalize(feature.values[own.mask], dim=-1) for feature in (own, other))
    return (ours - theirs).square().sum(-1).mean()


def gram_of_widths(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of the Gram matrices of two layers, width by width: FSP (Yim et al., 2017)."""

    def gram(features: Sequence[Feature]) -> Tensor:
        first, second = (feature.values * feature.mask[..., None] for feature in features)  # (batch, positions, width)
        return (first / features[0].mask.sum(1)[:, None, None]).mT @ second  # (batch, width, width)

    return functional.mse_loss(gram(student), gram(teacher))


def gram_of_positions(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of the Gram matrices of two layers, position by position: NST, a form of MMD.

    Huang and Wang (2017). Widths may differ.
    """
    mask = student[0].mask
    pairs = mask[:, :, None] & mask[:, None, :]  # (batch, positions, positions)

    def gram(features: Sequence[Feature]) -> Tensor:
        first, second = (feature.values for feature in features)
        return (first / first.shape[-1] @ second.mT)[pairs]

    return functional.mse_loss(gram(student), gram(teacher))


def attention_mse(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Mean squared difference of the scores, over all heads and all pairs that attention may see."""
    (own,), (other,) = student, teacher
    pairs = own.mask[:, None].expand_as(own.values)
    return functional.mse_loss(own.values[pairs], other.values[pairs])


def attention_mse_sum(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """As `attention_mse`, on the sums of the scores over the heads, whose numbers may differ."""
    (own,), (other,) = student, teacher
    return functional.mse_loss(own.values.sum(1)[own.mask], other.values.sum(1)[own.mask])


def attention_ce(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """Cross-entropy of the student's attention against the teacher's, mean over heads and queries."""
    (own,), (other,) = student, teacher
    pairs = own.mask[:, None]  # (batch, 1, queries, keys)
    return _cross_entropy(own.values, other.values, pairs.expand_as(own.values))


def attention_ce_mean(student: Sequence[Feature], teacher: Sequence[Feature]) -> Tensor:
    """As `attention_ce`, on the means of the scores over the heads, whose numbers may differ."""
    (own,), (other,) = student, teacher
    return _cross_entropy(own.values.mean(1), other.values.mean(1), own.mask)


def _cross_entropy(student: Tensor, teacher: Tensor, pairs: Tensor) -> Tensor:
    """Cross-entropy over the keys that a query may see, mean over the queries that see any; shapes (..., keys)."""
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
"""The losses by TextBrewer's names: all are means, and carry a gradient to the student alone."""

PROJECTIONS: Mapping[str, Callable[[], nn.Module] | None] = {
    "linear": None,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}
"""Activation after the linear map, if any."""


def pkd(strategy: str, teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """Matches of Patient Knowledge Distillation (Sun et al., 2019) in both stacks.

    Student layers but the last learn from teacher layers: evenly spaced ones (`skip`), or those before the last
    (`last`). The last layers are left out, as in the paper: they feed the prediction, which the soft labels teach.

    Args:
        strategy: `skip` or `last`.
        teacher: its shape.
        student: its shape; a stack of one layer has no match.
    """
    matches = []
    for stack in ("encoder", "decoder"):
        theirs, ours = getattr(teacher, stack), getattr(student, stack)
        proj = "linear" if theirs.width != ours.width else None
        for layer in range(1, ours.layers):
            source = layer * theirs.layers // ours.layers if strategy == "skip" else theirs.layers - ours.layers + layer
            matches.append(Match(source, layer, f"{stack}.hidden", "pkd", proj=proj))
    return matches


def distilbert(teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """The third loss of DistilBERT, in both stacks: cosine of the last hidden states."""
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
"""Sets of matches that a name stands for."""


def read_matches(source: str, teacher: TransformerShape, student: TransformerShape) -> list[Match]:
    """The matches of a preset, or of a file: a list of mappings with the fields of `Match`, in YAML or JSON.

    Raises:
        DistillationError: neither, or a match that is impossible between these models.
    """
    if source in PRESETS:
        matches = PRESETS[source](teacher, student)
        if not matches:
            raise DistillationError(f"{source} finds no layers to match in a student of one layer in each stack")
        for match in matches:
            match.require_layers(teacher, student)
        return matches
    path = Path(source)
    if not path.is_file():
        raise DistillationError(f"matches must be one of {', '.join(PRESETS)}, or a file, but are {source!r}")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DistillationError(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
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
            f"a match must have layer_T, layer_S, feature and loss, and may have {', '.join(_fields()[4:])}, but "
            + (f"has {', '.join(sorted(unknown))}" if unknown else f"lacks {', '.join(sorted(missing))}")
        )
    return Match(**entry)


def _fields() -> list[str]:
    return [field.name for field in fields(Match)]


def _layers(layers: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else (layers,)
