"""The losses of distillation as one fairseq criterion, whose options choose the method.

Cross-entropy against the reference, the teachers' soft labels (`weightdistill.distillation.soft_label_config`), and
matches of hidden states and attention (`fairseq_plugins.features`).
"""

import contextlib
import logging
import math
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from fairseq_plugins.features import FeatureMatcher
from weightdistill.distillation.hidden_states import PRESETS, read_matches
from weightdistill.distillation.losses import distillation_loss, require_settings
from weightdistill.distillation.schedules import require_end
from weightdistill.distillation.soft_label_config import SoftLabelConfig
from weightdistill.distillation.soft_labels import SoftLabels
from weightdistill.errors import DistillationError

logger = logging.getLogger(__name__)


def _soft_label_option(name: str) -> Any:
    """Make an option of a field of SoftLabelConfig, with its default and its description."""
    source = SoftLabelConfig.__dataclass_fields__[name]
    return field(default=source.default, metadata=source.metadata)


@dataclass
class DistillationCriterionConfig(FairseqDataclass):
    """Options of the criterion."""

    # fairseq makes command-line options of these annotations, and knows Optional only by that name
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "label smoothing: weight of the uniform distribution, within [0, 1)"},
    )
    distillation_weight: float = _soft_label_option("distillation_weight")
    distillation_weight_schedule: str = _soft_label_option("distillation_weight_schedule")
    temperature: float = _soft_label_option("temperature")
    temperature_schedule: str = _soft_label_option("temperature_schedule")
    temperature_beta: float = _soft_label_option("temperature_beta")
    temperature_gamma: float = _soft_label_option("temperature_gamma")
    soft_loss: str = _soft_label_option("soft_loss")
    soft_top_k: int = _soft_label_option("soft_top_k")
    soft_rest: Optional[str] = _soft_label_option("soft_rest")
    soft_share: float = _soft_label_option("soft_share")
    probability_shift: bool = _soft_label_option("probability_shift")
    matches: Optional[str] = field(
        default=None,
        metadata={
            "help": "hidden states or attention that the student matches: a preset, or a YAML or JSON file of matches",
            "values": f"{', '.join(PRESETS)}, FILE",
        },
    )
    match_weight: float = field(
        default=1.0,
        metadata={"help": "multiplies the weights of all matches"},
    )
    sentence_avg: bool = II("optimization.sentence_avg")
    max_update: int = II("optimization.max_update")


