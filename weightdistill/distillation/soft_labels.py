"""Soft labels: the teacher's predictions as training targets, complete or top-k, softened by temperatures.

Knows logits and probabilities; neither how a teacher is run nor which loss uses them.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from weightdistill.errors import DistillationError

TOP_K_RESTS = ("renormalise", "spread")
"""Treatment of the mass outside the top k: rescale the top k to sum to 1, or spread the mass evenly over the others."""
TEMPERATURE_SCHEDULES = ("constant", "flsw", "cwsm")
"""One temperature for all tokens, or one for each (`flsw_temperatures`, `cwsm_temperatures`)."""
LOWEST_TEMPERATURE = 0.1
"""Lower bound of the temperatures that depend on the token; the formulas may even fall below zero."""


class SoftLabels(Protocol):
    """One distribution over the vocabulary per token."""

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the distributions: (tokens, vocabulary)."""

    @property
    def temperature(self) -> float | Tensor:
        """Temperature of these distributions and of the student's: one for all tokens, or of shape (tokens,)."""

    def probabilities(self, chunk: slice) -> Tensor:
        """Compute the distributions of some tokens in float32 or float64, shape (rows, vocabulary)."""


@dataclass(frozen=True)
class TeacherLogits:
    """Soft labels from a teacher's logits.

    Attributes:
        logits: Logits of the teacher, shape (tokens, vocabulary).
        temperature: One temperature for all tokens, or of shape (tokens,).
        top_k: Number of tokens to keep per position; 0 for all.
        rest: Treatment of the mass of the other tokens (TOP_K_RESTS).
        reference: Reference tokens, shape (tokens,). If given, the logit of the reference and the largest logit are
            swapped ("probability shift"), so that the teacher always predicts the reference.
    """

    logits: Tensor
    temperature: float | Tensor = 1.0
    top_k: int = 0
    rest: str = "renormalise"
    reference: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the distributions: (tokens, vocabulary)."""
        return self.logits.shape[0], self.logits.shape[1]

    def raw(self, chunk: slice) -> Tensor:
        """Return the logits of some tokens, after the probability shift, in float32 or float64; (rows, vocabulary)."""
        logits = self.logits[chunk]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.reference is None:
            return logits
        reference = self.reference[chunk, None]  # (rows, 1)
        largest = logits.max(-1, keepdim=True)
        reference_logits = logits.gather(1, reference)
        return logits.scatter(1, largest.indices, reference_logits).scatter(1, reference, largest.values)

    def probabilities(self, chunk: slice) -> Tensor:
        """Compute the distributions of some tokens; see `SoftLabels.probabilities`."""
        soft = (self.raw(chunk) / rows_of(self.temperature, chunk)).softmax(-1)
        if not self.top_k or self.top_k >= soft.shape[1]:
            return soft
        kept = soft.topk(self.top_k)
        return from_top_k(kept.indices, kept.values, soft.shape[1], self.rest)


@dataclass(frozen=True)
class TopKLabels:
    """Soft labels that contain only the top-k tokens per position, as a cache stores them.

    Attributes:
        indices: Top-k tokens, shape (tokens, k).
        values: Their probabilities at this temperature, shape (tokens, k).
        missing: Probability mass of all other tokens, shape (tokens,).
        vocabulary: Size of the vocabulary.
        temperature: Temperature of the distributions.
        rest: Treatment of the missing mass (TOP_K_RESTS).
    """

    indices: Tensor
    values: Tensor
    missing: Tensor
    vocabulary: int
    temperature: float = 1.0
    rest: str = "spread"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the distributions: (tokens, vocabulary)."""
        return self.indices.shape[0], self.vocabulary

    def probabilities(self, chunk: slice) -> Tensor:
        """Compute the distributions of some tokens; see `SoftLabels.probabilities`."""
        values, missing = self.values[chunk].float(), self.missing[chunk, None].float()
        total = (values.sum(-1, keepdim=True) + missing).clamp_min(1e-6)  # 1 up to rounding; 0 at padding
        return from_top_k(self.indices[chunk].long(), values / total, self.vocabulary, self.rest)


def from_top_k(indices: Tensor, values: Tensor, vocabulary: int, rest: str) -> Tensor:
    """Complete a distribution from its top-k tokens.

    Args:
        indices: Top-k tokens, shape (rows, k).
        values: Their probabilities, shape (rows, k).
        vocabulary: Size of the vocabulary.
        rest: Treatment of the missing mass (TOP_K_RESTS).

    Returns:
        Probabilities of shape (rows, vocabulary); each row sums to one.
    """
    known = values.sum(-1, keepdim=True)  # (rows, 1)
    if rest == "renormalise" or indices.shape[1] == vocabulary:
        return values.new_zeros(len(values), vocabulary).scatter_(1, indices, values / known.clamp_min(1e-6))
    others = (1 - known).clamp_min(0) / (vocabulary - indices.shape[1])
    return others.expand(-1, vocabulary).scatter(1, indices, values)


