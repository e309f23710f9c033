"""The teacher's predictions as training targets: whole or top-k distributions, softened by temperatures.

Knows logits and probabilities; not how a teacher is run, nor what is learned from it.
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
"""What becomes of the mass outside the k likeliest words: they take it in proportion, or the others share it alike."""
TEMPERATURE_SCHEDULES = ("constant", "flsw", "cwsm")
LOWEST_TEMPERATURE = 0.1
"""Schedules that would go below, or below zero, stay here."""


class SoftLabels(Protocol):
    """Distributions over the vocabulary, one a token."""

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, vocabulary)."""

    @property
    def temperature(self) -> float | Tensor:
        """What the distributions were softened by, for all tokens or of shape (tokens,); the student's are, too."""

    def probabilities(self, chunk: slice) -> Tensor:
        """The distributions of some tokens in float32 at least, shape (rows, vocabulary)."""


@dataclass(frozen=True)
class TeacherLogits:
    """Soft labels from a teacher's logits.

    Attributes:
        logits: shape (tokens, vocabulary).
        temperature: for all tokens, or of shape (tokens,).
        top_k: keep the k likeliest words only; 0 for all.
        rest: what becomes of the others' mass (TOP_K_RESTS).
        reference: where given, shape (tokens,): the reference word's logit and the largest one change places
            ("probability shift"), so that the teacher is never wrong.
    """

    logits: Tensor
    temperature: float | Tensor = 1.0
    top_k: int = 0
    rest: str = "renormalise"
    reference: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, vocabulary)."""
        return self.logits.shape[0], self.logits.shape[1]

    def raw(self, chunk: slice) -> Tensor:
        """Logits of some tokens in float32 at least, the reference's in its new place; shape (rows, vocabulary)."""
        logits = self.logits[chunk]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.reference is None:
            return logits
        reference = self.reference[chunk, None]  # (rows, 1)
        largest = logits.max(-1, keepdim=True)
        own = logits.gather(1, reference)
        return logits.scatter(1, largest.indices, own).scatter(1, reference, largest.values)

    def probabilities(self, chunk: slice) -> Tensor:
        """See `SoftLabels.probabilities`."""
        soft = (self.raw(chunk) / rows_of(self.temperature, chunk)).softmax(-1)
        if not self.top_k or self.top_k >= soft.shape[1]:
            return soft
        kept = soft.topk(self.top_k)
        return from_top_k(kept.indices, kept.values, soft.shape[1], self.rest)


@dataclass(frozen=True)
class TopKLabels:
    """Soft labels of which only the k likeliest words are known, as a cache holds them.

    Attributes:
        indices: of these words, shape (tokens, k).
        values: their probabilities at this temperature, shape (tokens, k).
        missing: the mass of all other words, shape (tokens,).
        vocabulary: number of words in all.
        temperature: what the distributions were softened by.
        rest: what becomes of the missing mass (TOP_K_RESTS).
    """

    indices: Tensor
    values: Tensor
    missing: Tensor
    vocabulary: int
    temperature: float = 1.0
    rest: str = "spread"

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, vocabulary)."""
        return self.indices.shape[0], self.vocabulary

    def probabilities(self, chunk: slice) -> Tensor:
        """See `SoftLabels.probabilities`."""
        values, missing = self.values[chunk].float(), self.missing[chunk, None].float()
        total = (values.sum(-1, keepdim=True) + missing).clamp_min(1e-6)  # one, but for rounding; none at padding
        return from_top_k(self.indices[chunk].long(), values / total, self.vocabulary, self.rest)


def from_top_k(indices: Tensor, values: Tensor, vocabulary: int, rest: str) -> Tensor:
    """A whole distribution from its k likeliest words.

    Args:
        indices: shape (rows, k).
        values: their probabilities, shape (rows, k).
        vocabulary: number of words in all.
        rest: what becomes of the missing mass (TOP_K_RESTS).

    Returns:
        Shape (rows, vocabulary); each row sums to one.
    """
    known = values.sum(-1, keepdim=True)  # (rows, 1)
    if rest == "renormalise" or indices.shape[1] == vocabulary:
        return values.new_zeros(len(values), vocabulary).scatter_(1, indices, values / known.clamp_min(1e-6))
    others = (1 - known).clamp_min(0) / (vocabulary - indices.shape[1])
    return others.expand(-1, vocabulary).scatter(1, indices, values)


def ensemble(teacher_logits: Iterable[Tensor], temperature: float | Tensor = 1.0) -> Tensor | None:
    """Logits whose softened distribution is the mean of the teachers' softened distributions; None without a teacher.

    Args:
        teacher_logits: one tensor a teacher, all of one shape (tokens, vocabulary); taken one at a time, so that not
            all are in memory at once. A single teacher's are returned as they are.
        temperature: of all these distributions, > 0; for all tokens, or of shape (tokens,).

    Returns:
        Logits (tokens, vocabulary), in float32 at least where there are several teachers.
    """
    remaining = iter(teacher_logits)
    first, second = next(remaining, None), next(remaining, None)
    if first is None or second is None:
        return first
    every = slice(None)
    total, count = TeacherLogits(first, temperature).probabilities(every), 1
    for logits in itertools.chain([second], remaining):
        total += TeacherLogits(logits, temperature).probabilities(every)
        count += 1
    return total.div_(count).log_().mul_(rows_of(temperature, every))


def mean_logits(teacher_logits: Iterable[Tensor]) -> Tensor | None:
    """The mean of several teachers' logits, which a squared error on logits is measured from; None without one."""
    total: Tensor | None = None
    count = 0
    for logits in teacher_logits:
        total = logits if total is None else total + logits
        count += 1
    return total if total is None or count == 1 else total / count


