"""The loss of both phases as a fairseq criterion; see `weightdistill.losses` for the definition."""

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.losses import distillation_loss, ensemble, require_settings


@dataclass
class DistillationCriterionConfig(FairseqDataclass):
    """Options of the criterion."""

    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "share of the uniform distribution in the reference's, within [0, 1)"},
    )
    distillation_weight: float = field(
        default=0.5,
        metadata={"help": "share of the teacher's term in the loss, within [0, 1]; 0 is plain training"},
    )
    temperature: float = field(
        default=1.0,
        metadata={"help": "softens both distributions of the teacher's term, which is scaled by its square"},
    )
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("distillation", dataclass=DistillationCriterionConfig)
class DistillationCriterion(FairseqCriterion):
    """Label-smoothed cross-entropy and word-level distillation."""

    def __init__(
        self,
        task: FairseqTask,
        label_smoothing: float,
        distillation_weight: float,
        temperature: float,
        sentence_avg: bool,
    ) -> None:
        super().__init__(task)
        require_settings(weight=distillation_weight, temperature=temperature, label_smoothing=label_smoothing)
        if distillation_weight > 0 and not getattr(task.cfg, "teacher_path", None):
            raise DistillationError(
                f"--distillation-weight is {distillation_weight}, but there is no teacher; give --teacher-path, with "
                "--task distillation, or set it to 0"
            )
        self._label_smoothing = label_smoothing
        self._weight = distillation_weight
        self._temperature = temperature
        self._sentence_avg = sentence_avg

    def forward(
        self, model: BaseFairseqModel, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the batch, what to divide it by, and what to log."""
        logits = model(**sample["net_input"])[0]  # (batch, tokens, vocabulary)
        teachers = self.task.teacher_logits(sample, model) if self._weight > 0 else ()
        soft = ensemble(teachers, self._temperature)
        terms = distillation_loss(
            logits.flatten(0, 1),
            sample["target"].flatten(),
            None if soft is None else soft.flatten(0, 1),
            weight=self._weight,
            temperature=self._temperature,
            label_smoothing=self._label_smoothing,
            padding=self.padding_idx,
        )
        sample_size = sample["target"].size(0) if self._sentence_avg else sample["ntokens"]
        logged = {
            "loss": terms.loss.data,
            "nll_loss": terms.nll.data,
            "distillation_loss": terms.distillation.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return terms.loss, sample_size, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log means in bits, as fairseq's own criterions do: the loss per sample, the others per token."""

        def total(key: str) -> Any:
            return sum(output.get(key, 0) for output in logging_outputs)

        tokens, samples = total("ntokens"), total("sample_size")
        metrics.log_scalar("loss", total("loss") / samples / math.log(2), samples, round=3)
        metrics.log_scalar("nll_loss", total("nll_loss") / tokens / math.log(2), tokens, round=3)
        if any(output.get("distillation_loss", 0) for output in logging_outputs):
            distillation = total("distillation_loss") / tokens / math.log(2)
            metrics.log_scalar("distillation_loss", distillation, tokens, round=3)
        metrics.log_derived("ppl", lambda meters: 2 ** meters["nll_loss"].avg)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Every logged value is a sum."""
        return True
