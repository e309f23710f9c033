"""Weights of loss terms that change in the course of training. Knows numbers only."""

from weightdistill.errors import DistillationError

SCHEDULES = ("constant", "linear_growth", "linear_decay")
"""How a weight changes during training: not at all, from zero to its value, or from its value to zero."""


def schedule_factor(schedule: str, progress: float) -> float:
    """Return the factor of a weight when `progress` of the training, within [0, 1], is done.

    Args:
        schedule: One of SCHEDULES.
        progress: Share of the updates that are done.
    """
    return {"constant": 1.0, "linear_growth": progress, "linear_decay": 1 - progress}[schedule]


def require_end(schedule: str, updates: int) -> None:
    """Check that the number of updates is known if the schedule depends on it.

    Args:
        schedule: One of SCHEDULES.
        updates: Number of updates in the whole training; 0 if it is unknown.

    Raises:
        DistillationError: The schedule depends on the number of updates, which is unknown.
    """
    if schedule != "constant" and not updates:
        raise DistillationError(
            f"the schedule {schedule} needs the number of updates, which is unknown; give --max-update"
        )
