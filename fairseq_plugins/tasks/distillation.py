from dataclasses import dataclass, field
import contextlib
import torch
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

@dataclass
class DistillationTaskConfig(TranslationConfig):
    cpu_bf16: bool = field(default=False, metadata={"help": "bf16 autocast on CPU"})

@register_task("distillation", dataclass=DistillationTaskConfig)
class DistillationTask(TranslationTask):
    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16) if self.cfg.cpu_bf16 else contextlib.nullcontext()
    def train_step(self, *a, **k):
        with self.autocast():
            return super().train_step(*a, **k)
    def valid_step(self, *a, **k):
        with self.autocast():
            return super().valid_step(*a, **k)
