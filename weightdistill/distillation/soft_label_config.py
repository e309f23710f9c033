"""Options of soft labels, and how they turn the teachers' predictions into soft labels.

Knows logits and probabilities; neither how a teacher is run nor how a cache is read.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from torch import Tensor

from weightdistill.distillation.losses import SOFT_LOSSES, hardest, require_settings, require_share
from weightdistill.distillation.schedules import SCHEDULES, require_end, schedule_factor
from weightdistill.distillation.soft_labels import (
    TEMPERATURE_SCHEDULES,
    TOP_K_RESTS,
    TeacherLogits,
    TopKLabels,
    cwsm_temperatures,
    ensemble,
    flsw_temperatures,
    mean_logits,
    require_temperature,
)
from weightdistill.errors import DistillationError

# Options that a cache cannot serve, since it holds one softened distribution per token; with the values that need none.
_NEEDS_TEACHER = {"soft_loss": "ce", "temperature_schedule": "constant", "probability_shift": False, "soft_top_k": 0}


@dataclass(frozen=True)
class SoftLabelConfig:
    """How a student learns from the predictions of its teachers.

    The metadata of each field contain its description (`help`) and, for a fixed set of values, these (`choices`).

    Raises:
        DistillationError: A value is out of range, or two values contradict each other.
    """

    distillation_weight: float = field(
        default=0.5,
        metadata={"help": "share of the teacher's term in the loss, within [0, 1]; 0 trains without distillation"},
    )
    distillation_weight_schedule: str = field(
        default="constant",
        metadata={
            "help": "how this share changes from the first update to the last: not at all, growing from 0, or falling "
            "to 0",
            "choices": SCHEDULES,
        },
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "softens the distributions of teacher and student; the teacher's term is multiplied by its square"
        },
    )
    temperature_schedule: str = field(
        default="constant",
        metadata={
            "help": "temperature per token: the same for all, lower where the student disagrees with the teacher "
            "(flsw), or lower where the student is unsure (cwsm; both: Wen et al., 2019); never below 0.1",
            "choices": TEMPERATURE_SCHEDULES,
        },
    )
    temperature_beta: float = field(
        default=1.0,
        metadata={"help": "spread of the per-token temperatures; with cwsm it varies with 1/p, so use a small value"},
    )
    temperature_gamma: float = field(
        default=1.0,
        metadata={"help": "exponent of the disagreement between student and teacher in the schedule flsw"},
    )
    soft_loss: str = field(
        default="ce",
        metadata={
            "help": "loss of the soft labels: cross-entropy of the distributions, or squared error of the logits",
            "choices": SOFT_LOSSES,
        },
    )
    soft_top_k: int = field(
        default=0,
        metadata={"help": "keep only the teacher's k most likely tokens per position; 0 keeps all"},
    )
    soft_rest: str | None = field(
        default=None,
        metadata={
            "help": "what becomes of the dropped tokens' probability: rescale the kept tokens (renormalise), or spread "
            "it evenly over the dropped ones (spread); default: renormalise, or spread with a cache",
            "choices": TOP_K_RESTS,
        },
    )
    soft_share: float = field(
        default=1.0,
        metadata={
            "help": "share of a batch's target tokens that learn from soft labels: those that the student finds "
            "hardest (Wang et al., 2021)"
        },
    )
    probability_shift: bool = field(
        default=False,
        metadata={
            "help": "swap the teacher's largest logit with that of the reference, so that the teacher is never wrong"
        },
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            choices, value = option.metadata.get("choices"), getattr(self, option.name)
            if choices and value is not None and value not in choices:
                raise DistillationError(f"{_flag(option.name)} must be one of {', '.join(choices)}, but is {value!r}")
        require_settings(weight=self.distillation_weight)
        require_temperature(self.temperature)
        require_share(self.soft_share)
        for name in ("soft_top_k", "temperature_beta", "temperature_gamma"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise DistillationError(f"{_flag(name)} must be finite and at least 0, but is {value}")
        if self.soft_loss == "mse" and self.soft_top_k:
            raise DistillationError(
                "--soft-loss mse compares all logits; leave out --soft-top-k, or use --soft-loss ce"
            )
        if self.soft_loss == "mse" and self.temperature_schedule != "constant":
            raise DistillationError(
                "--soft-loss mse has no temperatures; leave out --temperature-schedule, or use --soft-loss ce"
            )

    def require_end(self, updates: int) -> None:
        """Check that the number of updates is known if the weight depends on it.

        Args:
            updates: Number of updates in the whole training; 0 if it is unknown.

        Raises:
            DistillationError: The weight depends on the number of updates, which is unknown.
        """
        require_end(self.distillation_weight_schedule, updates)

    def require_cacheable(self, temperature: float) -> None:
        """Check that a cache of the teacher's predictions suffices.

        Args:
            temperature: Temperature of the cache.

        Raises:
            DistillationError: The temperatures differ, or an option needs the teacher itself.
        """
        if temperature != self.temperature:
            raise DistillationError(
                f"temperature must be that of the teacher cache ({temperature}), but is {self.temperature}; change "
                "it, or make another cache"
            )
        for name, value in _NEEDS_TEACHER.items():
            if getattr(self, name) != value:
                raise DistillationError(
                    f"{_flag(name)} needs the teacher itself, but there is a cache of its predictions; leave out one "
                    "of them"
                )

    def weight_at(self, progress: float) -> float:
        """Return the weight of the teacher's term when the given share of all updates, within [0, 1], is done."""
        return self.distillation_weight * schedule_factor(self.distillation_weight_schedule, progress)

    def of_teachers(
        self, teachers: Iterable[Tensor], student: Tensor, targets: Tensor, padding: int, *, training: bool = True
    ) -> TeacherLogits | None:
        """Make soft labels from the logits of running teachers; several teachers are averaged.

        Args:
            teachers: Logits of each teacher, shape (tokens, vocabulary); consumed one at a time if possible.
            student: Logits of the student, shape (tokens, vocabulary).
            targets: Reference tokens, shape (tokens,).
            padding: Target value of tokens that do not count.
            training: Whether temperatures may depend on the token. In validation they may not: the loss is multiplied
                by their squares, and would follow the temperatures that the student sets.

        Returns:
            The soft labels; None without a teacher.
        """
        counts = targets.ne(padding)
        temperature: float | Tensor = self.temperature
        if training and self.temperature_schedule == "cwsm":
            temperature = cwsm_temperatures(student, self.temperature, self.temperature_beta, counts)
        elif training and self.temperature_schedule == "flsw":
            teachers = list(teachers)
            mean = mean_logits(teachers)
            if mean is None:
                return None
            temperature = flsw_temperatures(
                student, mean, self.temperature, self.temperature_beta, self.temperature_gamma, counts
            )
        logits = mean_logits(teachers) if self.soft_loss == "mse" else ensemble(teachers, temperature)
        if logits is None:
            return None
        reference = targets.where(counts, 0) if self.probability_shift else None
        return TeacherLogits(logits, temperature, self.soft_top_k, self.soft_rest or "renormalise", reference)

    def of_cache(self, indices: Tensor, values: Tensor, missing: Tensor, vocabulary: int) -> TopKLabels:
        """Make soft labels from the contents of a cache.

        Args:
            indices: Top-k tokens, shape (tokens, k).
            values: Their probabilities, shape (tokens, k).
            missing: Probability mass of all other tokens, shape (tokens,).
            vocabulary: Size of the vocabulary.
        """
        return TopKLabels(indices, values, missing, vocabulary, self.temperature, self.soft_rest or "spread")

    def selected(self, student: Tensor, targets: Tensor, padding: int) -> Tensor | None:
        """Select the tokens that learn from soft labels.

        Args:
            student: Logits of the student, shape (tokens, vocabulary).
            targets: Reference tokens, shape (tokens,).
            padding: Target value of tokens that do not count.

        Returns:
            True for selected tokens, shape (tokens,); None if all tokens learn from soft labels.
        """
        return hardest(student, targets, self.soft_share, padding) if self.soft_share < 1 else None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
