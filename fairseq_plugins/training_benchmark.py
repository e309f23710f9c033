"""Compares time and memory of one student's updates: plain, in phase 1, and with word-level distillation.

The latter learns from a teacher that runs, or from a cache of its predictions. All take turns in one process, on random
weights and batches, since time and memory do not depend on their values. Leaves out fairseq's trainer, whose share is
the same for all.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_plugins.random_models import RandomTask, build, teacher_shape, write_teacher
from fairseq_plugins.teachers import read
from weightdistill.decoding.benchmark import Spread, machine
from weightdistill.distillation.losses import distillation_loss
from weightdistill.distillation.soft_labels import SoftLabels, TeacherLogits, TopKLabels
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TransformerShape
from weightdistill.terminal import text_table

SENTENCE_LENGTH = 32
"""Source and target tokens of each random sentence."""
CACHED_WORDS = 64
"""Words that the cache keeps per target token."""
UPDATES = ("plain", "phase 1", "KD, teacher at work", "KD, teacher cached")


@dataclass(frozen=True)
class UpdateCost:
    """What one update costs."""

    update: str
    """One of UPDATES."""
    seconds: Spread
    time_ratio: Spread
    """Seconds divided by those of the plain update in the same repetition."""
    parameters: int
    """Trained parameters."""
    state_bytes: int
    """Bytes of trained parameters, their gradients and Adam's state."""
    memory_ratio: float
    """State bytes divided by those of the plain student."""


