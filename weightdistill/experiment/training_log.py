"""Reads the log of a training that ran with `fairseq-train --log-format json`.

Each line with numbers ends with a JSON object behind the name of what it is about: `train_inner` (within an epoch),
`train` (an epoch) or `valid`. All other lines are passed over. Knows fairseq's names of numbers, nothing else of it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Validation:
    """One validation: updates done before it, and losses in bits per token."""

    updates: int
    loss: float
    """Of all terms."""
    nll_loss: float
    """Negative log-likelihood of the references alone, which all methods share."""


def records(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the numbers of each line that has numbers."""
    for line in lines:
        head, _, text = line.rpartition(" | ")
        if not text.startswith("{"):
            continue
        try:
            numbers = json.loads(text)
        except ValueError:  # cut by a kill
            continue
        yield head.rpartition(" | ")[2], numbers


def validations(log: Path) -> list[Validation]:
    """All validations of a training, in order; none where there is no log.

    Where a training was resumed from an earlier update, or started again, what the log says from there on counts.
    """
    if not log.exists():
        return []
    by_updates: dict[int, Validation] = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        for name, numbers in records(lines):
            if name == "valid":
                values = (float(numbers[f"valid_{field}"]) for field in ("loss", "nll_loss"))
                validation = Validation(int(numbers["valid_num_updates"]), *values)
                by_updates = {updates: old for updates, old in by_updates.items() if updates < validation.updates}
                by_updates[validation.updates] = validation
    return list(by_updates.values())


def validation_losses(log: Path) -> dict[int, float]:
    """Updates, and the negative log-likelihood of the validation set's references in bits per token."""
    return {validation.updates: validation.nll_loss for validation in validations(log)}
