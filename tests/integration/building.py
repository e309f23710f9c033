"""What fairseq-train builds from a command, in this process: for statements about single batches."""

from pathlib import Path
from typing import Any

import torch
from commands import phase1
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_plugins.models.architectures
import fairseq_plugins.models.generated_transformer
import fairseq_plugins.tasks.distillation  # noqa: F401


def student(data: Path, save: Path, teacher: Path | str, *more: object) -> list[object]:
    """The command of a student's training."""
    command = phase1(data, save, teacher, "--student-preset", "tiny", "--disable-validation", *more)
    return ["student" if part == "generated_transformer" else part for part in command]


class Built:
    """The task, student and criterion that fairseq-train builds from a command, and a batch."""

    def __init__(self, command: list[object]) -> None:
        user_dir = command.index("--user-dir")
        words = [str(part) for part in command[1:user_dir] + command[user_dir + 2 :]]
        args = options.parse_args_and_arch(options.get_training_parser(), words)
        self.config: Any = convert_namespace_to_omegaconf(args)
        self.task: Any = tasks.setup_task(self.config.task)
        self.model: Any = self.task.build_model(self.config.model)
        self.criterion: Any = self.task.build_criterion(self.config.criterion)
        self.task.load_dataset("train")
        dataset = self.task.dataset("train")
        self.sample = dataset.collater([dataset[index] for index in range(5)])

    def logits(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of student and teacher, (tokens, vocabulary), and targets; without padding, in float64."""
        with torch.no_grad():
            student_logits = self.model(**self.sample["net_input"])[0].double()
            teacher_logits = next(self.task.teacher_logits(self.sample, self.model)).double()
        kept = self.sample["target"].ne(self.task.target_dictionary.pad())
        return student_logits[kept], teacher_logits[kept], self.sample["target"][kept]