@dataclass(frozen=True)
class TrainingBenchmark:
    """The costs, that of the plain update first, and the settings to repeat the run."""

    updates: list[UpdateCost]
    settings: dict[str, Any]
    machine: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain dictionaries, lists, strings and numbers, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Return the costs as a table of text."""
        rows = [
            [
                cost.update,
                str(cost.seconds),
                str(cost.time_ratio),
                f"{cost.parameters:,}",
                f"{cost.state_bytes / 2**20:,.1f}",
                f"{cost.memory_ratio:.2f}",
            ]
            for cost in self.updates
        ]
        return text_table(["update", "seconds", "ratio", "parameters", "state MiB", "ratio"], rows)


def benchmark_training(
    *,
    teacher_preset: str = "base",
    student_preset: str = "tiny",
    width: int | None = None,
    generator: str = "default",
    tokens: int = 4096,
    vocabulary: int = 32000,
    repetitions: int = 5,
    bf16: bool = False,
    threads: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> TrainingBenchmark:
    """Time updates of forward, loss, backward, and Adam; the first of each is a warm-up.

    Phase 1 is measured without distillation; the last two updates show what that costs.

    Args:
        teacher_preset: shape of the random teacher.
        student_preset: shape of the student, relative to the teacher's.
        width: replaces the teacher's width, with a feed-forward layer four times as wide.
        generator: bundle of the generator's options.
        tokens: target tokens of a batch, at least one sentence.
        vocabulary: entries of the dictionary.
        repetitions: measured updates of each model.
        bf16: run forward and backward under bf16 autocast.
        threads: CPU threads of torch; None leaves them as they are.
        progress: called after each update, warm-ups too.

    Returns:
        The costs of UPDATES.

    Raises:
        DistillationError: an unknown preset, or a number out of range.
    """
    shape = _with_width(teacher_shape(teacher_preset), width)
    for field, value, least in (
        ("tokens", tokens, SENTENCE_LENGTH),
        ("repetitions", repetitions, 1),
    ):
        if value < least:
            raise DistillationError(f"{field} must be at least {least}, but is {value}")
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = RandomTask.of_size(vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        teacher = Path(folder) / "teacher.pt"
        data = {"data": str(teacher.parent), "source_lang": "source", "target_lang": "target"}
        for language in ("source", "target"):
            task.source_dictionary.save(str(teacher.parent / f"dict.{language}.txt"))
        write_teacher(teacher, shape, task, pre_norm=teacher_preset == "deep", data=data)
        options = {"teacher_path": str(teacher), "student_preset": student_preset}
        student = build("student", task, options)
        generator_driven = build("generated_transformer", task, {**options, "generator": generator})
        teacher_model = read(str(teacher)).build(task).to(device)
    batch = _random_batch(tokens, vocabulary, task, device)
    cached = _random_labels(batch["target"].numel(), vocabulary, device)

    def online() -> SoftLabels:
        with torch.no_grad():
            return TeacherLogits(teacher_model(*_inputs(batch))[0].flatten(0, 1))

    plain = _Update("plain", student, device, bf16)
    updates = [
        plain,
        _Update("phase 1", generator_driven, device, bf16),
        _Update("KD, teacher at work", student, device, bf16, online, plain),
        _Update("KD, teacher cached", student, device, bf16, lambda: cached, plain),
    ]
    for _ in range(1 + repetitions):
        for update in updates:
            update.run(batch, task.target_dictionary.pad())
            progress()
    return TrainingBenchmark(
        updates=[update.cost(plain) for update in updates],
        settings={
            "teacher_preset": teacher_preset,
            "teacher_shape": asdict(shape),
            "student_preset": student_preset,
            "generator": generator,
            "tokens": batch["target"].numel(),
            "vocabulary": vocabulary,
            "repetitions": repetitions,
            "precision": "bf16 autocast" if bf16 else "float32",
            "threads": torch.get_num_threads(),
            "seed": 1,
        },
        machine=machine(),
    )


class _Update:
    """A model, its optimiser (shared where two updates train the same student), and the seconds of each update."""

    def __init__(
        self,
        name: str,
        model: Any,
        device: torch.device,
        bf16: bool,
        soft_labels: Callable[[], SoftLabels] | None = None,
        same_as: "_Update | None" = None,
    ) -> None:
        self.name = name
        self.seconds: list[float] = []
        self._model = model.to(device).train()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimiser: torch.optim.Optimizer = torch.optim.Adam(self._trained, lr=1e-4, betas=(0.9, 0.98))
        if same_as is not None:
            self._optimiser = same_as._optimiser
        self._device = device
        self._bf16 = bf16
        self._soft_labels = soft_labels

    def run(self, batch: dict[str, Tensor], padding: int) -> None:
        """Do one update, and keep how long it took."""
        start = self._now()
        self._optimiser.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            logits, _ = self._model(*_inputs(batch))  # (sentences, length, vocabulary)
            loss = distillation_loss(
                logits.flatten(0, 1),
                batch["target"].flatten(),
                self._soft_labels() if self._soft_labels else None,
                weight=0.5 if self._soft_labels else 0.0,
                label_smoothing=0.1,
                padding=padding,
            ).loss
        torch.autograd.backward(loss)
        self._optimiser.step()
        self.seconds.append(self._now() - start)

    def cost(self, plain: "_Update") -> UpdateCost:
        """Compare the updates after the warm-up with the plain ones of the same repetitions."""
        seconds, of_plain = self.seconds[1:], plain.seconds[1:]
        return UpdateCost(
            update=self.name,
            seconds=Spread.of(seconds),
            time_ratio=Spread.of([time / reference for time, reference in zip(seconds, of_plain, strict=True)]),
            parameters=sum(parameter.numel() for parameter in self._trained),
            state_bytes=self.state_bytes(),
            memory_ratio=self.state_bytes() / plain.state_bytes(),
        )

    def state_bytes(self) -> int:
        """Return the bytes of the trained parameters, their gradients, and Adam's state."""
        tensors = [*self._trained, *(parameter.grad for parameter in self._trained)]
        for state in self._optimiser.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _with_width(shape: TransformerShape, width: int | None) -> TransformerShape:
    if width is None:
        return shape
    return TransformerShape(
        encoder=replace(shape.encoder, width=width, ffn=4 * width),
        decoder=replace(shape.decoder, width=width, ffn=4 * width),
    )


def _inputs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return batch["source"], batch["lengths"], batch["previous"]


def _random_labels(tokens: int, vocabulary: int, device: torch.device) -> TopKLabels:
    """Make soft labels of CACHED_WORDS words as a cache gives them: different words that share 0.9 evenly."""
    k = min(CACHED_WORDS, vocabulary)
    first = torch.randint(vocabulary, (tokens, 1), device=device)
    indices = ((first + torch.arange(k, device=device)) % vocabulary).to(torch.int32)  # (tokens, k)
    values = torch.full((tokens, k), 0.9 / k, dtype=torch.float16, device=device)
    return TopKLabels(indices, values, torch.full((tokens,), 0.1, dtype=torch.float16, device=device), vocabulary)


def _random_batch(tokens: int, vocabulary: int, task: RandomTask, device: torch.device) -> dict[str, Tensor]:
    """Make sentences without padding, shape (sentences, SENTENCE_LENGTH), and their lengths (sentences,)."""
    size = (tokens // SENTENCE_LENGTH, SENTENCE_LENGTH)
    first = task.target_dictionary.nspecial
    source, target = (torch.randint(first, vocabulary, size, device=device) for _ in range(2))
    return {
        "source": source,
        "lengths": torch.full(size[:1], SENTENCE_LENGTH, device=device),
        "previous": target.roll(1, dims=1),
        "target": target,
    }
