"""What a finished training cost, read off its last checkpoint.

    python -m fairseq_plugins.training_record SAVE_DIR      writes SAVE_DIR/training.json

fairseq adds up the seconds over all resumes and keeps them in the checkpoint, so that a training that was killed and
resumed counts in full, less what it lost; of the memory, what it took at most since it was last resumed. Knows the form
of a fairseq checkpoint, nothing about models.
"""

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError


def peak_memory() -> int:
    """Bytes that this process has held at most: of a GPU's memory where it works on one, else of the machine's.

    Of the GPU it is what torch has reserved, without CUDA's own context; of the machine, what was resident, with pages
    of files that are mapped (a teacher's cache).
    """
    # 0 where no GPU was used
    return torch.cuda.max_memory_reserved() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def record(state: dict[str, Any]) -> dict[str, float | int | None]:
    """Seconds, updates, the best validation loss and the peak memory (bytes) of a training, from its last checkpoint.

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
    match arguments:
        case [folder]:
            try:
                summary = record(checkpoint.read(Path(folder) / "checkpoint_last.pt"))
                files.write_json(Path(folder) / "training.json", summary)
            except DistillationError as error:
                sys.exit(f"{folder}: {error}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
