"""What a finished training took, read from its last checkpoint.

    python -m fairseq_plugins.training_record SAVE_DIR      writes SAVE_DIR/training.json

fairseq keeps the seconds of a training in its checkpoint and adds to them when it resumes; only what was lost between
the last checkpoint and a kill is missing. The peak memory is that since the training was last resumed. Knows the form
of a fairseq checkpoint, nothing about models.
"""

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError, reported


def peak_memory() -> int:
    """Return the most bytes that this process has held: on a GPU where it works on one, else of the machine's memory.

    On a GPU these are the bytes that torch has reserved, without CUDA's context; else the resident bytes, with pages of
    files that are mapped (a teacher's cache).
    """
    # max_memory_reserved is 0 where no GPU was used
    return torch.cuda.max_memory_reserved() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def record(state: dict[str, Any]) -> dict[str, float | int | None]:
    """Return the seconds, updates, best validation loss and peak memory (bytes) of a training.

    Args:
        state: its last checkpoint.

    Raises:
        DistillationError: the checkpoint was stripped of its training state.
    """
    extra = state.get("extra_state")
    history = state.get("optimizer_history")
    if not extra or not history:
        raise DistillationError("the checkpoint has no training state; give the folder of a fairseq training")
    return {
        "seconds": round(float(extra["previous_training_time"]), 1),
        "updates": int(history[-1]["num_updates"]),
        "best_validation_loss": extra.get("best"),
        "peak_memory": extra.get("peak_memory"),
    }


def main(arguments: list[str]) -> None:
    """Write the record of a training into its folder.

    Args:
        arguments: the folder.

    Raises:
        SystemExit: there is not one argument, or the folder has no checkpoint with a training state.
    """
    match arguments:
        case [folder]:
            summary = record(checkpoint.read(Path(folder) / "checkpoint_last.pt"))
            files.write_json(Path(folder) / "training.json", summary)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    with reported("training record"):
        main(sys.argv[1:])
