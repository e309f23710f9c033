"""How long a training takes, in which batches and at which learning rate, unless its options say so.

One rule for all data sizes, so that a training without hyper-parameters gives a sensible student. Knows nothing about
models but the teacher's width.
"""

import math
from dataclasses import dataclass, replace

from weightdistill.errors import DistillationError

UPDATES_PER_EPOCH = 420
SMALLEST_BATCH, LARGEST_BATCH = 1024, 32768
"""Target tokens of an update; the largest is the authors' (8 GPUs of 4,096 tokens)."""
TOKENS_PER_PASS = 4096
"""Most target tokens that a device holds at a time."""
EPOCHS = 16
PHASE1_EPOCHS = 6
LEAST_UPDATES = 5000
"""Fewest updates of both phases together. Small data need more epochs to reach it."""
LEARNING_RATE = 7e-4
"""The authors', at width 512 and above."""
NARROWEST = 128
"""Width below which the learning rate grows no further: narrower teachers have not been tried."""


@dataclass(frozen=True)
class Stage:
    """Length of one training."""

    updates: int
    warmup_share: float
    """Share of the updates in which the learning rate rises."""

    @property
    def warmup(self) -> int:
        """Updates in which the learning rate rises."""
        return max(1, round(self.updates * self.warmup_share))


@dataclass(frozen=True)
class Schedule:
    """Batches, learning rate and length of a student's trainings."""

    batch_tokens: int
    """Target tokens of an update, in all passes and on all devices."""
    learning_rate: float
    """Its peak, at the end of the warm-up."""
    phase1: Stage
    phase2: Stage
    student: Stage
    """A student that is trained in one phase; it has as many updates as both phases together. Also a teacher."""

    @classmethod
    def of(cls, tokens: int, width: int) -> "Schedule":
        """Choose the schedule for a corpus and a teacher.

        A batch is 1/420 of an epoch, within 1,024 and 32,768 tokens. All phases together take 16 epochs, but at least
        5,000 updates; phase 1 takes 6 of the 16. The learning rate is the authors', 7e-4, and grows in inverse
        proportion to the width below 512: 2.8e-3 at width 128, where 3e-3 did best on Multi30k. The warm-up is an
        eighth of phase 1, and a sixteenth of phase 2 and of a single phase.

        Args:
            tokens: Target tokens of an epoch.
            width: The teacher's width.

        Raises:
            DistillationError: One of them is not positive.
        """
        if tokens < 1 or width < 1:
            raise DistillationError(
                f"a schedule needs target tokens and a width of at least 1, but has {tokens} and {width}; check the "
                "training data and the teacher"
            )
        batch = min(max(tokens // UPDATES_PER_EPOCH, SMALLEST_BATCH), LARGEST_BATCH)
        updates = max(LEAST_UPDATES, round(EPOCHS * tokens / batch))
        phase1 = round(updates * PHASE1_EPOCHS / EPOCHS)
        return cls(
            batch_tokens=batch,
            learning_rate=float(f"{LEARNING_RATE * max(1.0, 512 / max(width, NARROWEST)):.2g}"),
            phase1=Stage(phase1, 1 / 8),
            phase2=Stage(updates - phase1, 1 / 16),
            student=Stage(updates, 1 / 16),
        )

    @property
    def max_tokens(self) -> int:
        """Most target tokens of one pass on one device."""
        return min(self.batch_tokens, TOKENS_PER_PASS)

    def options(self, stage: str, updates: int | None = None) -> dict[str, str]:
        """Return the schedule of one training as options of `weightdistill train`.

        Args:
            stage: `phase1`, `phase2`, or anything else for a single phase.
            updates: Its length, if not that of the schedule; the warm-up keeps its share.
        """
        training: Stage = getattr(self, stage) if stage in ("phase1", "phase2") else self.student
        if updates is not None:
            training = replace(training, updates=updates)
        return {
            "--lr": f"{self.learning_rate:g}",
            "--warmup-updates": str(training.warmup),
            "--max-update": str(training.updates),
            "--batch-tokens": str(self.batch_tokens),
            "--max-tokens": str(self.max_tokens),
        }


def passes(batch_tokens: int, max_tokens: int, devices: int) -> tuple[int, int]:
    """Split a batch into passes, so that it is the same on one GPU, on three and on sixteen.

    Args:
        batch_tokens: Target tokens of an update.
        max_tokens: Most tokens of one pass on one device.
        devices: Number of devices.

    Returns:
        Passes of an update (--update-freq), and the tokens of each on one device (--max-tokens).
    """
    number = math.ceil(batch_tokens / (max_tokens * devices))
    return number, batch_tokens // (number * devices)