def flsw_temperatures(
    student: Tensor, teacher: Tensor, base: float, beta: float, gamma: float, counts: Tensor
) -> Tensor:
    """Focal-loss-style temperatures: the more a student disagrees with its teacher on a token, the lower.

    Wen et al., "Preparing Lessons: Improve Knowledge Distillation with Better Supervision" (2019), section 3.2:
    base + beta · (mean of w - w) with w = (1 - cos(student, teacher)) ** gamma.

    Args:
        student: logits, shape (tokens, vocabulary).
        teacher: logits of the same shape.
        base: temperature of a token of mean disagreement.
        beta: how far temperatures go from it.
        gamma: exponent of the disagreement.
        counts: tokens over which the mean is taken, shape (tokens,), booleans.

    Returns:
        Shape (tokens,), at least LOWEST_TEMPERATURE, without a gradient.
    """
    with torch.no_grad():
        disagreement = 1 - torch.cosine_similarity(student.float(), teacher.float(), dim=-1)
        return _around(base, beta, disagreement.clamp_min(0) ** gamma, counts)


def cwsm_temperatures(student: Tensor, base: float, beta: float, counts: Tensor) -> Tensor:
    """Confidence-weighted temperatures: the less sure a student is of a token, the lower.

    Wen et al. (2019), section 3.2: base + beta · (mean of w - w) with w = 1 / (largest probability + 0.001).

    Args:
        student: logits, shape (tokens, vocabulary).
        base: temperature of a token of mean confidence.
        beta: how far temperatures go from it.
        counts: tokens over which the mean is taken, shape (tokens,), booleans.

    Returns:
        Shape (tokens,), at least LOWEST_TEMPERATURE, without a gradient.
    """
    with torch.no_grad():
        surest = (student.float().amax(-1) - student.float().logsumexp(-1)).exp()
        return _around(base, beta, 1 / (surest + 1e-3), counts)


def require_temperature(temperature: float) -> None:
    """Check a temperature.

    Raises:
        DistillationError: it is not positive and finite.
    """
    if not 0 < temperature < math.inf:
        raise DistillationError(f"temperature must be positive and finite, but is {temperature}")


def rows_of(values: float | Tensor, chunk: slice) -> float | Tensor:
    """A number for all tokens as it is; one for each token as a column for the chunk's rows, shape (rows, 1)."""
    return values[chunk, None] if isinstance(values, Tensor) else values


def _around(base: float, beta: float, weights: Tensor, counts: Tensor) -> Tensor:
    mean = weights[counts].mean() if counts.any() else weights.new_zeros(())
    return (base + beta * (mean - weights)).clamp_min(LOWEST_TEMPERATURE)
