"""The training loss of both phases: label-smoothed cross-entropy and word-level distillation in one pass.

    L = (1 - weight) · CE(y, student; label smoothing) + weight · temperature² · CE(teacher, student)

with both distributions of the second term softened by the temperature (Hinton et al., 2015; Kim and Rush, 2016). Knows
only logits and targets.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from weightdistill.errors import DistillationError

# Entries of (tokens x vocabulary) worked on at a time: small enough for a CPU's cache, large enough to fill a GPU.
_CHUNK_ENTRIES = {"cpu": 2**19, "cuda": 2**26}


class LossTerms(NamedTuple):
    """Sums over all tokens that are not padding, in nats. Only `loss` carries a gradient."""

    loss: Tensor
    """(1 - weight) · cross_entropy + weight · distillation."""
    cross_entropy: Tensor
    """Label-smoothed cross-entropy against the reference."""
    nll: Tensor
    """Negative log-likelihood of the reference."""
    distillation: Tensor
    """Cross-entropy against the teacher's softened distribution, times temperature²; 0 without a teacher."""


def distillation_loss(
    logits: Tensor,
    targets: Tensor,
    teacher_logits: Tensor | None = None,
    *,
    weight: float = 0.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    padding: int = -100,
) -> LossTerms:
    """Both terms of the loss and its gradient in one pass over chunks of tokens, in float32 (or float64) throughout.

    One buffer of the logits' size is kept for the gradient; softmaxes exist for one chunk at a time.

    Args:
        logits: student's, shape (tokens, vocabulary).
        targets: reference tokens, shape (tokens,).
        teacher_logits: of the logits' shape; for several teachers see `ensemble`.
        weight: share of the distillation term, within [0, 1].
        temperature: softens both distributions, > 0.
        label_smoothing: share of the uniform distribution, as fairseq defines it: spread over the other words.
        padding: target value of tokens that do not count.

    Raises:
        DistillationError: a weight, temperature or smoothing out of range; weight > 0 without a teacher; a teacher
            whose vocabulary has another size.
    """
    require_settings(weight=weight, temperature=temperature, label_smoothing=label_smoothing)
    if weight > 0 and teacher_logits is None:
        raise DistillationError(f"distillation weight is {weight}, but there is no teacher; name one or set it to 0")
    if teacher_logits is not None and teacher_logits.shape != logits.shape:
        raise DistillationError(
            f"teacher logits must have the student's shape {tuple(logits.shape)}, but have "
            f"{tuple(teacher_logits.shape)}"
        )
    terms = _DistillationLoss.apply(  # type: ignore[no-untyped-call]
        logits, targets, teacher_logits if weight > 0 else None, weight, temperature, label_smoothing, padding
    )
    return LossTerms(*terms)


def require_settings(*, weight: float, temperature: float, label_smoothing: float) -> None:
    """Check settings of the loss before anything is computed.

    Raises:
        DistillationError: one is out of range; names it, the range and the value.
    """
    if not 0 <= weight <= 1:
        raise DistillationError(f"distillation weight must be within [0, 1], but is {weight}")
    if not 0 < temperature < math.inf:
        raise DistillationError(f"temperature must be positive and finite, but is {temperature}")
    if not 0 <= label_smoothing < 1:
        raise DistillationError(f"label smoothing must be within [0, 1), but is {label_smoothing}")


def ensemble(teacher_logits: Iterable[Tensor], temperature: float = 1.0) -> Tensor | None:
    """Logits whose softened distribution is the mean of the teachers' softened distributions; None without a teacher.

    Args:
        teacher_logits: one tensor a teacher, all of one shape (..., vocabulary); taken one at a time, so that not
            all are in memory at once. A single teacher's are returned as they are.
        temperature: of all these distributions, > 0.

    Returns:
        Logits (..., vocabulary), in float32 at least where there are several teachers.
    """
    remaining = iter(teacher_logits)
    first, second = next(remaining, None), next(remaining, None)
    if first is None or second is None:
        return first
    total, count = _soften(first, temperature), 1
    for logits in itertools.chain([second], remaining):
        total += _soften(logits, temperature)
        count += 1
    return total.div_(count).log_().mul_(temperature)


class _DistillationLoss(torch.autograd.Function):
    """Computes the gradient along with the loss, so that no softmax outlives its chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        teacher: Tensor | None,
        weight: float,
        temperature: float,
        label_smoothing: float,
        padding: int,
    ) -> tuple[Tensor, ...]:
        tokens, vocabulary = logits.shape
        precision = torch.promote_types(logits.dtype, torch.float32)
        # float16 cannot hold gradients of rare words before the loss scale is applied, so they wait in float32.
        held = torch.float32 if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=held) if ctx.needs_input_grad[0] else None
        spread = label_smoothing / (vocabulary - 1)
        sums = torch.zeros(3, dtype=precision, device=logits.device)  # cross-entropy, nll, distillation
        rows = max(1, _CHUNK_ENTRIES.get(logits.device.type, 2**26) // vocabulary)

        for start in range(0, tokens, rows):
            chunk = slice(start, start + rows)
            counts = targets[chunk] != padding  # (rows,)
            reference = targets[chunk].where(counts, 0)[:, None]  # (rows, 1)
            log_student = logits[chunk].to(precision).log_softmax(-1)  # (rows, vocabulary)
            nll = -log_student.gather(1, reference)[:, 0]
            cross_entropy = (1 - label_smoothing - spread) * nll - spread * log_student.sum(-1)
            sums[0] += cross_entropy.dot(counts.to(precision))
            sums[1] += nll.dot(counts.to(precision))
            if teacher is not None:
                soft_teacher = _soften(teacher[chunk], temperature)
                soft_log_student = log_student
                if temperature != 1:
                    soft_log_student = (logits[chunk].to(precision) / temperature).log_softmax(-1)
                distillation = -(soft_teacher * soft_log_student).sum(-1)
                sums[2] += temperature**2 * distillation.dot(counts.to(precision))
            if gradient is None:
                continue
            slope = log_student.exp().sub_(spread)
            slope.scatter_add_(1, reference, slope.new_full((1, 1), label_smoothing + spread - 1).expand_as(reference))
            if teacher is not None:
                soft_student = soft_log_student.exp()
                slope.mul_(1 - weight).add_(soft_student.sub_(soft_teacher), alpha=weight * temperature)
            gradient[chunk] = slope.mul_(counts[:, None])

        if gradient is not None:
            ctx.save_for_backward(gradient)
        cross_entropy, nll, distillation = sums.unbind()
        loss = (1 - weight) * cross_entropy + weight * distillation if teacher is not None else cross_entropy.clone()
        ctx.logits_dtype = logits.dtype
        terms = loss, cross_entropy.clone(), nll.clone(), distillation.clone()
        ctx.mark_non_differentiable(*terms[1:])
        return terms

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        if gradient.dtype == ctx.logits_dtype and outer[0].device.type == "cpu" and outer[0] == 1:
            scaled = gradient  # no copy; on a GPU the comparison would wait for all that goes before
        else:
            scaled = torch.mul(gradient, outer[0], out=torch.empty_like(gradient, dtype=ctx.logits_dtype))
        return scaled, None, None, None, None, None, None


def _soften(logits: Tensor, temperature: float) -> Tensor:
    """The softened distribution, in float32 at least; shape (..., vocabulary)."""
    precision = torch.promote_types(logits.dtype, torch.float32)
    return (logits.to(precision) / temperature).softmax(-1)
