"""The loss against its definition, computed here token by token in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from weightdistill.distillation.losses import distillation_loss, hardest
from weightdistill.distillation.soft_labels import TeacherLogits, ensemble
from weightdistill.errors import DistillationError

PADDING = 1


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    largest = max(logits)
    powers = [math.exp((logit - largest) / temperature) for logit in logits]
    return [power / math.fsum(powers) for power in powers]


def by_definition(logits, targets, teachers, weight, temperature, label_smoothing, padding=PADDING):
    """Sum loss, cross-entropy, nll and distillation over the tokens that are not padding."""
    cross_entropies, nlls, distillations = [0.0], [0.0], [0.0]
    for position, target in enumerate(targets.tolist()):
        if target == padding:
            continue
        row = logits[position].tolist()
        student, soft_student = softmax(row), softmax(row, temperature)
        wanted = [label_smoothing / (len(row) - 1)] * len(row)
        wanted[target] = 1 - label_smoothing
        cross_entropies += [-q * math.log(p) for q, p in zip(wanted, student, strict=True)]
        nlls.append(-math.log(student[target]))
        soft_teachers = [softmax(teacher[position].tolist(), temperature) for teacher in teachers]
        for word, p in enumerate(soft_student):
            q = math.fsum(teacher[word] for teacher in soft_teachers) / max(1, len(teachers))
            distillations.append(-(temperature**2) * q * math.log(p))
    cross_entropy, nll, distillation = map(math.fsum, (cross_entropies, nlls, distillations))
    return (1 - weight) * cross_entropy + weight * distillation, cross_entropy, nll, distillation


def soft(teachers: list[Tensor], temperature: float = 1.0) -> TeacherLogits | None:
    """Make the soft labels of one teacher, or of several combined."""
    combined = ensemble(teachers, temperature)
    return None if combined is None else TeacherLogits(combined, temperature)


def differentiable(logits: Tensor, targets: Tensor, teachers, weight, temperature, label_smoothing) -> Tensor:
    """Compute the same definition on whole tensors, for autograd and for large sizes."""
    kept = targets != PADDING
    vocabulary = logits.shape[1]
    wanted = torch.full_like(logits, label_smoothing / (vocabulary - 1))
    wanted[torch.arange(len(targets)), targets] = 1 - label_smoothing
    loss = (1 - weight) * -(wanted * logits.log_softmax(-1))[kept].sum()
    if teachers:
        soft_teacher = sum((teacher / temperature).softmax(-1) for teacher in teachers) / len(teachers)
        soft_student = (logits / temperature).log_softmax(-1)
        loss = loss - weight * temperature**2 * (soft_teacher * soft_student)[kept].sum()
    return loss


def example(tokens=7, vocabulary=5, teachers=1, dtype=torch.float64):
    logits = (2 * torch.randn(tokens, vocabulary)).to(dtype)
    targets = torch.randint(2, vocabulary, (tokens,))
    targets[[1, tokens - 1]] = PADDING
    return logits, targets, [(2 * torch.randn(tokens, vocabulary)).to(dtype) for _ in range(teachers)]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(("weight", "teachers"), [(0.0, 0), (0.5, 1), (0.3, 3), (1.0, 2)])
def test_every_term_equals_its_definition(label_smoothing, temperature, weight, teachers):
    logits, targets, teacher_logits = example(teachers=teachers)
    terms = distillation_loss(
        logits,
        targets,
        soft(teacher_logits, temperature),
        weight=weight,
        label_smoothing=label_smoothing,
        padding=PADDING,
    )
    expected = by_definition(logits, targets, teacher_logits, weight, temperature, label_smoothing)
    assert [term.item() for term in terms] == pytest.approx(list(expected), rel=1e-12)


def test_label_smoothing_equals_that_of_fairseq():
    """In fairseq: (1 - eps - eps_i) · nll + eps_i · (sum of -log p over all tokens), eps_i = eps / (tokens - 1)."""
    logits, targets, _ = example(tokens=20, vocabulary=9)
    eps, eps_i, expected = 0.1, 0.1 / 8, 0.0
    for position, target in enumerate(targets.tolist()):
        if target != PADDING:
            log_probabilities = [math.log(p) for p in softmax(logits[position].tolist())]
            expected += (1 - eps - eps_i) * -log_probabilities[target] - eps_i * math.fsum(log_probabilities)
    terms = distillation_loss(logits, targets, label_smoothing=eps, padding=PADDING)
    assert terms.loss.item() == pytest.approx(expected, rel=1e-12)


def test_a_weight_of_zero_ignores_the_teacher():
    logits, targets, teachers = example()
    teachers[0][0, 0] = math.nan
    terms = distillation_loss(logits, targets, soft(teachers), padding=PADDING)
    assert terms.loss.item() == pytest.approx(by_definition(logits, targets, [], 0, 1, 0)[0])
    assert terms.distillation == 0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("weight", "teachers"), [(0.0, 0), (0.4, 1), (0.7, 2), (1.0, 1)])
def test_gradients(temperature, weight, teachers):
    logits, targets, teacher_logits = example(teachers=teachers)

    def loss(logits):
        return distillation_loss(
            logits,
            targets,
            soft(teacher_logits, temperature),
            weight=weight,
            label_smoothing=0.1,
            padding=PADDING,
        ).loss

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("factor", [1, 3])
def test_a_second_derivative_is_refused(factor):
    """It would be wrong without a word: the gradient that the loss keeps is a constant to autograd."""
    logits, targets, teachers = example()
    loss = factor * distillation_loss(logits.requires_grad_(), targets, soft(teachers), weight=0.5).loss
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was marked"):
        (loss + gradient.square().sum()).backward()


def test_only_the_loss_carries_a_gradient():
    logits, targets, teachers = example()
    terms = distillation_loss(logits.requires_grad_(), targets, soft(teachers), weight=0.5, padding=PADDING)
    assert [term.requires_grad for term in terms] == [True, False, False, False]


def test_padding_contributes_nothing():
    logits, targets, teachers = example(tokens=6)
    logits.requires_grad_()
    terms = distillation_loss(logits, targets, soft(teachers, 2), weight=0.5, label_smoothing=0.1, padding=PADDING)
    terms.loss.backward()
    kept = targets != PADDING
    fewer = distillation_loss(
        logits.detach()[kept], targets[kept], soft([teachers[0][kept]], 2), weight=0.5, label_smoothing=0.1
    )
    assert [term.item() for term in terms] == pytest.approx([term.item() for term in fewer])
    assert (logits.grad[~kept] == 0).all() and (logits.grad[kept] != 0).all()


def test_a_batch_of_padding_alone_is_zero():
    logits, _, teachers = example(tokens=4)
    targets = torch.full((4,), PADDING)
    terms = distillation_loss(logits.requires_grad_(), targets, soft(teachers), weight=0.5, padding=PADDING)
    terms.loss.backward()
    assert [term.item() for term in terms] == [0, 0, 0, 0]
    assert not logits.grad.any()


@pytest.mark.parametrize(("tokens", "vocabulary"), [(701, 3001), (3, 600_011), (1, 5), (0, 5)])
def test_sizes_that_need_several_chunks(tokens, vocabulary):
    """2.1 million entries in uneven chunks, a row larger than a chunk, and a single token."""
    logits = torch.randn(tokens, vocabulary, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(2, vocabulary, (tokens,))
    targets[::5] = PADDING
    teachers = [torch.randn(tokens, vocabulary, dtype=torch.float64)]
    terms = distillation_loss(logits, targets, soft(teachers, 2), weight=0.5, label_smoothing=0.1, padding=PADDING)
    expected = differentiable(logits, targets, teachers, 0.5, 2, 0.1)
    assert terms.loss.item() == pytest.approx(expected.item(), rel=1e-10)
    (gradient,) = torch.autograd.grad(terms.loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)], ids=str
)
def test_low_precision_only_rounds_the_gradient(dtype, tolerance):
    logits, targets, teachers = example(tokens=40, vocabulary=30, teachers=2, dtype=dtype)
    exact = logits.double().requires_grad_()
    expected = differentiable(exact, targets, [teacher.double() for teacher in teachers], 0.5, 2, 0.1)
    expected.backward()
    logits.requires_grad_()
    loss = distillation_loss(logits, targets, soft(teachers, 2), weight=0.5, label_smoothing=0.1, padding=PADDING).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=tolerance, atol=tolerance * 1e-2)


def test_a_loss_scale_preserves_gradients_below_the_range_of_float16():
    """The gradient of a rare token, 3e-9, is below the smallest float16 number; times the loss scale it is not."""
    logits = torch.zeros(2, 4, dtype=torch.float16)
    logits[:, 3] = -20
    logits.requires_grad_()
    loss = distillation_loss(logits, torch.tensor([0, 2])).loss
    (loss * 2.0**14).backward()
    rare = math.exp(-20) / (3 + math.exp(-20))
    assert rare < 2**-25
    assert logits.grad[:, 3].tolist() == pytest.approx([rare * 2**14] * 2, rel=2e-3)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    terms = distillation_loss(logits, torch.tensor([0, 0]), soft([logits.detach()]), weight=0.5, label_smoothing=0.1)
    terms.loss.backward()
    assert terms.nll.item() == pytest.approx(2e4)
    assert torch.isfinite(terms.loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": 1.5}, r"weight must be within \[0, 1\], but is 1\.5"),
        ({"weight": -0.1}, r"weight must be within \[0, 1\], but is -0\.1"),
        ({"weight": math.nan}, r"weight must be within \[0, 1\], but is nan"),
        ({"soft_loss": "kl"}, "soft loss must be one of ce, mse, but is 'kl'"),
        ({"label_smoothing": 1.0}, r"label smoothing must be within \[0, 1\), but is 1\.0"),
        ({"label_smoothing": -0.5}, r"label smoothing must be within \[0, 1\), but is -0\.5"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options, words):
    logits, targets, teachers = example()
    with pytest.raises(DistillationError, match=words):
        distillation_loss(logits, targets, soft(teachers), **options)


@pytest.mark.parametrize("temperature", [0, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature):
    logits, targets, teachers = example()
    labels = TeacherLogits(teachers[0], temperature)
    with pytest.raises(DistillationError, match=f"temperature must be positive and finite, but is {temperature}"):
        distillation_loss(logits, targets, labels, weight=0.5)


@pytest.mark.parametrize("tokens", [7, 400])  # one chunk, and several
def test_each_token_may_have_a_different_temperature_and_may_lack_soft_labels(tokens):
    logits, targets, teachers = example(tokens=tokens, vocabulary=3000 if tokens > 7 else 5)
    selected, temperatures = torch.rand(tokens) < 0.5, 1 + torch.rand(tokens, dtype=torch.float64)
    labels = TeacherLogits(teachers[0], temperatures)
    options: dict[str, Any] = dict(weight=0.3, selected=selected, label_smoothing=0.1, padding=PADDING)
    terms = distillation_loss(logits.requires_grad_(), targets, labels, **options)
    expected = [0.0] * 4
    for index in range(tokens):
        row, row_labels = slice(index, index + 1), soft([teachers[0][index : index + 1]], temperatures[index].item())
        alone = distillation_loss(
            logits[row], targets[row], row_labels, weight=0.3, label_smoothing=0.1, padding=PADDING
        )
        loss, cross_entropy, nll, distillation = (term.item() for term in alone)
        if not selected[index]:
            loss, distillation = 0.7 * cross_entropy, 0.0
        row_terms = loss, cross_entropy, nll, distillation
        expected = [total + term for total, term in zip(expected, row_terms, strict=True)]
    assert [term.item() for term in terms] == pytest.approx(expected)
    if tokens == 7:
        assert torch.autograd.gradcheck(lambda x: distillation_loss(x, targets, labels, **options).loss, logits)


def test_the_squared_difference_of_logits():
    """It does not depend on T: both logits are divided by T, and the result is multiplied by T²."""
    logits, targets, teachers = example()
    expected = 0.0
    options: dict[str, Any] = dict(weight=0.3, soft_loss="mse", padding=PADDING)
    for row, teacher, target in zip(logits.tolist(), teachers[0].tolist(), targets.tolist(), strict=True):
        if target != PADDING:
            expected += math.fsum((s - t) ** 2 for s, t in zip(row, teacher, strict=True)) / len(row)
    for temperature in (1, 3):
        terms = distillation_loss(logits, targets, soft(teachers, temperature), **options)
        assert terms.distillation.item() == pytest.approx(expected, rel=1e-12)
    labels = soft(teachers)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distillation_loss(x, targets, labels, **options).loss, logits)


def test_the_squared_difference_needs_all_logits():
    logits, targets, teachers = example()
    with pytest.raises(DistillationError, match="mse needs all logits, but there are only top-k probabilities; use ce"):
        distillation_loss(logits, targets, TeacherLogits(teachers[0], top_k=2), weight=0.5, soft_loss="mse")


@pytest.mark.parametrize(("share", "wanted"), [(0.2, 1), (0.5, 3), (1.0, 5)])
def test_the_hardest_tokens_have_the_largest_loss(share, wanted):
    logits, targets, _ = example()
    losses = {
        index: -math.log(softmax(logits[index].tolist())[target])
        for index, target in enumerate(targets.tolist())
        if target != PADDING
    }
    expected = sorted(losses, key=losses.get, reverse=True)[:wanted]
    assert hardest(logits, targets, share, PADDING).nonzero()[:, 0].tolist() == sorted(expected)


@pytest.mark.parametrize("share", [0, 1.1, math.nan])
def test_an_impossible_share_is_refused(share):
    logits, targets, _ = example()
    with pytest.raises(DistillationError, match=r"share of selected tokens must be within \(0, 1\], but is"):
        hardest(logits, targets, share)


def test_distilling_without_a_teacher_is_refused():
    logits, targets, _ = example()
    with pytest.raises(
        DistillationError, match=r"weight is 0\.5, but there is no teacher; name one, or set the weight to 0"
    ):
        distillation_loss(logits, targets, weight=0.5)


def test_a_teacher_with_another_vocabulary_is_refused():
    logits, targets, _ = example(vocabulary=5)
    with pytest.raises(DistillationError, match=r"student's shape \(7, 5\), but have \(7, 6\)"):
        distillation_loss(logits, targets, soft([torch.randn(7, 6)]), weight=0.5)
