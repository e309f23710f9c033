"""The translation task, with teachers."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fairseq.criterions import FairseqCriterion
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from fairseq_plugins import students, teachers
from fairseq_plugins.caching import CachedLabelsDataset, open_caches, parts
from fairseq_plugins.checkpoint_hooks import at_each_checkpoint
from fairseq_plugins.criterions.distillation import DistillationCriterion
from fairseq_plugins.loading import require_binarised
from fairseq_plugins.tasks.options import DistillationTaskConfig
from weightdistill import checkpoint
from weightdistill.distillation.teacher_cache import read_settings
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TransformerShape

logger = logging.getLogger(__name__)


@register_task("distillation", dataclass=DistillationTaskConfig)
class DistillationTask(TranslationTask):
    """Translation from one language to another, learned from data and from teachers.

    Args:
        cfg: the options.
        src_dict: source dictionary.
        tgt_dict: target dictionary.

    Raises:
        DistillationError: a teacher or cache cannot be read, or a teacher has different dictionaries.
    """

    def __init__(self, cfg: DistillationTaskConfig, src_dict: Dictionary, tgt_dict: Dictionary) -> None:
        """Read the teachers, and the settings of the cache of their predictions."""
        super().__init__(cfg, src_dict, tgt_dict)
        self._trains = True
        self._teachers = teachers.read_all(cfg.teacher_path or "")
        self._teacher_models: dict[int, BaseFairseqModel] = {}
        starts_from_teacher = (cfg.student_init or "random") != "random"
        # Of a teacher that is neither run nor gives a start, only the predictions matter.
        reads_sources = not cfg.teacher_cache or starts_from_teacher
        for teacher in self._teachers:
            teacher.require_dictionaries(src_dict if reads_sources else None, tgt_dict, cfg.teacher_data)
        # Only the first of several processes writes checkpoints, and runs the command.
        if cfg.checkpoint_command and (not dist.is_initialized() or dist.get_rank() == 0):
            at_each_checkpoint(cfg.checkpoint_command)
        taught_by = [teacher.provenance() for teacher in self._teachers]
        self._cache_settings: dict[str, Any] | None = None
        if cfg.teacher_cache:
            given = taught_by
            caches = [read_settings(Path(cfg.teacher_cache) / part) for part in parts(self, cfg.train_subset)]
            self._cache_settings = caches[0]
            cached = [teacher for cache in caches for teacher in cache["teachers"]]
            if given and not teachers.same(given, caches[0]["teachers"]):
                logger.warning(
                    "teacher cache %s was made by %s; --teacher-path, %s, only gives the student's settings and start",
                    cfg.teacher_cache,
                    teachers.listed(caches[0]["teachers"]),
                    teachers.listed(given),
                )
            taught_by = teachers.distinct([*cached, *(given[:1] if starts_from_teacher else [])])
        # Goes into every checkpoint of a training, as `task_state`.
        self.state.merge_state_dict({"teachers": taught_by})

    @classmethod
    def setup_task(cls, cfg: DistillationTaskConfig, **kwargs: Any) -> "DistillationTask":
        """Set up the task with the dictionaries of its data.

        Args:
            cfg: the options.
            kwargs: passed to fairseq.

        Raises:
            DistillationError: the data are text.
        """
        require_binarised(Path(str(cfg.data).split(":")[0]))
        task: DistillationTask = super().setup_task(cfg, **kwargs)
        return task

    @property
    def cache_settings(self) -> dict[str, Any] | None:
        """What the cache of the training split was made with; None where teachers are run."""
        return self._cache_settings

    @property
    def teacher_shape(self) -> TransformerShape:
        """Layers, widths and heads of the first teacher, which gives features to match and weights to start from."""
        return self._teachers[0].shape

    @property
    def student_shape(self) -> TransformerShape:
        """Layers, widths and heads of the model that was built last."""
        return self._student_shape

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Load a split, with the teacher's predictions where there is a cache of them.

        Args:
            split: its name.
            epoch: number of the epoch, by which fairseq chooses among several data folders.
            combine: whether train1, train2, ... belong to it as well as train.
            kwargs: passed to fairseq.

        Raises:
            DistillationError: the cache is unfinished, damaged, or does not fit the data.
        """
        super().load_dataset(split, epoch, combine, **kwargs)
        if not self.cfg.teacher_cache:
            return
        if ":" in self.cfg.data:
            raise DistillationError(f"--teacher-cache needs one data folder, but there are several: {self.cfg.data}")
        if self.cfg.left_pad_target:
            raise DistillationError(
                "--teacher-cache needs targets that are padded on the right; leave out --left-pad-target"
            )
        caches = open_caches(self, Path(self.cfg.teacher_cache), split, combine)
        reference = self._cache_settings or caches.settings
        for name in ("k", "temperature"):
            if caches.settings[name] != reference[name]:
                raise DistillationError(
                    f"teacher cache {self.cfg.teacher_cache} has another {name} for {split} ({caches.settings[name]}) "
                    f"than for {self.cfg.train_subset} ({reference[name]}); make one of them again"
                )
        self.datasets[split] = CachedLabelsDataset(self.datasets[split], caches)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build the student, with the start that --student-init names.

        Args:
            cfg: settings of the model.
            from_checkpoint: whether it gets the weights of a checkpoint, to be evaluated rather than trained.

        Raises:
            DistillationError: that start is impossible, or there is no teacher to take it from.
        """
        model = super().build_model(cfg, from_checkpoint)
        self._trains = not from_checkpoint
        self._student_shape = students.shape_in(cfg)
        self._generates = any(name.startswith("generator.") for name, _ in model.named_parameters())
        self._student_options = cfg
        if self.cfg.student_init and getattr(cfg, "finetune_from_model", None):
            raise DistillationError(
                f"--student-init {self.cfg.student_init} and --finetune-from-model {cfg.finetune_from_model} both say "
                "how the student starts; leave out one of them"
            )
        if self.cfg.student_init and not from_checkpoint:
            students.initialise(model, self.cfg.student_init, self._teachers, self._student_shape)
        if self.cfg.teacher_cache:  # the teacher is not needed any more
            self._teachers = []
            teachers.read.cache_clear()
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> FairseqCriterion:
        """Build the criterion, which has to be that of distillation where a student is trained.

        Args:
            cfg: settings of the criterion.
            args: passed to fairseq.
            kwargs: passed to fairseq.

        Raises:
            DistillationError: another one would train the student without its teachers.
        """
        criterion = super().build_criterion(cfg, *args, **kwargs)
        if self._trains and not isinstance(criterion, DistillationCriterion):
            raise DistillationError(
                f"--task distillation needs --criterion distillation, but is given {type(criterion).__name__}, which "
                "knows no teacher; for plain training give --criterion distillation --distillation-weight 0"
            )
        return criterion

    def before_loading(self, path: Path, resumes: bool) -> None:
        """Check that a checkpoint holds the model that is trained.

        Args:
            path: the checkpoint.
            resumes: whether the training resumes, with the teachers that it began with, wherever their files are now.

        Raises:
            DistillationError: the checkpoint cannot be read, holds a model of another shape or of another phase, or was
                trained with different teachers.
        """
        state = checkpoint.read(path, lazily=True)
        students.require_model(state, str(path), self._student_shape, self._generates)
        recorded = (state.get("task_state") or {}).get("teachers")
        given = self.state.teachers
        if resumes and recorded is not None and not teachers.same(recorded, given):
            raise DistillationError(
                f"{path} was trained with {teachers.listed(recorded)}, but this training has {teachers.listed(given)}; "
                "give the former (--teacher-path, --teacher-cache) to resume it, or start a new training in another "
                f"--save-dir (--finetune-from-model {path} keeps a student's weights)"
            )

    def require_features(self) -> None:
        """Check that the student's features can be read for matches.

        Raises:
            DistillationError: an option makes layers run twice, or not at all.
        """
        for option in ("checkpoint_activations", "offload_activations", "encoder_layerdrop", "decoder_layerdrop"):
            if value := getattr(self._student_options, option, None):
                raise DistillationError(
                    f"--matches reads each layer once per update, which --{option.replace('_', '-')} ({value}) does "
                    "not allow; leave out one of them"
                )

    def teacher_model(self, number: int) -> BaseFairseqModel:
        """Return one of the teachers as a model in eval mode, built when it is first asked for.

        The task holds it, outside every module: no checkpoint or optimiser sees it.

        Args:
            number: its place in --teacher-path, from 0.
        """
        if number not in self._teacher_models:
            self._teacher_models[number] = self._teachers[number].build(self)
        return self._teacher_models[number]

    def teacher_logits(self, sample: dict[str, Any], student: BaseFairseqModel) -> Iterator[Tensor]:
        """Run one teacher after another on a batch, each when its logits are asked for.

        Args:
            sample: the batch.
            student: says on which device and in which precision.

        Yields:
            Logits, shape (batch, target tokens, vocabulary).
        """
        parameter = next(student.parameters())
        for number in range(len(self._teachers)):
            model = self.teacher_model(number).to(device=parameter.device, dtype=parameter.dtype)
            with torch.no_grad():
                logits = model(**sample["net_input"])[0]
            yield logits

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """Run one forward and backward pass, after telling the criterion the number of updates that are done."""
        if hasattr(criterion, "set_num_updates"):
            criterion.set_num_updates(update_num)
        with self._autocast():
            return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def valid_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run one forward pass, and with --eval-bleu decode."""
        with self._autocast():
            return super().valid_step(*args, **kwargs)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        # fairseq takes --bf16 --cpu for a TPU
        return torch.autocast("cpu", torch.bfloat16) if self.cfg.cpu_bf16 else contextlib.nullcontext()
