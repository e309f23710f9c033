"""The losses of distillation as one fairseq criterion.

Cross-entropy against the reference, the teacher's soft labels (`weightdistill.distillation.losses`), and matches of
hidden states and attention (`weightdistill.distillation.hidden_states`); its options choose the method.
"""

import contextlib
import logging
import math
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor, nn

from fairseq_plugins.features import FeatureRecorder
from weightdistill.distillation.hidden_states import LOSSES, PRESETS, Feature, Match, read_matches
from weightdistill.distillation.losses import SOFT_LOSSES, distillation_loss, hardest, require_settings, require_share
from weightdistill.distillation.schedules import SCHEDULES, schedule_factor
from weightdistill.distillation.soft_labels import (
    TEMPERATURE_SCHEDULES,
    TOP_K_RESTS,
    SoftLabels,
    TeacherLogits,
    TopKLabels,
    cwsm_temperatures,
    ensemble,
    flsw_temperatures,
    mean_logits,
    require_temperature,
)
from weightdistill.errors import DistillationError

logger = logging.getLogger(__name__)


@dataclass
class DistillationCriterionConfig(FairseqDataclass):
    """Options of the criterion."""

    # fairseq makes command-line options of these annotations, and knows Optional only by that name
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "share of the uniform distribution in the reference's, within [0, 1)"},
    )
    distillation_weight: float = field(
        default=0.5,
        metadata={"help": "share of the teacher's term in the loss, within [0, 1]; 0 is plain training"},
    )
    distillation_weight_schedule: str = field(
        default="constant",
        metadata={"help": f"how that share changes until --max-update: {', '.join(SCHEDULES)}"},
    )
    temperature: float = field(
        default=1.0,
        metadata={"help": "softens both distributions of the teacher's term, which is scaled by its square"},
    )
    temperature_schedule: str = field(
        default="constant",
        metadata={"help": f"temperatures of single tokens: {', '.join(TEMPERATURE_SCHEDULES)} (Wen et al., 2019)"},
    )
    temperature_beta: float = field(
        default=1.0,
        metadata={"help": "how far the temperatures of a schedule go from --temperature"},
    )
    temperature_gamma: float = field(
        default=1.0,
        metadata={"help": "exponent of the disagreement with the teacher in the schedule flsw"},
    )
    soft_loss: str = field(
        default="ce",
        metadata={"help": f"of the soft labels: {', '.join(SOFT_LOSSES)}, cross-entropy or squared error of logits"},
    )
    soft_top_k: int = field(
        default=0,
        metadata={"help": "use only the teacher's so many likeliest words; 0 for all"},
    )
    soft_rest: Optional[str] = field(
        default=None,
        metadata={
            "help": f"what becomes of the other words' mass: {', '.join(TOP_K_RESTS)}; default: renormalise, and "
            "spread with --teacher-cache"
        },
    )
    soft_share: float = field(
        default=1.0,
        metadata={"help": "share of a batch's tokens, the student's hardest, that learn from soft labels"},
    )
    probability_shift: bool = field(
        default=False,
        metadata={"help": "the reference's logit and the teacher's largest change places"},
    )
    matches: Optional[str] = field(
        default=None,
        metadata={"help": f"match hidden states or attention: {', '.join(PRESETS)}, or a YAML or JSON file of matches"},
    )
    match_weight: float = field(
        default=1.0,
        metadata={"help": "multiplies the weights of all matches"},
    )
    sentence_avg: bool = II("optimization.sentence_avg")
    max_update: int = II("optimization.max_update")


