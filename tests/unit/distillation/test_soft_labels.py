"""Soft labels against their definitions, computed here token by token."""

import math

import pytest
import torch

from weightdistill.distillation.losses import distillation_loss
from weightdistill.distillation.soft_labels import (
    LOWEST_TEMPERATURE,
    TeacherLogits,
    TopKLabels,
    cwsm_temperatures,
    ensemble,
    flsw_temperatures,
    mean_logits,
)

EVERY = slice(None)
TOKENS, WORDS = 6, 9


def logits() -> torch.Tensor:
    return 2 * torch.randn(TOKENS, WORDS, dtype=torch.float64)


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(logit / temperature) for logit in row]
    return [power / math.fsum(powers) for power in powers]


@pytest.mark.parametrize("rest", ["renormalise", "spread"])
@pytest.mark.parametrize("k", [1, 4, WORDS, 50])
def test_top_k_tokens_and_the_remaining_mass(rest, k):
    teacher = logits()
    probabilities = TeacherLogits(teacher, 2.0, top_k=k, rest=rest).probabilities(EVERY)
    for row, distribution in zip(teacher.tolist(), probabilities.tolist(), strict=True):
        whole = softmax(row, 2.0)
        kept = sorted(range(WORDS), key=lambda word: -whole[word])[:k]
        mass = math.fsum(whole[word] for word in kept)
        expected = [0.0 if rest == "renormalise" else (1 - mass) / max(1, WORDS - k)] * WORDS
        for word in kept:
            expected[word] = whole[word] / mass if rest == "renormalise" else whole[word]
        assert distribution == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rest", ["renormalise", "spread"])
def test_stored_top_k_tokens_give_the_distribution_of_their_teacher(rest):
    teacher, student, targets = logits(), logits(), torch.randint(WORDS, (TOKENS,))
    kept = (teacher / 2).softmax(-1).topk(3)
    stored = TopKLabels(kept.indices.to(torch.int32), kept.values, 1 - kept.values.sum(-1), WORDS, 2.0, rest)
    online = TeacherLogits(teacher, 2.0, top_k=3, rest=rest)
    losses = [distillation_loss(student, targets, labels, weight=0.7).loss.item() for labels in (stored, online)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_probability_shift_gives_the_reference_the_largest_logit():
    teacher = logits()
    reference = torch.randint(WORDS, (TOKENS,))
    reference[0] = teacher[0].argmax()
    shifted = TeacherLogits(teacher, reference=reference).raw(EVERY)
    for before, after, word in zip(teacher.tolist(), shifted.tolist(), reference.tolist(), strict=True):
        largest = before.index(max(before))
        before[largest], before[word] = before[word], before[largest]
        assert after == before


def test_flsw_temperatures():
    student, teacher = logits(), logits()
    counts = torch.tensor([True] * 5 + [False])
    temperatures = flsw_temperatures(student, teacher, 4.0, 1.5, 2.0, counts)
    weights = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        product = math.fsum(a * b for a, b in zip(s, t, strict=True))
        weights.append((1 - product / math.sqrt(math.fsum(a * a for a in s) * math.fsum(b * b for b in t))) ** 2)
    mean = math.fsum(weights[:5]) / 5
    assert temperatures.tolist() == pytest.approx([4 + 1.5 * (mean - weight) for weight in weights], rel=1e-5)


def test_cwsm_temperatures():
    student = logits()
    temperatures = cwsm_temperatures(student, 8.0, 0.5, torch.ones(TOKENS, dtype=torch.bool))
    weights = [1 / (max(softmax(row)) + 1e-3) for row in student.tolist()]
    mean = math.fsum(weights) / TOKENS
    assert temperatures.tolist() == pytest.approx([8 + 0.5 * (mean - weight) for weight in weights], rel=1e-5)


def test_temperatures_stay_positive():
    """An untrained student with 32,000 tokens is sure of none of them, and the formula falls far below zero."""
    student = torch.zeros(2, 32000)
    student[0, 0] = 30
    temperatures = cwsm_temperatures(student, 1.0, 1.0, torch.ones(2, dtype=torch.bool))
    assert temperatures[1] == LOWEST_TEMPERATURE and temperatures[0] > 400


def test_one_teacher_passes_unchanged_and_no_teacher_gives_none():
    teacher = logits()
    assert ensemble([teacher]) is teacher and mean_logits([teacher]) is teacher
    assert ensemble([]) is None and mean_logits([]) is None


def test_an_ensemble_needs_only_one_teacher_at_a_time():
    """A token with probability 0 for all teachers has probability 0 in the mean, and causes no NaN."""
    shares = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.1, 0.9, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    combined = ensemble((share.log() for share in shares), temperature=1)
    torch.testing.assert_close(combined.softmax(-1), torch.tensor([[0.2, 0.8, 0.0]]))
    labels = TeacherLogits(combined)
    assert distillation_loss(torch.zeros(1, 3), torch.tensor([0]), labels, weight=1).loss.isfinite()


def test_the_mean_of_several_teachers_logits():
    teachers = [torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    expected = [[sum(float(logits[row, word]) for logits in teachers) / 3 for word in range(5)] for row in range(3)]
    before = [logits.clone() for logits in teachers]
    torch.testing.assert_close(mean_logits(iter(teachers)), torch.tensor(expected))
    assert all(torch.equal(logits, copy) for logits, copy in zip(teachers, before, strict=True))


def test_an_ensemble_may_have_a_temperature_for_each_token():
    teachers, temperatures = [logits(), logits()], 1 + torch.rand(TOKENS, dtype=torch.float64)
    combined = TeacherLogits(ensemble(teachers, temperatures), temperatures).probabilities(EVERY)
    for index, distribution in enumerate(combined.tolist()):
        first, second = (softmax(teacher[index].tolist(), temperatures[index].item()) for teacher in teachers)
        assert distribution == pytest.approx([(p + q) / 2 for p, q in zip(first, second, strict=True)])
