"""Options of soft labels: invalid values, and the soft labels from running teachers and from a cache."""

import math

import pytest
import torch
from torch import Tensor

from weightdistill.distillation.schedules import SCHEDULES
from weightdistill.distillation.soft_label_config import SoftLabelConfig
from weightdistill.distillation.soft_labels import cwsm_temperatures, flsw_temperatures
from weightdistill.errors import DistillationError

EVERY = slice(None)
TOKENS, WORDS, PADDING = 6, 9, 1


@pytest.fixture
def targets() -> Tensor:
    """Make the references of five tokens and a padding position."""
    return torch.tensor([2, 5, 8, PADDING, 3, 4])


def logits(seed: int = 0) -> Tensor:
    return 2 * torch.randn(TOKENS, WORDS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distillation_weight": 1.5}, r"distillation weight must be within \[0, 1\], but is 1\.5"),
        ({"distillation_weight_schedule": "cosine"}, "--distillation-weight-schedule must be one of constant"),
        ({"temperature": 0}, "temperature must be positive and finite, but is 0"),
        ({"temperature_schedule": "linear"}, "--temperature-schedule must be one of constant, flsw, cwsm, but is 'lin"),
        ({"temperature_beta": math.inf}, "--temperature-beta must be finite and at least 0, but is inf"),
        ({"temperature_gamma": -1}, "--temperature-gamma must be finite and at least 0, but is -1"),
        ({"soft_loss": "kl"}, "--soft-loss must be one of ce, mse, but is 'kl'"),
        ({"soft_top_k": -1}, "--soft-top-k must be finite and at least 0, but is -1"),
        ({"soft_rest": "drop"}, "--soft-rest must be one of renormalise, spread, but is 'drop'"),
        ({"soft_share": 0}, r"share of selected tokens must be within \(0, 1\], but is 0"),
        ({"soft_loss": "mse", "soft_top_k": 4}, "mse compares all logits; leave out --soft-top-k, or use --soft-loss"),
        ({"soft_loss": "mse", "temperature_schedule": "flsw"}, "mse has no temperatures; leave out --temperature"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(DistillationError, match=message):
        SoftLabelConfig(**options)


def test_a_schedule_needs_an_end_and_scales_the_weight_until_then():
    factors = {"constant": 1.0, "linear_growth": 0.25, "linear_decay": 0.75}
    for schedule in SCHEDULES:
        config = SoftLabelConfig(distillation_weight=0.8, distillation_weight_schedule=schedule)
        config.require_end(100)
        assert config.weight_at(0.25) == pytest.approx(0.8 * factors[schedule])
    with pytest.raises(
        DistillationError, match="linear_decay needs the number of updates, which is unknown; give --max-up"
    ):
        config.require_end(0)


def test_several_teachers_are_averaged_as_probabilities_or_as_logits(targets):
    teachers = [logits(1), logits(2)]
    soft = SoftLabelConfig(temperature=2).of_teachers(iter(teachers), logits(), targets, PADDING)
    expected = sum((teacher / 2).softmax(-1) for teacher in teachers) / 2
    torch.testing.assert_close(soft.probabilities(EVERY), expected)
    soft = SoftLabelConfig(soft_loss="mse").of_teachers(iter(teachers), logits(), targets, PADDING)
    torch.testing.assert_close(soft.raw(EVERY), sum(teachers) / 2)


@pytest.mark.parametrize("schedule", ["flsw", "cwsm"])
def test_temperatures_depend_on_the_token_only_in_training(targets, schedule):
    student, teachers, counts = logits(), [logits(1), logits(2)], targets != PADDING
    config = SoftLabelConfig(
        temperature=5, temperature_schedule=schedule, temperature_beta=0.5, temperature_gamma=2, soft_top_k=3
    )
    expected = {
        "flsw": flsw_temperatures(student, torch.stack(teachers).mean(0), 5, 0.5, 2, counts),
        "cwsm": cwsm_temperatures(student, 5, 0.5, counts),
    }
    soft = config.of_teachers(iter(teachers), student, targets, PADDING)
    torch.testing.assert_close(soft.temperature, expected[schedule])
    assert (soft.probabilities(EVERY) > 0).sum(-1).tolist() == [3] * TOKENS
    assert config.of_teachers(iter(teachers), student, targets, PADDING, training=False).temperature == 5


def test_after_the_probability_shift_the_reference_is_most_likely(targets):
    teacher = logits()
    soft = SoftLabelConfig(probability_shift=True).of_teachers([teacher], logits(1), targets, PADDING)
    kept = targets != PADDING
    assert torch.equal(soft.raw(EVERY).argmax(-1)[kept], targets[kept])


def test_the_default_treatment_of_the_remaining_mass_differs_with_a_cache(targets):
    teacher = logits()
    kept = teacher.softmax(-1).topk(2)
    cached = kept.indices, kept.values, 1 - kept.values.sum(-1), WORDS
    for rest in (None, "renormalise", "spread"):
        config = SoftLabelConfig(soft_rest=rest, soft_top_k=2)
        for soft, default in (
            (config.of_teachers([teacher], logits(1), targets, PADDING), "renormalise"),
            (config.of_cache(*cached), "spread"),
        ):
            least = soft.probabilities(EVERY).min()
            assert bool(least > 0) == ((rest or default) == "spread")


def test_there_are_no_soft_labels_without_a_teacher(targets):
    for schedule in ("constant", "flsw"):
        config = SoftLabelConfig(temperature_schedule=schedule)
        assert config.of_teachers([], logits(), targets, PADDING) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 2}, r"temperature must be that of the teacher cache \(1.0\), but is 2; change it"),
        ({"soft_loss": "mse"}, "--soft-loss needs the teacher itself, but there is a cache"),
        ({"temperature_schedule": "cwsm"}, "--temperature-schedule needs the teacher itself"),
        ({"probability_shift": True}, "--probability-shift needs the teacher itself"),
        ({"soft_top_k": 4}, "--soft-top-k needs the teacher itself"),
    ],
    ids=str,
)
def test_options_that_a_cache_cannot_serve_are_refused(options, message):
    SoftLabelConfig(soft_rest="renormalise", soft_share=0.5).require_cacheable(1.0)
    with pytest.raises(DistillationError, match=message):
        SoftLabelConfig(**options).require_cacheable(1.0)


def test_a_share_below_one_selects_tokens(targets):
    assert SoftLabelConfig().selected(logits(), targets, PADDING) is None
    selected = SoftLabelConfig(soft_share=0.4).selected(logits(), targets, PADDING)
    assert selected.sum() == 2 and not selected[3]


def test_every_option_is_described():
    for option in SoftLabelConfig.__dataclass_fields__.values():
        assert option.metadata["help"]