@register_criterion("distillation", dataclass=DistillationCriterionConfig)
class DistillationCriterion(FairseqCriterion):
    """Label-smoothed cross-entropy, soft labels and matches."""

    def __init__(self, task: FairseqTask, cfg: DistillationCriterionConfig) -> None:
        super().__init__(task)
        self.cfg = cfg
        self._matches: list[Match] = []
        self._recorders: tuple[FeatureRecorder, FeatureRecorder] | None = None
        self._progress = 0.0
        self._check(task)
        if cfg.matches:
            task.require_features()
            shapes = task.teacher_shape, task.student_shape
            self._matches = read_matches(cfg.matches, *shapes)
            for match in self._matches:
                self._require_end(match.schedule)
            # Parameters of the criterion: fairseq trains, saves and loads them, and none gets into the student.
            modules = [match.projection(*shapes) for match in self._matches]
            self.projections = nn.ModuleDict(
                {str(index): module for index, module in enumerate(modules) if module is not None}
            )

    def load_state_dict(self, state_dict: dict[str, Any] | None, *args: Any, **kwargs: Any) -> Any:
        """Load projections; where `--finetune-from-model` names a file without any, they stay new."""
        if state_dict is None:
            logger.info("the checkpoint has no projections of matches; they start anew")
            return None
        return super().load_state_dict(state_dict, *args, **kwargs)

    def set_num_updates(self, updates: int) -> None:
        """Say how many updates were done, for the schedules."""
        self._progress = min(1.0, updates / self.cfg.max_update) if self.cfg.max_update else 0.0

    def forward(
        self, model: BaseFairseqModel, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the batch, what to divide it by, and what to log.

        Matches count in training only: the validation loss is that of the predictions.
        """
        matching = bool(self._matches) and self.training
        if matching and self._recorders is None:
            self._recorders = self._record(model, sample)
        with contextlib.ExitStack() as recording:  # ends if memory runs out, too, after which fairseq goes on
            for recorder in self._recorders if matching and self._recorders else ():
                recorder.start()
                recording.callback(recorder.stop)
            return self._losses(model, sample, matching)

    def _losses(
        self, model: BaseFairseqModel, sample: dict[str, Any], matching: bool
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """See `forward`."""
        logits = model(**sample["net_input"])[0].flatten(0, 1)  # (batch * tokens, vocabulary)
        targets = sample["target"].flatten()
        share = self._scheduled(self.cfg.distillation_weight, self.cfg.distillation_weight_schedule)
        soft_labels = self._soft_labels(sample, model, logits, targets) if share > 0 or matching else None
        selected = None
        if share > 0 and self.cfg.soft_share < 1 and self.training:  # validation is on all tokens
            selected = hardest(logits, targets, self.cfg.soft_share, self.padding_idx)
        terms = distillation_loss(
            logits,
            targets,
            soft_labels if share > 0 else None,
            weight=share,
            selected=selected,
            soft_loss=self.cfg.soft_loss,
            label_smoothing=self.cfg.label_smoothing,
            padding=self.padding_idx,
        )
        sample_size = sample["target"].size(0) if self.cfg.sentence_avg else sample["ntokens"]
        loss = terms.loss
        logged = {
            "nll_loss": terms.nll.data,
            "distillation_loss": terms.distillation.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if matching:
            matched = self._match(sample) * sample_size
            loss = loss + matched
            logged["match_loss"] = matched.data
        return loss, sample_size, {"loss": loss.data, **logged}

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log means in bits, as fairseq's own criterions do: the loss per sample, the others per token.

        What is no entropy is divided by ln 2 all the same where it is part of a loss in bits (--soft-loss mse); the
        matches' is logged as it is.
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
        """Every logged value is a sum."""
        return True

    def _check(self, task: FairseqTask) -> None:
        """Refuse what is impossible now rather than at the first update."""
        cfg = self.cfg
        require_settings(weight=cfg.distillation_weight, label_smoothing=cfg.label_smoothing, soft_loss=cfg.soft_loss)
        require_temperature(cfg.temperature)
        require_share(cfg.soft_share)
        for option, choices in (
            ("distillation_weight_schedule", SCHEDULES),
            ("temperature_schedule", TEMPERATURE_SCHEDULES),
            ("soft_rest", (None, *TOP_K_RESTS)),
        ):
            if getattr(cfg, option) not in choices:
                raise DistillationError(
                    f"--{option.replace('_', '-')} must be one of {', '.join(filter(None, choices))}, but is "
                    f"{getattr(cfg, option)!r}"
                )
        self._require_end(cfg.distillation_weight_schedule)
        for option in ("soft_top_k", "match_weight", "temperature_beta", "temperature_gamma"):
            if not 0 <= getattr(cfg, option) < math.inf:
                raise DistillationError(
                    f"--{option.replace('_', '-')} must be finite and at least 0, but is {getattr(cfg, option)}"
                )
        if cfg.soft_loss == "mse" and cfg.soft_top_k:
            raise DistillationError("--soft-loss mse compares all logits; leave out --soft-top-k, or take ce")
        if cfg.soft_loss == "mse" and cfg.temperature_schedule != "constant":
            raise DistillationError("--soft-loss mse has no temperatures; leave out --temperature-schedule, or take ce")
        cached = getattr(task, "cache_settings", None)
        if cached is not None:
            self._check_cached(cached)
        elif (cfg.distillation_weight > 0 or cfg.matches) and not getattr(task.cfg, "teacher_path", None):
            asked = "--matches is given" if cfg.matches else f"--distillation-weight is {cfg.distillation_weight}"
            raise DistillationError(
                f"{asked}, but there is no teacher; give --teacher-path, with --task distillation, or set it to 0"
            )

    def _check_cached(self, settings: dict[str, Any]) -> None:
        """Refuse what takes the teacher itself."""
        if settings["temperature"] != self.cfg.temperature:
            raise DistillationError(
                f"--temperature must be that of the teacher cache ({settings['temperature']}), but is "
                f"{self.cfg.temperature}; or make another cache"
            )
        for option, plain in (
            ("matches", None),
            ("soft_loss", "ce"),
            ("temperature_schedule", "constant"),
            ("probability_shift", False),
            ("soft_top_k", 0),
        ):
            if getattr(self.cfg, option) != plain:
                raise DistillationError(
                    f"--{option.replace('_', '-')} takes the teacher itself, but there is a cache of its predictions; "
                    "leave out --teacher-cache"
                )

    def _require_end(self, schedule: str) -> None:
        if schedule != "constant" and not self.cfg.max_update:
            raise DistillationError(f"the schedule {schedule} needs to know the end of the training; give --max-update")

    def _scheduled(self, weight: float, schedule: str) -> float:
        if not self.training:  # a validation loss that changes its meaning would choose the wrong checkpoint
            return weight
        return weight * schedule_factor(schedule, self._progress)

    def _soft_labels(
        self, sample: dict[str, Any], model: BaseFairseqModel, logits: Tensor, targets: Tensor
    ) -> SoftLabels | None:
        """The teachers' soft labels for a batch; running them also gives the recorder its features."""
        cfg = self.cfg
        if "soft_labels" in sample:
            indices, values, missing = (sample["soft_labels"][name] for name in ("indices", "values", "missing"))
            return TopKLabels(
                indices.flatten(0, 1),
                values.flatten(0, 1),
                missing.flatten(),
                logits.shape[1],
                cfg.temperature,
                cfg.soft_rest or "spread",
            )
        every = (teacher.flatten(0, 1) for teacher in self.task.teacher_logits(sample, model))
        temperature: float | Tensor = cfg.temperature
        counts = targets.ne(self.padding_idx)
        # Scaled by the squares of temperatures that the student sets, the validation loss would follow these.
        schedule = cfg.temperature_schedule if self.training else "constant"
        if schedule == "flsw":
            teachers = list(every)
            every = (teacher for teacher in teachers)
            mean = mean_logits(teachers)
            if mean is not None:
                temperature = flsw_temperatures(
                    logits, mean, cfg.temperature, cfg.temperature_beta, cfg.temperature_gamma, counts
                )
        elif schedule == "cwsm":
            temperature = cwsm_temperatures(logits, cfg.temperature, cfg.temperature_beta, counts)
        combined = mean_logits(every) if cfg.soft_loss == "mse" else ensemble(every, temperature)
        if combined is None:
            return None
        reference = targets.where(counts, 0) if cfg.probability_shift else None
        return TeacherLogits(combined, temperature, cfg.soft_top_k, cfg.soft_rest or "renormalise", reference)

    def _record(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[FeatureRecorder, FeatureRecorder]:
        """Recorders of the student and of the first teacher."""
        wanted = [[], []]  # type: list[list[tuple[str, int]]]
        for match in self._matches:
            for layers, found in zip((match.student_layers, match.teacher_layers), wanted, strict=True):
                found += [(match.feature, layer) for layer in layers]
        models = model, self.task.teacher_models()[0]
        student, teacher = (
            FeatureRecorder(own, features, self.padding_idx) for own, features in zip(models, wanted, strict=True)
        )
        return student, teacher

    def _match(self, sample: dict[str, Any]) -> Tensor:
        """The weighted sum of all matches, in float32 also where autocast would have it otherwise."""
        device = sample["target"].device
        total = torch.zeros((), device=device)
        if self._recorders is None:
            return total
        student, teacher = self._recorders
        with torch.autocast(device.type, enabled=False):
            for index, match in enumerate(self._matches):
                ours = student.read(match.feature, match.student_layers, sample)
                theirs = teacher.read(match.feature, match.teacher_layers, sample)
                if str(index) in self.projections:
                    projection = self.projections[str(index)]
                    kind = next(projection.parameters()).dtype
                    ours = [Feature(projection(own.values.to(kind)), own.mask) for own in ours]
                ours, theirs = ([Feature(side.values.float(), side.mask) for side in sides] for sides in (ours, theirs))
                weight = self._scheduled(match.weight * self.cfg.match_weight, match.schedule)
                total = total + weight * LOSSES[match.loss].compute(ours, theirs)
        return total
