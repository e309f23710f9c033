"""The training loss of both phases: label-smoothed cross-entropy and word-level distillation in one pass.

    L = (1 - weight) · CE(y, student; label smoothing) + weight · temperature² · CE(teacher, student)

The temperature softens both distributions of the second term (Hinton et al., 2015; Kim and Rush, 2016). Knows only
logits, targets and soft labels.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from weightdistill.distillation.soft_labels import SoftLabels, TeacherLogits, require_temperature, rows_of
from weightdistill.errors import DistillationError

SOFT_LOSSES = ("ce", "mse")
"""Cross-entropy of softened distributions times temperature², or mean squared difference of logits."""

# Entries (tokens x vocabulary) of a chunk: small enough for the cache of a CPU, large enough to fill a GPU.
_CHUNK_ENTRIES = {"cpu": 2**19, "cuda": 2**26}


class LossTerms(NamedTuple):
    """Sums over all tokens that are not padding, in nats. Only `loss` has a gradient."""

    loss: Tensor
    """(1 - weight) · cross_entropy + weight · distillation."""
    cross_entropy: Tensor
    """Label-smoothed cross-entropy against the reference."""
    nll: Tensor
    """Negative log-likelihood of the reference."""
    distillation: Tensor
    """Cross-entropy against the teacher's softened distribution times temperature² (or squared difference of logits),
    over the selected tokens; 0 without a teacher."""


def distillation_loss(
    logits: Tensor,
    targets: Tensor,
    soft_labels: SoftLabels | None = None,
    *,
    weight: float = 0.0,
    selected: Tensor | None = None,
    soft_loss: str = "ce",
    label_smoothing: float = 0.0,
    padding: int = -100,
) -> LossTerms:
    """Compute both terms of the loss and its gradient in one pass over chunks of tokens, in float32 or float64.

    The gradient needs one buffer of the size of the logits; softmaxes exist only for one chunk at a time.

    Args:
        logits: Logits of the student, shape (tokens, vocabulary).
        targets: Reference tokens, shape (tokens,).
        soft_labels: Predictions of the teacher.
        weight: Weight of the distillation term, within [0, 1].
        selected: The tokens that learn from soft labels (see `hardest`), booleans of shape (tokens,); default: all. All
            tokens learn from the reference, with the weight 1 - `weight`.
        soft_loss: `ce`, or `mse`, which needs complete TeacherLogits. `mse` does not depend on the temperature: the
            logits would be divided by it, and the result multiplied by its square.
        label_smoothing: Share of the uniform distribution over the other tokens, as in fairseq.
        padding: Target value of tokens that do not count.

    Returns:
        The loss and its terms.

    Raises:
        DistillationError: A weight, temperature or smoothing is out of range; the weight is positive, but there are no
            soft labels; the teacher's vocabulary has another size; or `mse` gets only top-k probabilities.
    """
    require_settings(weight=weight, label_smoothing=label_smoothing, soft_loss=soft_loss)
    if weight == 0:
        soft_labels = None
    elif soft_labels is None:
        raise DistillationError(
            f"distillation weight is {weight}, but there is no teacher; name one, or set the weight to 0"
        )
    if soft_labels is not None:
        if soft_labels.shape != tuple(logits.shape):
            raise DistillationError(
                f"teacher logits must have the student's shape {tuple(logits.shape)}, but have {soft_labels.shape}; "
                "use a teacher with the student's dictionary"
            )
        if isinstance(soft_labels.temperature, float | int):
            require_temperature(soft_labels.temperature)
        if soft_loss == "mse" and not (isinstance(soft_labels, TeacherLogits) and not soft_labels.top_k):
            raise DistillationError("soft loss mse needs all logits, but there are only top-k probabilities; use ce")
    terms = _DistillationLoss.apply(  # type: ignore[no-untyped-call]
        logits, targets, soft_labels, weight, selected, soft_loss, label_smoothing, padding
    )
    return LossTerms(*terms)


def hardest(logits: Tensor, targets: Tensor, share: float, padding: int = -100) -> Tensor:
    """Select the tokens with the largest cross-entropy in a batch, for selective distillation.

    Wang et al., "Selective Knowledge Distillation for Neural Machine Translation" (ACL 2021), batch-level selection.
    A batch is one forward pass on one device.

    Args:
        logits: Logits of the student, shape (tokens, vocabulary).
        targets: Reference tokens, shape (tokens,).
        share: Share of the tokens that are not padding, within (0, 1]; their number is rounded up.
        padding: Target value of tokens that do not count.

    Returns:
        True for selected tokens, shape (tokens,).

    Raises:
        DistillationError: The share is out of range.
    """
    require_share(share)
    counts = targets != padding
    with torch.no_grad():
        rows, references = _rows(logits), targets.where(counts, 0)
        nll = torch.empty_like(targets, dtype=torch.float32)
        for start in range(0, len(targets), rows):
            chunk = slice(start, start + rows)
            nll[chunk] = functional.cross_entropy(logits[chunk].float(), references[chunk], reduction="none")
        number = math.ceil(share * int(counts.sum()))
        order = nll.masked_fill(~counts, -torch.inf).argsort(descending=True, stable=True)
        return torch.zeros_like(counts).index_fill_(0, order[:number], True)


def require_share(share: float) -> None:
    """Check the share of selected tokens.

    Raises:
        DistillationError: The share is not within (0, 1].
    """
    if not 0 < share <= 1:
        raise DistillationError(
            f"share of selected tokens must be within (0, 1], but is {share}; give 1 for all tokens"
        )


def require_settings(*, weight: float = 0.0, label_smoothing: float = 0.0, soft_loss: str = "ce") -> None:
    """Check the settings of the loss before anything is computed.

    Raises:
        DistillationError: A setting is out of range; the message names it, its range and its value.
    """
    if not 0 <= weight <= 1:
        raise DistillationError(f"distillation weight must be within [0, 1], but is {weight}")
    if not 0 <= label_smoothing < 1:
        raise DistillationError(f"label smoothing must be within [0, 1), but is {label_smoothing}")
    if soft_loss not in SOFT_LOSSES:
        raise DistillationError(f"soft loss must be one of {', '.join(SOFT_LOSSES)}, but is {soft_loss!r}")


class _DistillationLoss(torch.autograd.Function):
    """Computes the gradient together with the loss, so that no softmax is kept beyond its chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        soft_labels: SoftLabels | None,
        weight: float,
        selected: Tensor | None,
        soft_loss: str,
        label_smoothing: float,
        padding: int,
    ) -> tuple[Tensor, ...]:
        tokens, vocabulary = logits.shape
        precision = torch.promote_types(logits.dtype, torch.float32)
        # Before the loss scale is applied, gradients of rare tokens are too small for float16; float32 keeps them.
        gradient_type = torch.float32 if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=gradient_type) if ctx.needs_input_grad[0] else None
        spread = label_smoothing / (vocabulary - 1)
        sums = torch.zeros(4, dtype=precision, device=logits.device)  # loss, cross-entropy, nll, distillation
        rows = _rows(logits)

        for start in range(0, tokens, rows):
            chunk = slice(start, start + rows)
            counts = targets[chunk] != padding  # (rows,)
            reference = targets[chunk].where(counts, 0)[:, None]  # (rows, 1)
            student = logits[chunk].to(precision)  # (rows, vocabulary)
            log_student = student.log_softmax(-1)
            nll = -log_student.gather(1, reference)[:, 0]
            cross_entropy = (1 - label_smoothing - spread) * nll - spread * log_student.sum(-1)
            distillation = torch.zeros_like(nll)
            if soft_labels is not None and soft_loss == "mse":
                difference = student - soft_labels.raw(chunk)  # type: ignore[attr-defined]  # checked before
                distillation = difference.square().mean(-1)
                soft_slope = difference.mul_(2 / vocabulary)
            elif soft_labels is not None:
                soft_teacher = soft_labels.probabilities(chunk)
                temperature = rows_of(soft_labels.temperature, chunk)
                soft_log_student = log_student
                if not isinstance(temperature, float | int) or temperature != 1:
                    soft_log_student = (student / temperature).log_softmax(-1)
                distillation = -(soft_teacher * soft_log_student).sum(-1)
                distillation = (distillation[:, None] * temperature**2)[:, 0]
                if gradient is not None:
                    soft_slope = soft_log_student.exp().sub_(soft_teacher).mul_(temperature)
            loss = cross_entropy  # (rows,)
            if soft_labels is not None:
                if selected is not None:
                    distillation = distillation * selected[chunk]
                loss = (1 - weight) * cross_entropy + weight * distillation
            terms = torch.stack([loss, cross_entropy, nll, distillation])  # (4, rows)
            sums += terms.masked_fill(~counts, 0).sum(1)
            if gradient is None:
                continue
            slope = log_student.exp().sub_(spread)
            slope.scatter_add_(1, reference, slope.new_full((1, 1), label_smoothing + spread - 1).expand_as(reference))
            if soft_labels is not None:
                if selected is not None:
                    soft_slope.mul_(selected[chunk, None])
                slope.mul_(1 - weight).add_(soft_slope, alpha=weight)
            gradient[chunk] = slope.mul_(counts[:, None])

        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.logits_dtype = logits.dtype
        loss, *parts = (total.clone() for total in sums)
        ctx.mark_non_differentiable(*parts)
        return loss, *parts

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        # The saved gradient depends on the logits, but autograd does not know this. If a second derivative is possible
        # (create_graph), the outer gradient is made to require one, so that torch refuses it.
        return _DistillationLoss._scaled(ctx, outer[0].detach().requires_grad_(torch.is_grad_enabled()))

    @staticmethod
    @once_differentiable
    def _scaled(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """Return the saved gradient of the logits times that of the loss, and None for all other arguments."""
        (gradient,) = ctx.saved_tensors
        if gradient.dtype == ctx.logits_dtype and outer.device.type == "cpu" and outer == 1:
            scaled = gradient  # no copy; on a GPU the comparison would wait for all pending work
        else:
            scaled = torch.mul(gradient, outer, out=torch.empty_like(gradient, dtype=ctx.logits_dtype))
        return scaled, None, None, None, None, None, None, None


def _rows(logits: Tensor) -> int:
    """Return the number of tokens per chunk."""
    return max(1, _CHUNK_ENTRIES.get(logits.device.type, 2**26) // logits.shape[1])