def ensemble(teacher_logits: Iterable[Tensor], temperature: float | Tensor = 1.0) -> Tensor | None:
    """Compute logits whose softened distribution is the mean of the teachers' softened distributions.

    TextBrewer averages the logits instead (see `mean_logits`).

    Args:
        teacher_logits: One tensor per teacher, all of shape (tokens, vocabulary). They are consumed one at a time, so
            that they need not be in memory together.
        temperature: Temperature of all distributions, > 0; one for all tokens, or of shape (tokens,).

    Returns:
        Logits (tokens, vocabulary). Those of a single teacher are returned unchanged; the mean of several is in float32
        or float64. None without a teacher.
    """
    remaining = iter(teacher_logits)
    first, second = next(remaining, None), next(remaining, None)
    if first is None or second is None:
        return first
    all_tokens = slice(None)
    total, count = TeacherLogits(first, temperature).probabilities(all_tokens), 1
    for logits in itertools.chain([second], remaining):
        total += TeacherLogits(logits, temperature).probabilities(all_tokens)
        count += 1
    return total.div_(count).log_().mul_(rows_of(temperature, all_tokens))


def mean_logits(teacher_logits: Iterable[Tensor]) -> Tensor | None:
    """Return the mean of the teachers' logits, the target of a squared error; None without a teacher."""
    total: Tensor | None = None
    count = 0
    for logits in teacher_logits:
        total = logits if total is None else total + logits
        count += 1
    return total if total is None or count == 1 else total / count


def flsw_temperatures(
    student: Tensor, teacher: Tensor, base: float, beta: float, gamma: float, counts: Tensor
) -> Tensor:
    """Compute focal-loss-style temperatures: lower for tokens on which student and teacher disagree more.

    Wen et al., "Preparing Lessons: Improve Knowledge Distillation with Better Supervision" (2019), section 3.2:
    base + beta · (mean of w - w) with w = (1 - cos(student, teacher)) ** gamma.

    Args:
        student: Logits of the student, shape (tokens, vocabulary).
        teacher: Logits of the teacher, in the same shape.
        base: Temperature of a token with mean disagreement.
        beta: Spread of the temperatures.
        gamma: Exponent of the disagreement.
        counts: Tokens over which the mean is taken, booleans of shape (tokens,).

    Returns:
        Temperatures of shape (tokens,), at least LOWEST_TEMPERATURE, without a gradient.
    """
    with torch.no_grad():
        disagreement = 1 - torch.cosine_similarity(student.float(), teacher.float(), dim=-1)
        return _around(base, beta, disagreement.clamp_min(0) ** gamma, counts)


def cwsm_temperatures(student: Tensor, base: float, beta: float, counts: Tensor) -> Tensor:
    """Compute confidence-weighted temperatures: lower for tokens on which the student is less confident.

    Wen et al. (2019), section 3.2: base + beta · (mean of w - w) with w = 1 / (largest probability + 0.001).

    Args:
        student: Logits of the student, shape (tokens, vocabulary).
        base: Temperature of a token with mean w.
        beta: Spread of the temperatures.
        counts: Tokens over which the mean is taken, booleans of shape (tokens,).

    Returns:
        Temperatures of shape (tokens,), at least LOWEST_TEMPERATURE, without a gradient.
    """
    with torch.no_grad():
        confidence = (student.float().amax(-1) - student.float().logsumexp(-1)).exp()
        return _around(base, beta, 1 / (confidence + 1e-3), counts)


def require_temperature(temperature: float) -> None:
    """Check a temperature.

    Raises:
        DistillationError: The temperature is not positive and finite.
    """
    if not 0 < temperature < math.inf:
        raise DistillationError(
            f"temperature must be positive and finite, but is {temperature}; give 1 to leave distributions unchanged"
        )


def rows_of(values: float | Tensor, chunk: slice) -> float | Tensor:
    """Return one value for all tokens unchanged, and one per token as a column for a chunk, shape (rows, 1)."""
    return values[chunk, None] if isinstance(values, Tensor) else values


def _around(base: float, beta: float, weights: Tensor, counts: Tensor) -> Tensor:
    mean = weights[counts].mean() if counts.any() else weights.new_zeros(())
    return (base + beta * (mean - weights)).clamp_min(LOWEST_TEMPERATURE)