@register_criterion("distillation", dataclass=DistillationCriterionConfig)
class DistillationCriterion(FairseqCriterion):
    """Label-smoothed cross-entropy, soft labels and matches.

    Args:
        task: the distillation task, whose teachers give soft labels and features.
        cfg: the options.

    Raises:
        DistillationError: options that are impossible, alone or with this task.
    """

    def __init__(self, task: FairseqTask, cfg: DistillationCriterionConfig) -> None:
        """Check now what would fail at the first update."""
        super().__init__(task)
        self.cfg = cfg
        require_settings(label_smoothing=cfg.label_smoothing)
        self._soft = SoftLabelConfig(**{option.name: getattr(cfg, option.name) for option in fields(SoftLabelConfig)})
        self._soft.require_end(cfg.max_update)
        self._progress = 0.0
        self._require_source(task)
        # None, or a module whose parameters checkpoints keep under this name.
        self.projections = self._matcher(task, cfg.matches) if cfg.matches else None

    def forward(
        self, model: BaseFairseqModel, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of a batch.

        Weights change and matches count in training only: a validation loss that changed its meaning would choose the
        wrong checkpoint.

        Args:
            model: the student.
            sample: the batch.
            reduce: ignored; fairseq's criterions have it.

        Returns:
            The loss summed over the batch, the number to divide it by, and what to log.
        """
        weight = self._soft.weight_at(self._progress) if self.training else self._soft.distillation_weight
        matcher = self.projections if self.training else None
        sample_size = sample["target"].size(0) if self.cfg.sentence_avg else sample["ntokens"]
        targets = sample["target"].flatten()
        with contextlib.ExitStack() as recording:
            if matcher is not None:
                recording.enter_context(matcher.recording(model, self.task.teacher_model(0)))
            logits = model(**sample["net_input"])[0].flatten(0, 1)  # (batch * tokens, vocabulary)
            soft_labels = selected = None
            if weight > 0:
                soft_labels = self._soft_labels(model, sample, logits, targets)
                selected = self._soft.selected(logits, targets, self.padding_idx) if self.training else None
            elif matcher is not None:  # of the teachers the first one has to run, for its features
                next(self.task.teacher_logits(sample, model))
            terms = distillation_loss(
                logits,
                targets,
                soft_labels,
                weight=weight,
                selected=selected,
                soft_loss=self._soft.soft_loss,
                label_smoothing=self.cfg.label_smoothing,
                padding=self.padding_idx,
            )
            match_loss = matcher(sample, self._progress) * sample_size if matcher is not None else None
        loss = terms.loss
        logged = {
            "nll_loss": terms.nll.data,
            "distillation_loss": terms.distillation.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if match_loss is not None:
            loss = loss + match_loss
            logged["match_loss"] = match_loss.data
        return loss, sample_size, {"loss": loss.data, **logged}

    def set_num_updates(self, updates: int) -> None:
        """Say how many updates are done, for the schedules."""
        self._progress = min(1.0, updates / self.cfg.max_update) if self.cfg.max_update else 0.0

    def load_state_dict(self, state_dict: dict[str, Any] | None, *args: Any, **kwargs: Any) -> Any:
        """Load projections; where `--finetune-from-model` names a file without any, they stay as they are.

        Args:
            state_dict: the criterion's state; None where the checkpoint has none.
            args: passed to torch.
            kwargs: passed to torch.
        """
        if state_dict is None:
            logger.info("the checkpoint has no projections of matches; they start from random values")
            return None
        return super().load_state_dict(state_dict, *args, **kwargs)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log means in bits, as fairseq's criterions do: the loss per sample, the others per token.

        The squared error of --soft-loss mse is no entropy, but part of a loss in bits, and so divided by ln 2 as well.
        `match_loss` is not.

        Args:
            logging_outputs: what `forward` returned for each batch.
        """

        def total(key: str) -> Any:
            return sum(output.get(key, 0) for output in logging_outputs)

        tokens, samples = total("ntokens"), total("sample_size")
        metrics.log_scalar("loss", total("loss") / samples / math.log(2), samples, round=3)
        metrics.log_scalar("nll_loss", total("nll_loss") / tokens / math.log(2), tokens, round=3)
        if any(output.get("distillation_loss", 0) for output in logging_outputs):
            distillation = total("distillation_loss") / tokens / math.log(2)
            metrics.log_scalar("distillation_loss", distillation, tokens, round=3)
        if any("match_loss" in output for output in logging_outputs):
            metrics.log_scalar("match_loss", total("match_loss") / samples, samples, round=4)
        metrics.log_derived("ppl", lambda meters: 2 ** meters["nll_loss"].avg)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return True, since every logged value is a sum."""
        return True

    def _require_source(self, task: FairseqTask) -> None:
        """Check that the task has the teacher, or the cache of its predictions, that the options need."""
        cached = getattr(task, "cache_settings", None)
        if cached is not None:
            self._soft.require_cacheable(cached["temperature"])
            if self.cfg.matches:
                raise DistillationError(
                    "--matches needs the teacher itself, but there is a cache of its predictions; leave out one of them"
                )
        elif not getattr(task.cfg, "teacher_path", None):
            remedy = "but there is no teacher; give --teacher-path, with --task distillation, or"
            if self.cfg.matches:
                raise DistillationError(f"--matches is given, {remedy} leave it out")
            if self.cfg.distillation_weight > 0:
                raise DistillationError(
                    f"--distillation-weight is {self.cfg.distillation_weight}, {remedy} set it to 0"
                )

    def _matcher(self, task: FairseqTask, source: str) -> FeatureMatcher:
        """Make the module that compares features of the task's student and first teacher."""
        task.require_features()
        shapes = task.teacher_shape, task.student_shape
        matches = read_matches(source, *shapes)
        for match in matches:
            require_end(match.schedule, self.cfg.max_update)
        return FeatureMatcher(matches, *shapes, self.padding_idx, self.cfg.match_weight)

    def _soft_labels(
        self, model: BaseFairseqModel, sample: dict[str, Any], logits: Tensor, targets: Tensor
    ) -> SoftLabels | None:
        """Return the soft labels of a batch: those that it carries from a cache, or what the teachers say now."""
        if "soft_labels" in sample:
            cached = {name: array.flatten(0, 1) for name, array in sample["soft_labels"].items()}
            return self._soft.of_cache(**cached, vocabulary=logits.shape[1])
        teachers = (teacher.flatten(0, 1) for teacher in self.task.teacher_logits(sample, model))
        return self._soft.of_teachers(teachers, logits, targets, self.padding_idx, training=self.training)
